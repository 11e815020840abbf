"""What a user did wrong, in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's that the program can name.

    The message is one clear sentence: what is wrong, where, which value, what would be right. The
    command line prints it without a traceback and exits with status 2.
    """


def check_at_least(least: float, **parameters: float) -> None:
    """Raise unless all numbers are at least `least`.

    Args:
        least: The least number that makes sense.
        **parameters: The numbers by name; "Runtime__log_every" is shown as "Runtime.log_every".

    Raises:
        UserError: For the first that is smaller.
    """
    for name, value in parameters.items():
        if value < least:
            raise UserError(
                f"{name.replace('__', '.')} = {value} makes no sense; it must be at least {least}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


FINISHED = 0
FAILED = 1
USER_ERROR = 2
DIVERGED = 3
# sysexits.h calls it "service unavailable": another supervisor has the trial, or its folder is out
# of reach.
TAKEN = 69
# sysexits.h calls it "try again": asked to end, it left a checkpoint.
INTERRUPTED = 75

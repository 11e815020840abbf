"""Errors that users can mend, the wording of messages, and the exit statuses of commands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import PurePath

# Exit statuses.
FINISHED = 0
FAILED = 1
USER_ERROR = 2
DIVERGED = 3
# EX_UNAVAILABLE of sysexits.h: another process has the trial, or its folder cannot be reached.
TAKEN = 69
# EX_TEMPFAIL of sysexits.h: interrupted after saving a checkpoint; run the same command again.
INTERRUPTED = 75
# EX_PROTOCOL of sysexits.h: a machine that takes part in a trial is gone; start all of them again.
WORKER_LOST = 76


class UserError(Exception):
    """Mistake in a configuration, a file or an option that the user can correct.

    The message is one sentence: the problem, its place, the value, and what is allowed. The command
    line prints it without a traceback and exits with `USER_ERROR`.
    """


class BrokenFileWarning(UserWarning):
    """A file is broken or cannot be read, so a part of the results is left out.

    The message is one sentence. The command line prints it on stderr, a report also on its page.
    """


def check_at_least(minimum: float, **parameters: float) -> None:
    """Check that numbers are not below a minimum.

    Args:
        minimum: The smallest allowed number.
        **parameters: The numbers by name.

    Raises:
        UserError: If a number is below the minimum; names the first one.
    """
    for name, value in parameters.items():
        if value < minimum:
            raise UserError(f"{name} must be at least {minimum}, got {value}.")


def shorten(value: object) -> str:
    """Return a value as text for a message, cut off after 60 characters."""
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the most similar known name, or "" if none is similar."""
    nearest = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def did_you_mean_path(path: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'gin/x.gin'?" for the known path with the most similar file name.

    Folders and suffixes, which many paths share, do not make two paths similar. They only decide
    between paths with the same file name.
    """
    by_stem: dict[str, list[str]] = {}
    for name in known:
        by_stem.setdefault(PurePath(name).stem, []).append(name)
    stems = difflib.get_close_matches(PurePath(path).stem, list(by_stem), n=1, cutoff=0.6)
    paths = difflib.get_close_matches(path, by_stem[stems[0]], n=1, cutoff=0.0) if stems else []
    return f" Did you mean {paths[0]!r}?" if paths else ""


def count_noun(number: int, singular: str, plural: str = "") -> str:
    """Return a number and its noun, such as "1 image", "2 images" or "0 classes".

    Args:
        number: The number.
        singular: The noun, with its adjectives, for one.
        plural: The noun for other numbers; by default `singular` with "s".
    """
    return f"{number} {inflect(number, singular, plural)}"


def inflect(number: int, singular: str, plural: str = "") -> str:
    """Return a noun or a verb for a number: `singular` for 1, else `plural`; see `count_noun`."""
    return singular if number == 1 else plural or f"{singular}s"

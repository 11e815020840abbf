"""Checks of options, whose messages name the option that was given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from deepmac_ablate.errors import UserError

_Number = TypeVar("_Number", int, float)


def at_least(minimum: _Number) -> Callable[[str], _Number]:
    """Return the type of an option for a number that is not below a minimum.

    Args:
        minimum: The smallest allowed number; if it is an integer, only integers are allowed.
    """
    kind = type(minimum)

    def parse(text: str) -> _Number:
        try:
            number = kind(text)
        except ValueError as error:
            expected = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {expected}, got {text!r}") from error
        if not number >= minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum:g}, got {number:g}")
        return number

    return parse


def check_effects(args: argparse.Namespace, executors: Mapping[str, Sequence[str]]) -> None:
    """Check that every given option has an effect.

    Args:
        args: Options with an `executor`; those that were not given are None.
        executors: The executors that an option applies to, by the name of its variable.

    Raises:
        UserError: If the executor would ignore an option.
    """
    for name, some in executors.items():
        if getattr(args, name) is not None and args.executor not in some:
            raise UserError(
                f"--{name.replace('_', '-')} has no effect with --executor {args.executor}; it "
                f"applies only to {' and '.join(some)}.")


def number_or_all(text: str) -> int:
    """Return the number that an option gives, at least 1, or 0 for "all"."""
    number = 0 if text == "all" else int(text) if text.isdecimal() else -1
    if number < 0 or text == "0":
        raise argparse.ArgumentTypeError(f"must be an integer from 1 on or 'all', got {text!r}")
    return number

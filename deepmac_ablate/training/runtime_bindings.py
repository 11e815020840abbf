"""Bindings of `Runtime` that are passed at the start: for the devices at hand, not for the trial.

The same trial runs on a laptop, on GPUs or on a TPU, and continues on one where it stopped on
another. So bindings that depend on the devices are not stored with the trial.
"""

from __future__ import annotations

from collections.abc import Sequence

from deepmac_ablate import bindings
from deepmac_ablate.bindings import Binding
from deepmac_ablate.errors import UserError


def check_runtime_bindings(texts: Sequence[str]) -> int:
    """Check that bindings are about `Runtime` only, and return their number.

    Args:
        texts: Lines of gin, each ``Runtime.parameter = value``.

    Raises:
        UserError: For the first that is anything else.
    """
    text = bindings.read((), texts)
    for binding in text.bindings:
        if binding.scope or binding.short_selector != "Runtime":
            raise UserError(
                f"--runtime accepts only bindings of Runtime, got '{binding}'; bind what the trial "
                "computes with --gin-file or --gin-bindings.")
    if text.imports:
        raise UserError(
            f"--runtime accepts only bindings of Runtime, got '{text.imports[0].statement}'.")
    return len(text.bindings)


def drop_overridden(parsed: Sequence[Binding], number: int) -> tuple[Binding, ...]:
    """Drop the trial's own bindings that bindings passed at the start override.

    A trial may bind settings for the machine that it was written on; that they have no effect on
    another machine is not a mistake.

    Args:
        parsed: All bindings, from `bindings.parse`.
        number: The number of bindings passed at the start, which come last.
    """
    at = len(parsed) - number
    overridden = {binding.name for binding in parsed[at:]}
    return (*(own for own in parsed[:at] if own.name not in overridden), *parsed[at:])

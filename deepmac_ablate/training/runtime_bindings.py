"""Bindings of `Runtime` that a start brings along: the devices that it has, and no part of a trial.

The same trial runs on a laptop, on GPUs and on a TPU, and goes on where another left it. So what
depends on the devices is not written into the trial.
"""

from __future__ import annotations

from collections.abc import Sequence

from deepmac_ablate import bindings
from deepmac_ablate.bindings import Binding
from deepmac_ablate.errors import UserError


def check(texts: Sequence[str]) -> int:
    """Check that bindings concern devices only.

    Args:
        texts: Each ``Runtime.parameter = value``.

    Returns:
        How many bindings they are.

    Raises:
        UserError: For the first that binds anything else, or is no binding.
    """
    text = bindings.read((), texts)
    for binding in text.bindings:
        if binding.scope or binding.short_selector != "Runtime":
            raise UserError(
                f"--runtime '{binding}' binds no parameter of Runtime; what a trial computes "
                "belongs into its --gin_file and --gin_bindings.")
    if text.imports:
        raise UserError(f"--runtime '{text.imports[0].statement}' is no binding of Runtime.")
    return len(text.bindings)


def without_replaced(parsed: Sequence[Binding], number: int) -> tuple[Binding, ...]:
    """Leave out the trial's own bindings that those of the start replace.

    A trial may bind what suits the machine that it was written on; that this has no effect
    elsewhere is no mistake.

    Args:
        parsed: What `bindings.parse` returned.
        number: How many of them, the last ones, the start brought along.
    """
    at = len(parsed) - number
    replaced = {binding.name for binding in parsed[at:]}
    return (*(it for it in parsed[:at] if it.name not in replaced), *parsed[at:])

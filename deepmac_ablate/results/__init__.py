"""Results of trials: one data frame, tables with intervals, effects, comparisons and reports.

::

    frame = results.load("runs/boxes")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmac_ablate.results.arms import pool
    from deepmac_ablate.results.comparison.two_arms import compare
    from deepmac_ablate.results.effects.axis_effects import axis_effects
    from deepmac_ablate.results.effects.contrasts import contrast, contrast_table
    from deepmac_ablate.results.loading.load import load
    from deepmac_ablate.results.loading.per_class import per_class, with_split
    from deepmac_ablate.results.loading.per_object import per_image, per_object
    from deepmac_ablate.results.tables.arm_table import arm_table
    from deepmac_ablate.results.tables.best_level import best_levels

__all__ = [
    "arm_table", "axis_effects", "best_levels", "compare", "contrast", "contrast_table", "load",
    "per_class", "per_image", "per_object", "pool", "with_split"]

_MODULES = {
    "arm_table": "tables.arm_table",
    "axis_effects": "effects.axis_effects",
    "best_levels": "tables.best_level",
    "compare": "comparison.two_arms",
    "contrast": "effects.contrasts",
    "contrast_table": "effects.contrasts",
    "load": "loading.load",
    "per_class": "loading.per_class",
    "per_image": "loading.per_object",
    "per_object": "loading.per_object",
    "pool": "arms",
    "with_split": "loading.per_class",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Imported on first use: the command line imports this package, and most commands can do
    # without the half second that pandas takes.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

"""What trials came to: one data frame, tables with intervals, effects, comparisons, a report.

::

    frame = results.load("runs/boxes")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmac_ablate.results.other_split import with_split
    from deepmac_ablate.results.per_class_numbers import per_class
    from deepmac_ablate.results.records import load

__all__ = ["load", "per_class", "with_split"]

_MODULES = {"load": "records", "per_class": "per_class_numbers", "with_split": "other_split"}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # The command line imports this package, and most commands need not wait for pandas.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

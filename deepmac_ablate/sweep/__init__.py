"""Sweeps: axes, the combinators that make arms of them, and the plan of trials.

A sweep's file imports from here and ends with ``SWEEP = Sweep(...)``::

    axes -> arms -> Sweep -> plan (trials with ids) -> checked plan -> launch
"""

from deepmac_ablate.sweep.axes import Axis, axis, switch, values
from deepmac_ablate.sweep.combinators import (
    Arms,
    add_one,
    cumulative,
    grid,
    leave_one_out,
    one_at_a_time,
    seeds,
    union,
    where,
    zipped,
)
from deepmac_ablate.sweep.sweep import Sweep

__all__ = [
    "Arms",
    "Axis",
    "Sweep",
    "add_one",
    "axis",
    "cumulative",
    "grid",
    "leave_one_out",
    "one_at_a_time",
    "seeds",
    "switch",
    "union",
    "values",
    "where",
    "zipped",
]

"""The words a sweep's file is written in.

::

    axes -> arms -> spec -> plan (trials with ids, checked) -> launch -> executors (XManager)
                                                                 └-> a supervisor for each trial
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

"""Which arms are drawn where there are too many to tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.statistics import mean_interval


class Selection(NamedTuple):
    """Arms to draw.

    Attributes:
        arms: In the order in which they were given.
        note: Which ones they are, where there are others; else empty.
    """

    arms: Sequence[ArmTrials]
    note: str


def telling(arms: Sequence[ArmTrials], metric: str, most: int) -> Selection:
    """Selects the baselines and the arms that are best on novel classes.

    Args:
        arms: In order.
        metric: `<reading>/<metric>`.
        most: How many, at least one.
    """
    if len(arms) <= most:
        return Selection(arms, "")

    def rank(place: int) -> tuple[bool, bool, float]:
        values = list(arms[place].by_seed(f"{metric}/novel").values())
        return not arms[place].baseline, not values, -mean_interval(values).mean if values else 0.0

    chosen = sorted(sorted(range(len(arms)), key=rank)[:most])
    note = (
        f"Shown are {most} of {len(arms)} arms: the baseline and those with the highest mean on "
        "novel classes, which chance favours the more the more arms there are.")
    return Selection([arms[place] for place in chosen], note)

"""The trials of a data frame of results, arm by arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from etils import epath

from deepmac_ablate.results import columns


class ArmTrials(NamedTuple):
    """An arm and its trials.

    Attributes:
        label: What it is called in tables: its label, with the sweep's name before it where two
            sweeps have arms of one label.
        arm: Its label within its sweep.
        sweep: The name of its sweep; empty for what was trained without one.
        baseline: Whether it is its sweep's baseline.
        levels: The name of its level by the column of each axis; None where it has none.
        trials: A row of the data frame for each seed, by column; None where something is unknown.
    """

    label: str
    arm: str
    sweep: str
    baseline: bool
    levels: Mapping[str, str | None]
    trials: Sequence[Mapping[str, Any]]

    @property
    def finished(self) -> list[Mapping[str, Any]]:
        """The trials that have finished."""
        return [row for row in self.trials if row["status"] == "finished"]

    @property
    def other_code(self) -> bool:
        """Whether other code than the present one had a hand in one of its trials."""
        return any(row["code_state"] for row in self.trials)

    def count(self, status: str) -> int:
        """Return how many of its trials have a status."""
        return sum(row["status"] == status for row in self.trials)

    def known(self, column: str) -> list[Any]:
        """Return what a column holds, of the trials where it is known."""
        return [row[column] for row in self.trials if row.get(column) is not None]

    def by_seed(self, column: str) -> dict[int, float]:
        """Return a number of each finished trial that has it, by seed."""
        return {
            row["seed"]: row[column] for row in self.finished if row.get(column) is not None}

    def distance(self, other: ArmTrials) -> int:
        """Return on how many axes its level is another than that of another arm."""
        return sum(level != other.levels[axis] for axis, level in self.levels.items())


class Arms(NamedTuple):
    """The arms of a data frame.

    Attributes:
        arms: In order of first appearance.
        left_out: Ids of trials that are called like an arm but are something else than its first
            trial with another seed: they take other steps, or their seed is there already, as
            after a sweep was edited and launched again.
    """

    arms: Sequence[ArmTrials]
    left_out: Sequence[str]


def of(frame: pd.DataFrame) -> Arms:
    """Return the arms of a data frame."""
    axes = columns.axes(frame)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    left_out = []
    # Plain values: tables ask for single numbers, at which pandas is slow.
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        group = groups.setdefault((row["sweep"] or "", _label(row)), [])
        if group and not _fits(row, group):
            left_out.append(row["trial"])
        else:
            group.append(row)
    shared = Counter(label for _, label in groups).most_common(1)
    clash = bool(shared) and shared[0][1] > 1
    return Arms(
        [
            ArmTrials(
                f"{sweep}/{label}" if clash and sweep else label, label, sweep,
                any(row["baseline"] for row in rows), {axis: rows[0][axis] for axis in axes}, rows)
            for (sweep, label), rows in groups.items()
        ],
        left_out)


def _label(row: Mapping[str, Any]) -> str:
    # Trials without a sweep need no arm; each is one of its own then.
    return row["arm"] or epath.Path(row["folder"] or "").name or row["trial"]


def _fits(row: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> bool:
    steps = group[0]["steps"]
    same_length = None in (steps, row["steps"]) or steps == row["steps"]
    return same_length and row["seed"] not in {other["seed"] for other in group}

"""In what each arm differs from the baseline: the bindings, with their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from deepmac_ablate.errors import UserError
from deepmac_ablate.listing import difference, sides
from deepmac_ablate.listing.sides import Side

_NOTHING = "-"


class Row(NamedTuple):
    """A parameter, and its value in the baseline and in the arm."""

    parameter: str
    baseline: str
    arm: str


class Differences(NamedTuple):
    """What makes an arm.

    Attributes:
        arm: Its label.
        baseline: What it is compared with.
        rows: In the order of the tree of bindings.
        note: What the rows do not say, or why there are none; else empty.
    """

    arm: str
    baseline: str
    rows: Sequence[Row]
    note: str


def of_arms(frame: pd.DataFrame, arms: Sequence[str]) -> list[Differences]:
    """Compares arms with the baseline of their sweep.

    Args:
        frame: As `columns` says.
        arms: Which ones.

    Returns:
        An entry for each arm but the baselines; none for arms of a sweep without one.
    """
    found = []
    for arm in arms:
        trials = frame[frame["arm"] == arm]
        baseline = frame[
            (frame["sweep"] == trials["sweep"].iloc[0]) & frame["baseline"].fillna(False)]
        if baseline.empty or arm in set(baseline["arm"]):
            continue
        found.append(_compare(arm, trials, str(baseline["arm"].iloc[0]), baseline))
    return found


def _compare(
    arm: str, trials: pd.DataFrame, baseline: str, of_baseline: pd.DataFrame
) -> Differences:
    try:
        ours, theirs = _side(of_baseline, baseline), _side(trials, arm)
        comparison = difference.compare(ours, theirs)
    except UserError as error:
        return Differences(arm, baseline, (), f"Its bindings cannot be read here: {error}")
    rows = [
        Row(name, *(_NOTHING if side is None else side.value for side in (one, other)))
        for name, one, other in comparison.differences]
    rows += [
        Row(f"{name} (default, changed with the code)", one or _NOTHING, other or _NOTHING)
        for name, one, other in comparison.defaults]
    notes = ["" if rows else "Nothing that is bound differs.", ours.note, theirs.note]
    return Differences(arm, baseline, rows, " ".join(filter(None, notes)))


def _side(trials: pd.DataFrame, arm: str) -> Side:
    """Returns the bindings of an arm: of a trial that was started, or as the plan has them."""
    folders = [Path(folder) for folder in trials["folder"] if folder]
    for folder in folders:
        if (folder / "trial.json").is_file():
            return sides.find(str(folder))
    raise UserError(f"no trial of the arm {arm!r} has a folder on this machine.")

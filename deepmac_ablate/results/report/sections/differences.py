"""In what each arm differs from the baseline: the bindings, with their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate.errors import UserError
from deepmac_ablate.results import config_diff
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.config_diff import Side
from deepmac_ablate.sweep.plan import Plan

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


def of_arms(arms: Sequence[ArmTrials], plans: Mapping[str, Plan]) -> list[Differences]:
    """Compare each arm with the baseline of its sweep.

    Args:
        arms: Which ones.
        plans: Of the sweeps, by workdir; arms that have not started are found there.

    Returns:
        An entry for each arm but the baselines; none for arms of a sweep without one.
    """
    baselines = {arm.sweep: arm for arm in arms if arm.baseline}
    return [
        _compare(arm, baselines[arm.sweep], plans)
        for arm in arms if not arm.baseline and arm.sweep in baselines]


def _compare(arm: ArmTrials, baseline: ArmTrials, plans: Mapping[str, Plan]) -> Differences:
    try:
        theirs, ours = _side(baseline, plans), _side(arm, plans)
        comparison = config_diff.compare_sides(theirs, ours)
    except UserError as error:
        note = f"What is bound cannot be read here: {error}"
        return Differences(arm.label, baseline.label, (), note)
    rows = [
        Row(name, *(_NOTHING if side is None else side.value for side in (one, other)))
        for name, one, other in comparison.differences]
    rows += [
        Row(f"{name} (a default that changed with the code)", one or _NOTHING, other or _NOTHING)
        for name, one, other in comparison.defaults]
    notes = ["" if rows else "Nothing that is bound differs.", theirs.note, ours.note]
    return Differences(arm.label, baseline.label, rows, " ".join(filter(None, notes)))


def _side(arm: ArmTrials, plans: Mapping[str, Plan]) -> Side:
    """Return the bindings of an arm: of a trial that was started, or as a plan has them."""
    for row in arm.trials:
        if row["folder"] and Path(row["folder"], "trial.json").is_file():
            return config_diff.read_side(row["folder"])
    for workdir, plan in plans.items():
        if plan.name == arm.sweep and arm.arm in plan.arms:
            return config_diff.read_side(arm.arm, workdir=workdir)
    raise UserError(f"no trial of {arm.label} is on this machine.")

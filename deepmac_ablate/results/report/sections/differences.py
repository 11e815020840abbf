"""Bindings in which each arm differs from the baseline of its sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate.errors import UserError
from deepmac_ablate.results import config_diff
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.config_diff import Side
from deepmac_ablate.storage.disk import translating_errors
from deepmac_ablate.sweep.plan import Plan

_NOTHING = "-"


class Row(NamedTuple):
    """Parameter with its value in the baseline and in the arm."""

    parameter: str
    baseline: str
    arm: str


class ArmDifferences(NamedTuple):
    """Differences between an arm and its baseline.

    Attributes:
        arm: Label of the arm.
        baseline: Label of the baseline.
        rows: Differing parameters, in the order of the tree of bindings.
        note: Caveats about the rows, or why there are none; may be empty.
    """

    arm: str
    baseline: str
    rows: Sequence[Row]
    note: str


def compare_with_baselines(
    arms: Sequence[ArmTrials], plans: Mapping[str, Plan]
) -> list[ArmDifferences]:
    """Compare each arm with the baseline of its sweep.

    Args:
        arms: Arms to compare, including the baselines.
        plans: Plans of the sweeps by workdir, for arms that have not started.

    Returns:
        An entry for each arm other than the baselines; none for sweeps without a baseline.
    """
    baselines = {arm.sweep: arm for arm in arms if arm.baseline}
    return [
        _compare(arm, baselines[arm.sweep], plans)
        for arm in arms if not arm.baseline and arm.sweep in baselines]


def _compare(arm: ArmTrials, baseline: ArmTrials, plans: Mapping[str, Plan]) -> ArmDifferences:
    try:
        with translating_errors(arm.label):
            theirs, ours = _find_side(baseline, plans), _find_side(arm, plans)
        comparison = config_diff.compare_sides(theirs, ours)
    except UserError as error:
        note = f"The bindings cannot be read here: {error}"
        return ArmDifferences(arm.label, baseline.label, (), note)
    rows = [
        Row(name, *(_NOTHING if side is None else side.value for side in (one, other)))
        for name, one, other in comparison.differences]
    rows += [
        Row(f"{name} ({'default' if one_sided else 'default changed in the code'})",
            one or _NOTHING, other or _NOTHING)
        for name, one, other, one_sided in comparison.defaults]
    notes = ["" if rows else "No binding differs.", theirs.note, ours.note]
    return ArmDifferences(arm.label, baseline.label, rows, " ".join(filter(None, notes)))


def _find_side(arm: ArmTrials, plans: Mapping[str, Plan]) -> Side:
    """Return the bindings of an arm, from a trial that has started or else from the plan."""
    for row in arm.trials:
        if row["folder"] and Path(row["folder"], "trial.json").is_file():
            return config_diff.read_side(row["folder"])
    for workdir, plan in plans.items():
        if plan.name == arm.sweep and arm.arm in plan.arms:
            return config_diff.read_side(arm.arm, workdir=workdir)
    raise UserError(f"no trial of {arm.label} is on this machine.")

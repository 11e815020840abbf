"""The finished trials of a plan in one table: how well seen and novel classes are segmented."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.rows import TrialRow
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir

# Heads and names in result.json; masks in annotated boxes first, as no detector takes part in them.
_COLUMNS = (
    ("mask IoU", "groundtruth/iou"), ("mask AP", "groundtruth/mask_ap"),
    ("mask AP", "detections/mask_ap"), ("box AP", "detections/box_ap"))
_CLASSES = ("seen", "novel")
_SIZE = 7


def text(workdir: SweepWorkdir, plan: Plan, rows: Sequence[TrialRow]) -> str:
    """Returns a row for each arm, in percent: means over its finished seeds.

    Args:
        workdir: Of the sweep.
        plan: Its plan.
        rows: Its trials, for what is to be said of the code that made them.

    Raises:
        UserError: If a result.json is broken.
    """
    arms = plan.arms
    flagged = {row.arm for row in rows if row.code_state}
    width = max(len("arm"), *(len(label) for label in arms)) + 4
    pair = 2 * _SIZE
    lines = [
        " " * (width + 6) + f"{'in annotated boxes':^{2 * pair}}{'in detected boxes':^{2 * pair}}",
        " " * (width + 6) + "".join(f"{head:^{pair}}" for head, _ in _COLUMNS),
        f"{'arm':<{width}}{'seeds':<6}" + "".join(f"{it:>{_SIZE}}" for it in _CLASSES * 4),
    ]
    for label, trials in arms.items():
        marks = "*" * (label == plan.baseline) + "!" * (label in flagged)
        name = f"{label} {marks}"
        seeds, cells = _cells(workdir, trials)
        lines.append(f"{name:<{width}}{seeds:<6}{''.join(cells)}")
    note = f"{'* baseline; i' if plan.baseline in arms else 'I'}n percent"
    if max(map(len, arms.values())) == 1:
        note += "; one seed an arm, so nobody knows how much is chance"
    if flagged:
        note += "\n! with trials of other code than the present one, or of several"
    return "\n".join([*lines, note])


def _cells(workdir: SweepWorkdir, trials: Sequence[PlannedTrial]) -> tuple[str, list[str]]:
    results = [workdir.trial(planned.id).read_result() for planned in trials]
    finished = [result for result in results if result is not None]
    cells = []
    for _, name in _COLUMNS:
        for classes in _CLASSES:
            found = [result.get(f"{name}/{classes}") for result in finished]
            values = [value for value in found if value is not None]
            # Of some seeds only, a mean would be of other trials than the one beside it.
            whole = values and len(values) == len(finished)
            shown = f"{100 * statistics.fmean(values):.1f}" if whole else "-"
            cells.append(f"{shown:>{_SIZE}}")
    count = str(len(trials)) if len(finished) == len(trials) else f"{len(finished)}/{len(trials)}"
    return count, cells

"""Render a checked plan for people (text) and programs (JSON)."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from deepmac_ablate.errors import count_noun
from deepmac_ablate.launch.cloud_jobs import cost_forecast
from deepmac_ablate.launch.cloud_jobs.cost_forecast import CostForecast
from deepmac_ablate.launch.status_rows import TrialRow, broken_files, count_by_status
from deepmac_ablate.launch.time_forecast import TimeForecast
from deepmac_ablate.storage.disk import is_remote
from deepmac_ablate.sweep.checked_plan import CheckedPlan
from deepmac_ablate.sweep.validation.cost import Cost

# Longer tables are unreadable; the JSON lists all arms.
_MOST_ARMS = 60
# Wide enough that no name is broken: names are copied into commands.
_WIDTH = 1000

_COLUMNS = ("seeds", "status", "param.", "GMAC image", "GMAC box", "GMAC mask", "train", "disk")
_LEGEND = """\
* baseline. GMAC: 10^9 multiply-adds of one forward pass: backbone and decoder per image, box path
  per image, mask head per box. train: estimated multiply-adds of the whole training relative to the
  baseline. disk: checkpoints of one trial.
"""
_TIME_LEGEND = """\
time: of one trial on this machine, in a process of its own, start and evaluation included.
"""
_DEVICE_LEGEND = """\
hours, USD: per trial on the device, from the first training step to the last.
"""


def render_json(
    checked: CheckedPlan, rows: Sequence[TrialRow], here: TimeForecast,
    forecast: CostForecast | None = None, evaluation_changes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the plan as plain values, with the status and cost of each trial.

    Args:
        checked: The checked plan.
        rows: The status of its trials.
        here: Time on this machine.
        forecast: Hours and cost on a rented device; None without one.
        evaluation_changes: The result of `evaluation_settings.describe_changes`.
    """
    plan = checked.plan.to_json()
    for fields, row in zip(plan["trials"], rows, strict=True):
        cost = checked.results[row.arm].cost
        fields |= {
            "status": row.status, "code_state": row.code_state,
            "baseline": row.arm == checked.plan.baseline, "cost": cost.to_json(),
        }
        if forecast is not None:
            fields["estimate"] = forecast.arms[row.arm]._asdict()
    if forecast is not None:
        plan["device"] = forecast.to_json()
    return plan | {
        "data_out_of_reach": checked.data_out_of_reach, "data_notes": checked.data_notes,
        "evaluation_changes": list(evaluation_changes), "this_machine": here.to_json()}


def render_text(
    checked: CheckedPlan, rows: Sequence[TrialRow], here: TimeForecast,
    forecast: CostForecast | None = None, evaluation_changes: Sequence[str] = (),
) -> str:
    """Return a table of the arms with status and cost, and the number of trials of each level.

    Args:
        checked: The checked plan.
        rows: The status of its trials.
        here: Time on this machine, shown unless there is a rented device.
        forecast: Hours and cost on a rented device; None without one.
        evaluation_changes: The result of `evaluation_settings.describe_changes`.
    """
    plan = checked.plan
    arms: dict[str, list[TrialRow]] = {}
    for row in rows:
        arms.setdefault(row.arm, []).append(row)
    costs = {label: checked.results[label].cost for label in arms}
    baseline_cost = costs.get(plan.baseline)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for axis in plan.axes:
        table.add_column(axis, overflow="fold")
    more = cost_forecast.COLUMNS if forecast else ["time"] if here.arms else []
    for name in (*_COLUMNS, *more):
        table.add_column(name, justify="left" if name == "status" else "right")
    for label, arm_rows in list(arms.items())[:_MOST_ARMS]:
        levels = list(plan.arms[label][0].levels.values())
        if label == plan.baseline:
            levels[-1] += " *"
        table.add_row(
            *levels, str(len(arm_rows)), _status_cell(arm_rows),
            *_cost_cells(costs[label], baseline_cost),
            *(forecast.cells(label) if forecast else [here.cell(label, arm_rows[0])][:len(more)]))
    lines = [_title(checked), "", _table_lines(table)]
    if len(arms) > _MOST_ARMS:
        lines.append(f"... and {count_noun(len(arms) - _MOST_ARMS, 'more arm')} (--json lists all)")
    lines.append(_LEGEND + (_DEVICE_LEGEND if forecast else _TIME_LEGEND * bool(more)))
    lines += _level_counts(checked)
    lines += _totals(checked, rows)
    lines += forecast.lines() if forecast else [here.line()]
    return "\n".join([*lines, *evaluation_changes])


def render_summary(checked: CheckedPlan) -> str:
    """Return the name and question of a plan, and notes about it, for the start of a launch."""
    return "\n".join([_title(checked), *_unchecked_datasets(checked)])


def _title(checked: CheckedPlan) -> str:
    plan = checked.plan
    question = f": {plan.question}" if plan.question else ""
    return f"{plan.name}{question}"


def _cost_cells(cost: Cost, baseline: Cost | None) -> list[str]:
    ratio = cost.relative_to(baseline).training_gmacs if baseline else None
    return [
        f"{cost.parameters / 1e6:.2f} M", f"{cost.backbone_gmacs:.3g}", f"{cost.box_gmacs:.3g}",
        f"{cost.mask_gmacs:.3g}", "" if ratio is None else f"{ratio:.2f} x",
        f"{cost.disk_bytes / 1e6:.0f} MB",
    ]


def _status_cell(rows: Sequence[TrialRow]) -> str:
    statuses = ", ".join(
        status if number == len(rows) else f"{number} {status}"
        for status, number in count_by_status(rows).items() if number)
    codes = sorted({row.code_state for row in rows if row.code_state})
    return f"{statuses} ({', '.join(codes)})" if codes else statuses


def _level_counts(checked: CheckedPlan) -> list[str]:
    """Return a line for each axis: the number of trials of each level, and if they differ."""
    lines = []
    for axis, names in checked.plan.axes.items():
        number = Counter(planned.levels[axis] for planned in checked.plan.trials)
        shown = [f"{name} {number[name]}" for name in names[:20]]
        even = "" if len({number[name] for name in names}) == 1 else "  (uneven)"
        lines.append(f"{axis}: {', '.join(shown)}{' ...' if len(names) > 20 else ''}{even}")
    return lines


def _totals(checked: CheckedPlan, rows: Sequence[TrialRow]) -> list[str]:
    unfinished = [row for row in rows if row.status != "finished"]
    disk = sum(checked.results[row.arm].cost.disk_bytes for row in unfinished)
    statuses = ", ".join(
        f"{number} {status}" for status, number in count_by_status(rows).items() if number)
    trials, arms = count_noun(len(rows), "trial"), count_noun(len(checked.plan.arms), "arm")
    return [
        f"{trials}, {arms}: {statuses}. "
        f"Unfinished trials will need {disk / 1e9:.1f} GB for checkpoints.",
        *broken_files(rows),
        *_unchecked_datasets(checked),
        *checked.data_notes,
    ]


def _unchecked_datasets(checked: CheckedPlan) -> list[str]:
    return [
        f"Dataset {prefix} was not checked, as it "
        f"{'cannot be read from this machine' if is_remote(prefix) else 'does not exist here'}."
        for prefix in checked.data_out_of_reach
    ]


def _table_lines(table: Table) -> str:
    console = Console(file=io.StringIO(), width=_WIDTH)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines())

"""A checked plan as people and programs read it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from deepmac_ablate.launch.cloud_jobs import cost_forecast
from deepmac_ablate.launch.cloud_jobs.cost_forecast import CostForecast
from deepmac_ablate.launch.status_rows import TrialRow, counts
from deepmac_ablate.sweep.checked_plan import CheckedPlan
from deepmac_ablate.sweep.validation.cost import Cost

# A table of more rows is not read; the JSON has them all.
_MOST_ARMS = 60
_WIDTH = 120

_COLUMNS = ("seeds", "status", "param.", "GMAC image", "GMAC box", "GMAC mask", "train", "disk")
_LEGEND = """\
* baseline. GMAC: 10^9 multiply-adds of a forward pass: backbone and decoder per image, box path per
  image, mask head per box. train: multiply-adds of the whole training over the baseline's, an
  estimate. disk: checkpoints of one trial.
"""
_DEVICE_LEGEND = """\
hours, USD: of one trial on the device, from its first step to its last.
"""


def as_json(
    checked: CheckedPlan, rows: Sequence[TrialRow], rented: CostForecast | None = None
) -> dict[str, Any]:
    """Return everything as plain values: to the plan's, each trial adds its status and cost.

    Args:
        checked: The plan.
        rows: What has become of its trials.
        rented: What they take on a device that is rented for them; None where none is.
    """
    plan = checked.plan.to_json()
    for fields, row in zip(plan["trials"], rows, strict=True):
        cost = checked.verdicts[row.arm].cost
        fields |= {
            "status": row.status, "code_state": row.code_state,
            "baseline": row.arm == checked.plan.baseline, "cost": cost.to_json(),
        }
        if rented is not None:
            fields["estimate"] = rented.arms[row.arm]._asdict()
    if rented is not None:
        plan["device"] = rented.to_json()
    return plan | {"data_out_of_reach": checked.data_out_of_reach}


def as_text(
    checked: CheckedPlan, rows: Sequence[TrialRow], rented: CostForecast | None = None
) -> str:
    """Return the matrix of arms with status and costs, and how the trials are spread.

    Args:
        checked: The plan.
        rows: What has become of its trials.
        rented: What they take on a device that is rented for them; None where none is.
    """
    plan = checked.plan
    arms: dict[str, list[TrialRow]] = {}
    for row in rows:
        arms.setdefault(row.arm, []).append(row)
    costs = {label: checked.verdicts[label].cost for label in arms}
    base = costs.get(plan.baseline)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for axis in plan.axes:
        table.add_column(axis, overflow="fold")
    for name in (*_COLUMNS, *(cost_forecast.COLUMNS if rented else ())):
        table.add_column(name, justify="left" if name == "status" else "right")
    for label, of_arm in list(arms.items())[:_MOST_ARMS]:
        levels = list(plan.arms[label][0].levels.values())
        if label == plan.baseline:
            levels[-1] += " *"
        table.add_row(
            *levels, str(len(of_arm)), _statuses(of_arm), *_cost_cells(costs[label], base),
            *(rented.cells(label) if rented else ()))
    lines = [_head(checked), "", _print(table)]
    if len(arms) > _MOST_ARMS:
        lines.append(f"... and {len(arms) - _MOST_ARMS} arms more (--json has all)")
    lines.append(_LEGEND + (_DEVICE_LEGEND if rented else ""))
    lines += _balance(checked)
    lines += _total(checked, rows)
    lines += rented.lines() if rented else []
    return "\n".join(lines)


def summary(checked: CheckedPlan) -> str:
    """Return the plan in a few lines, for the head of a launch."""
    return "\n".join([_head(checked), *_out_of_reach(checked)])


def _head(checked: CheckedPlan) -> str:
    plan = checked.plan
    question = f": {plan.question}" if plan.question else ""
    return f"{plan.name}{question}"


def _cost_cells(cost: Cost, base: Cost | None) -> list[str]:
    ratio = cost.relative_to(base).training_gmacs if base else None
    return [
        f"{cost.parameters / 1e6:.2f} M", f"{cost.backbone_gmacs:.3g}", f"{cost.box_gmacs:.3g}",
        f"{cost.mask_gmacs:.3g}", "" if ratio is None else f"{ratio:.2f} x",
        f"{cost.disk_bytes / 1e6:.0f} MB",
    ]


def _statuses(rows: Sequence[TrialRow]) -> str:
    statuses = ", ".join(
        status if number == len(rows) else f"{number} {status}"
        for status, number in counts(rows).items() if number)
    codes = sorted({row.code_state for row in rows if row.code_state})
    return f"{statuses} ({', '.join(codes)})" if codes else statuses


def _balance(checked: CheckedPlan) -> list[str]:
    lines = []
    for axis, names in checked.plan.axes.items():
        number = Counter(planned.levels[axis] for planned in checked.plan.trials)
        shown = [f"{name} {number[name]}" for name in names[:20]]
        even = "" if len({number[name] for name in names}) == 1 else "  (uneven)"
        lines.append(f"{axis}: {', '.join(shown)}{' ...' if len(names) > 20 else ''}{even}")
    return lines


def _total(checked: CheckedPlan, rows: Sequence[TrialRow]) -> list[str]:
    number = counts(rows)
    left = [row for row in rows if row.status != "finished"]
    disk = sum(checked.verdicts[row.arm].cost.disk_bytes for row in left)
    states = ", ".join(f"{n} {status}" for status, n in number.items() if n)
    return [
        f"{len(rows)} trials, {len(checked.plan.arms)} arms: {states}; "
        f"{disk / 1e9:.1f} GB of checkpoints still to come.",
        *_out_of_reach(checked),
    ]


def _out_of_reach(checked: CheckedPlan) -> list[str]:
    return [
        f"Not looked at, as it is not in reach from here: the dataset {prefix}."
        for prefix in checked.data_out_of_reach
    ]


def _print(table: Table) -> str:
    console = Console(file=io.StringIO(), width=_WIDTH)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines())

"""The command ``plan``, and the options that edit a sweep, which ``launch`` has as well."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from deepmac_ablate.commands import slurm_options
from deepmac_ablate.commands.option_types import at_least
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import plan_report
from deepmac_ablate.launch.cloud_jobs.cost_forecast import forecast_cost
from deepmac_ablate.launch.evaluation_settings import describe_changes
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.time_forecast import forecast_time, measure_arms
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.checked_plan import CheckedPlan, check_sweep
from deepmac_ablate.sweep.device_request import (
    SLURM,
    DeviceRequest,
    add_device_options,
)
from deepmac_ablate.sweep.sweep import Sweep
from deepmac_ablate.sweep.sweep_file import load_sweep


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "plan", help="resolve and check a sweep without running it",
        description="Resolve and check every trial of a sweep and show the cost of each arm, with "
        "--device also in hours and money, and the time on this machine if it was measured. With "
        "--executor slurm, Slurm is asked when it could start a trial. Exits with 2 if an arm has "
        "a problem. @FILE reads arguments from a file, one per line.",
        fromfile_prefix_chars="@")
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's Python file")
    add_sweep_options(parser)
    add_device_options(parser)
    slurm_options.add_slurm_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    request = slurm_options.read_request(args)
    sweep = load_sweep(args.sweep)
    workdir = sweep_workdir(sweep, args)
    plan = edit_and_check(sweep, args, request)
    rows = StatusReader(workdir, plan.plan).read_rows_with_code()
    on_device = None
    if request is not None and request.is_cloud:
        on_device = forecast_cost(request, plan, rows, workdir)
    costs = {label: result.cost for label, result in plan.results.items()}
    measured = measure_arms(workdir, plan.plan, rows, costs)
    here = forecast_time(plan.plan, rows, measured, args.sweep)
    changes = describe_changes(workdir, plan.plan, rows)
    start = ""
    if args.executor == SLURM:
        start = slurm_options.ask_for_start(args, request, workdir, plan.plan)
    if args.json:
        content = plan_report.render_json(plan, rows, here, on_device, changes)
        content |= {"slurm": start} if start else {}
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print(plan_report.render_text(plan, rows, here, on_device, changes))
        print(start, end="\n" if start else "")
    return 0


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that edit a sweep."""
    parser.add_argument(
        "--workdir", metavar="WORKDIR",
        help="the sweep's workdir (default: runs/<name of the sweep>)")
    parser.add_argument(
        "--gin-bindings", action="append", default=[], metavar="BINDING",
        help="binding for all trials that wins over all others; may be given several times")
    parser.add_argument(
        "--seeds", metavar="SEEDS",
        help="number of seeds, such as 3, or seeds separated by commas, such as 0,1,7 (default: "
        "those of the sweep)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=LEVEL[,LEVEL]",
        help="keep only the arms with these levels; may be given several times, for several axes")
    parser.add_argument(
        "--steps", type=at_least(1), metavar="N",
        help="training steps of every trial (default: those of the sweep)")


def sweep_workdir(sweep: Sweep, args: argparse.Namespace) -> SweepWorkdir:
    """Return the workdir of --workdir, by default runs/<name of the sweep>."""
    return SweepWorkdir(args.workdir or Path("runs") / sweep.name)


def edit_and_check(
    sweep: Sweep, args: argparse.Namespace, request: DeviceRequest | None
) -> CheckedPlan:
    """Return the checked plan of a sweep with the edits of the command line.

    Raises:
        UserError: If an arm has a problem, or cannot run on the requested device.
    """
    seeds = _seeds(args.seeds) if args.seeds else None
    return check_sweep(sweep.edited(args.gin_bindings, seeds, args.only, args.steps), request)


def _seeds(text: str) -> int | Sequence[int]:
    try:
        return [int(seed) for seed in text.split(",")] if "," in text else int(text)
    except ValueError as error:
        raise UserError(
            f"--seeds must be a number such as 3 or a list such as 0,1,7, got {text!r}.") from error

"""`deepmac-ablate plan`: what a sweep would be."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import plan_report
from deepmac_ablate.launch.cloud_jobs.cost_forecast import forecast_cost
from deepmac_ablate.launch.status_reader import Observer
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep import sweep as loading
from deepmac_ablate.sweep.checked_plan import CheckedPlan, check
from deepmac_ablate.sweep.device_request import Rental, add_device_options, rental
from deepmac_ablate.sweep.sweep import Sweep


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "plan", help="resolve and check a sweep without running it",
        description="Resolves every trial of a sweep, checks it, and says what it costs, on a "
        "device too if one is named. Exit status 2 if anything is wrong.")
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's Python file")
    add_edits(parser)
    add_device_options(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    rented = rental(args)
    sweep = loading.load(args.sweep)
    workdir = workdir_of(sweep, args)
    plan = checked(sweep, args, rented)
    rows = Observer(workdir, plan.plan).with_code()
    on_device = None if rented is None else forecast_cost(rented, plan, rows, workdir)
    if args.json:
        content = plan_report.as_json(plan, rows, on_device)
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print(plan_report.as_text(plan, rows, on_device))
    return 0


def add_edits(parser: argparse.ArgumentParser) -> None:
    """Add what changes a sweep."""
    parser.add_argument(
        "--workdir", metavar="W", help="the sweep's workdir; default: runs/<name of the sweep>")
    parser.add_argument(
        "--gin_bindings", action="append", default=[], metavar="BINDING",
        help="for all trials, over everything else; may be given several times")
    parser.add_argument(
        "--seeds", metavar="N", help="that many seeds, or seeds with commas: '3' or '0,1,7'")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=LEVEL[,LEVEL]",
        help="only arms with this level; may be given several times, for other axes")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of every trial")


def workdir_of(sweep: Sweep, args: argparse.Namespace) -> SweepWorkdir:
    """Return the workdir that is asked for."""
    return SweepWorkdir(args.workdir or Path("runs") / sweep.name)


def checked(sweep: Sweep, args: argparse.Namespace, rented: Rental | None) -> CheckedPlan:
    """Return the plan of a sweep with its edits.

    Raises:
        UserError: If anything is wrong with it, or it cannot run on what is rented.
    """
    seeds = _seeds(args.seeds) if args.seeds else None
    return check(sweep.edited(args.gin_bindings, seeds, args.only, args.steps), rented)


def _seeds(text: str) -> int | Sequence[int]:
    try:
        return [int(seed) for seed in text.split(",")] if "," in text else int(text)
    except ValueError as error:
        raise UserError(
            f"--seeds {text} is no number of seeds; write '3', or '0,1,7' for these.") from error

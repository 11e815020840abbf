"""`deepmac-ablate plan | launch | status | stop | logs`: parses, calls, prints."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deepmac_ablate import exit_status
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import following, loading, plan_text, stopping, worker_command
from deepmac_ablate.sweep.checked_plan import CheckedPlan, check
from deepmac_ablate.sweep.device_plan import device_plan
from deepmac_ablate.sweep.devices import gpu_slots
from deepmac_ablate.sweep.display import Board, table_text
from deepmac_ablate.sweep.executor import JobOptions
from deepmac_ablate.sweep.launch import Launch, Options
from deepmac_ablate.sweep.local_executor import LocalExecutor
from deepmac_ablate.sweep.observer import Observer
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.rental import Rental, add_device_options, rental
from deepmac_ablate.sweep.rows import digest
from deepmac_ablate.sweep.spec import Sweep
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir

# More rows are no table that one reads at the end of a launch.
_MOST_ARMS = 60


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands to the command line."""
    parser = commands.add_parser(
        "plan", help="resolve and check a sweep without running it",
        description="Resolves every trial of a sweep, checks it, and says what it costs, on a "
        "device too if one is named. Exit status 2 if anything is wrong.")
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's Python file")
    add_edits(parser)
    add_device_options(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=_plan)

    parser = commands.add_parser(
        "launch", help="run what a sweep lacks",
        description="Runs every trial of a sweep that is not finished yet. The same command again "
        "goes on where it stopped. Exit status 1 if a trial failed, 75 if some are left.")
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's Python file")
    add_edits(parser)
    add_launch_options(parser)
    parser.set_defaults(run=lambda args: launch(loading.load(args.sweep), args))

    parser = commands.add_parser("status", help="what has become of a sweep's trials")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.set_defaults(run=_status)

    parser = commands.add_parser(
        "stop", help="stop a sweep; its trials save what they did",
        description="Asks the launcher of a sweep to end: running trials write a checkpoint and "
        "go on at the next launch.")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.set_defaults(run=_stop)

    parser = commands.add_parser("logs", help="what a trial printed")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.add_argument(
        "trial", metavar="TRIAL", nargs="?",
        help="its id, the beginning of it, or its arm; default: the one that wrote last")
    parser.add_argument("--follow", action="store_true", help="go on until the trial ends")
    parser.set_defaults(run=_logs)

    worker_command.register(commands)


def add_edits(parser: argparse.ArgumentParser) -> None:
    """Adds what changes a sweep without touching its file."""
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


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Adds how a sweep is launched."""
    parser.add_argument(
        "--executor", choices=["local"], default="local", help="default: %(default)s")
    parser.add_argument(
        "--max-parallel", "--max_parallel", type=int, metavar="N",
        help="trials at a time; default: one for each GPU, or one")
    parser.add_argument(
        "--retry-failed", "--retry_failed", action="store_true",
        help="launch trials that failed before, too")
    parser.add_argument(
        "--eval-job", "--eval_job", action="store_true",
        help="evaluate each trial in a job of its own while it trains")
    parser.add_argument(
        "--tracking", choices=["off", "offline", "online"], default="off",
        help="mirror numbers to Weights & Biases; default: %(default)s")
    parser.add_argument(
        "--silence-limit", "--silence_limit", type=float, default=60.0, metavar="MINUTES",
        help="minutes without a sign of life after which a trial counts as hung; 0: none; "
        "default: %(default)g")


def launch(sweep: Sweep, args: argparse.Namespace) -> int:
    """Runs what a sweep lacks; returns the exit status.

    Args:
        sweep: The sweep, without the edits of `args`.
        args: What `add_edits` and `add_launch_options` made.

    Raises:
        UserError: If anything is wrong with the sweep, or another launcher is at work.
    """
    workdir = _workdir(sweep, args)
    checked = _checked(sweep, args)
    devices = gpu_slots(os.environ)
    job_options = JobOptions(args.eval_job, args.tracking, 60.0 * args.silence_limit)
    executor = LocalExecutor(workdir, job_options, devices)
    options = Options(_max_parallel(args.max_parallel, devices), args.retry_failed)
    costs = {label: it.cost for label, it in checked.verdicts.items() if it.cost is not None}
    job = Launch(checked.plan, workdir, executor, options, costs)
    console = Console(stderr=True)
    console.print(plan_text.summary(checked), highlight=False, markup=False)
    if job.missing:
        for prefix in checked.data_out_of_reach:
            # A plan may be made elsewhere, but here every trial would fail: it says of what.
            DatasetInfo.load(prefix)
        with Board(job.observer.rows, console):
            job.run()
    else:
        job.run()
    rows = job.observer.with_code()
    print(f"{table_text(rows)}\n")
    if any(row.status == "finished" for row in rows) and len(checked.plan.arms) <= _MOST_ARMS:
        print(f"{results_text(workdir, checked.plan)}\n")
    print(digest(rows))
    if job.stopped:
        print(f"Not all trials were started. {job.stopped}", file=sys.stderr)
    statuses = {row.status for row in rows}
    if "failed" in statuses:
        return exit_status.FAILED
    return 0 if statuses <= {"finished"} else exit_status.INTERRUPTED


def results_text(workdir: SweepWorkdir, plan: Plan) -> str:
    """Returns a table of a plan's arms, without what earlier launches left.

    Raises:
        UserError: If what a trial left is broken.
    """
    # pandas takes a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results import formats as table_formats
    from deepmac_ablate.results.tables import arm_table as tables
    from deepmac_ablate.results.tables import cells as table_cells

    frame = results.load(workdir.path)
    frame = frame[frame["trial"].isin([planned.id for planned in plan.trials])]
    table = tables.arm_table(frame, per_class=results.per_class(frame))
    return table_formats.markdown(table_cells.document(table))


def _plan(args: argparse.Namespace) -> int:
    rented = rental(args)
    sweep = loading.load(args.sweep)
    workdir = _workdir(sweep, args)
    checked = _checked(sweep, args, rented)
    rows = Observer(workdir, checked.plan).with_code()
    on_device = None if rented is None else device_plan(rented, checked, rows, workdir)
    if args.json:
        content = plan_text.as_json(checked, rows, on_device)
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print(plan_text.as_text(checked, rows, on_device))
    return 0


def _status(args: argparse.Namespace) -> int:
    workdir = SweepWorkdir(args.workdir)
    rows = Observer(workdir, workdir.read_plan()).with_code()
    print(table_text(rows))
    print(digest(rows))
    print(stopping.launcher_text(workdir))
    return 0


def _stop(args: argparse.Namespace) -> int:
    print(stopping.stop(SweepWorkdir(args.workdir)))
    return 0


def _logs(args: argparse.Namespace) -> int:
    for line in following.lines(SweepWorkdir(args.workdir), args.trial, args.follow):
        print(line, end="", flush=args.follow)
    return 0


def _workdir(sweep: Sweep, args: argparse.Namespace) -> SweepWorkdir:
    return SweepWorkdir(args.workdir or Path("runs") / sweep.name)


def _checked(
    sweep: Sweep, args: argparse.Namespace, rented: Rental | None = None
) -> CheckedPlan:
    seeds = _seeds(args.seeds) if args.seeds else None
    edited = sweep.edited(args.gin_bindings, seeds, args.only, args.steps)
    return check(edited, rented)


def _seeds(text: str) -> int | Sequence[int]:
    try:
        return [int(seed) for seed in text.split(",")] if "," in text else int(text)
    except ValueError as error:
        raise UserError(
            f"--seeds {text} is no number of seeds; write '3', or '0,1,7' for these.") from error


def _max_parallel(wanted: int | None, devices: Sequence[str]) -> int:
    if wanted is None:
        return max(1, len(devices))
    if wanted < 1:
        raise UserError(f"--max-parallel {wanted} makes no sense; it must be at least 1.")
    return wanted

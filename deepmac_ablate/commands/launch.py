"""`deepmac-ablate launch`: runs what a sweep lacks."""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console

from deepmac_ablate import errors
from deepmac_ablate.commands import cloud_options
from deepmac_ablate.commands import plan as sweep_options
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import plan_report
from deepmac_ablate.launch.cloud_jobs.code_snapshot import CodeSnapshot
from deepmac_ablate.launch.cloud_jobs.cost_forecast import forecast_cost
from deepmac_ablate.launch.cloud_jobs.dry_run import DryRun
from deepmac_ablate.launch.cloud_jobs.executor import CloudExecutor
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.executor import Executor, JobOptions
from deepmac_ablate.launch.gpus import gpu_slots
from deepmac_ablate.launch.launcher import Launch, Options
from deepmac_ablate.launch.local_executor import LocalExecutor
from deepmac_ablate.launch.status_display import Board, table_text
from deepmac_ablate.launch.status_rows import digest
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep import sweep as loading
from deepmac_ablate.sweep.checked_plan import CheckedPlan
from deepmac_ablate.sweep.device_request import Rental, add_device_options, rental
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.sweep import Sweep

# More rows are no table that one reads at the end of a launch.
_MOST_ARMS = 60
# What is shown then: masks in ground-truth boxes, masks in detected ones, the detector beside them.
_METRICS = ("groundtruth/iou", "groundtruth/mask_ap", "detections/mask_ap", "detections/box_ap")
# Of jobs in a cloud, which has a quota of its own.
_JOBS_AT_A_TIME = 8


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "launch", help="run what a sweep lacks",
        description="Runs every trial of a sweep that is not finished yet, here or in a cloud. The "
        "same command again goes on where it stopped. Exit status 1 if a trial failed, 75 if some "
        "are left. Options may be read from files: @FILE, one to a line.",
        fromfile_prefix_chars="@")
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's Python file")
    sweep_options.add_edits(parser)
    add_launch_options(parser)
    parser.set_defaults(run=lambda args: launch(loading.load(args.sweep), args))


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add how a sweep is launched."""
    parser.add_argument(
        "--max-parallel", "--max_parallel", type=int, metavar="N",
        help="trials at a time; default: one for each GPU, or one; in a cloud "
        f"{_JOBS_AT_A_TIME}")
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
    add_device_options(parser)
    cloud_options.add(parser)


def launch(sweep: Sweep, args: argparse.Namespace) -> int:
    """Run what a sweep lacks; returns the exit status.

    Args:
        sweep: The sweep, without the edits of `args`.
        args: What `sweep_options.add_edits` and `add_launch_options` made.

    Raises:
        UserError: If anything is wrong with the sweep, or another launcher is at work.
    """
    rented = rental(args)
    cloud_options.check_belong(args)
    workdir = sweep_options.workdir_of(sweep, args)
    checked = sweep_options.checked(sweep, args, rented)
    console = Console(stderr=True)
    options = JobOptions(args.eval_job, args.tracking, 60.0 * args.silence_limit)
    if rented is None:
        devices = gpu_slots(os.environ)
        executor: Executor = LocalExecutor(workdir, options, devices)
        most = max(1, len(devices))
    else:
        snapshot = _snapshot(checked.plan)
        template = cloud_options.read(
            args, rented, workdir, options, snapshot.folder(workdir.path))
        if args.dry_run:
            return _dry_run(checked.plan, workdir, template, args)
        executor = CloudExecutor(template, workdir, snapshot)
        most = _JOBS_AT_A_TIME
    costs = {label: it.cost for label, it in checked.verdicts.items() if it.cost is not None}
    job = Launch(
        checked.plan, workdir, executor,
        Options(_max_parallel(args.max_parallel, most), args.retry_failed), costs)
    console.print(
        _head(checked, rented, job, workdir), highlight=False, markup=False, soft_wrap=True)
    if job.missing:
        if rented is None:
            for prefix in checked.data_out_of_reach:
                # A plan may be made elsewhere, but here every trial would fail: it says of what.
                DatasetInfo.load(prefix)
        with Board(job.observer.rows, console, executor.seconds_between_looks):
            job.run()
    else:
        job.run()
    return _report(checked.plan, workdir, job)


def _dry_run(
    plan: Plan, workdir: SweepWorkdir, template: JobTemplate, args: argparse.Namespace
) -> int:
    """Print what a launch would send; returns the exit status."""
    requests = DryRun(plan, workdir, template, args.retry_failed)
    if requests.note:
        print(requests.note, file=sys.stderr)
    print(requests.as_json() if args.json else requests.as_yaml(), end="")
    return errors.FINISHED


def _head(
    checked: CheckedPlan, rented: Rental | None, job: Launch, workdir: SweepWorkdir
) -> str:
    """Return what is told before a launch: the question, and what it will cost."""
    lines = [plan_report.summary(checked)]
    if rented is not None:
        lines += forecast_cost(rented, checked, job.observer.rows(), workdir).lines()
    return "\n".join(lines)


def _report(plan: Plan, workdir: SweepWorkdir, job: Launch) -> int:
    """Print what came of a launch; returns the exit status."""
    rows = job.observer.with_code()
    print(f"{table_text(rows)}\n")
    if any(row.status == "finished" for row in rows) and len(plan.arms) <= _MOST_ARMS:
        print(f"{results_text(workdir, plan)}\n")
    print(digest(rows))
    if job.stopped:
        print(f"Not all trials were started. {job.stopped}", file=sys.stderr)
    statuses = {row.status for row in rows}
    if "failed" in statuses:
        return errors.FAILED
    return 0 if statuses <= {"finished"} else errors.INTERRUPTED


def results_text(workdir: SweepWorkdir, plan: Plan) -> str:
    """Return a table of a plan's arms, without what earlier launches left.

    Raises:
        UserError: If what a trial left is broken.
    """
    # pandas takes a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results import formats as table_formats
    from deepmac_ablate.results.tables import arm_table as tables
    from deepmac_ablate.results.tables import rendering as table_cells

    frame = results.load(workdir.path)
    frame = frame[frame["trial"].isin([planned.id for planned in plan.trials])]
    metrics = tables.default_metrics(frame, _METRICS)
    table = tables.arm_table(frame, metrics, per_class=results.per_class(frame))
    return table_formats.markdown(table_cells.document(table))


def _snapshot(plan: Plan) -> CodeSnapshot:
    trials = [planned.trial for planned in plan.trials]
    files = dict.fromkeys(name for trial in trials for name in trial.gin_files)
    bound = dict.fromkeys(binding for trial in trials for binding in trial.bindings)
    return CodeSnapshot(list(files), list(bound))


def _max_parallel(wanted: int | None, most: int) -> int:
    if wanted is None:
        return most
    if wanted < 1:
        raise UserError(f"--max-parallel {wanted} makes no sense; it must be at least 1.")
    return wanted

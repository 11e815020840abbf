"""The command ``launch``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping

from deepmac_ablate import errors
from deepmac_ablate.cloud.gke.pod import SPOT_GRACE
from deepmac_ablate.commands import cloud_options, rehearsal, slurm_options
from deepmac_ablate.commands.option_types import at_least
from deepmac_ablate.commands.plan import add_sweep_options, edit_and_check, sweep_workdir
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import machine_check, plan_report
from deepmac_ablate.launch.cloud_jobs.code_snapshot import CodeSnapshot
from deepmac_ablate.launch.cloud_jobs.cost_forecast import forecast_cost
from deepmac_ablate.launch.cloud_jobs.dry_run import DryRun
from deepmac_ablate.launch.cloud_jobs.executor import CloudExecutor
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.continuation import (
    Continuation,
    describe_continuations,
    find_continuations,
)
from deepmac_ablate.launch.evaluation_settings import describe_changes
from deepmac_ablate.launch.executor import Executor, JobOptions
from deepmac_ablate.launch.gpus import list_gpus
from deepmac_ablate.launch.launcher import Launch, LaunchOptions
from deepmac_ablate.launch.local_executor import LocalExecutor
from deepmac_ablate.launch.status_display import StatusDisplay, status_table
from deepmac_ablate.launch.status_rows import status_summary
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.time_forecast import (
    forecast_time,
    measure_arms,
)
from deepmac_ablate.progress import PlainConsole
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.device_request import LOCAL, SLURM, DeviceRequest, add_device_options
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.sweep import Sweep
from deepmac_ablate.sweep.sweep_file import load_sweep

# Above this number of arms, no table is printed at the end of a launch.
_MOST_ARMS = 60
# Metrics of that table: masks in ground-truth boxes, masks in detected boxes, the detector.
_METRICS = ("groundtruth/iou", "groundtruth/mask_ap", "detections/mask_ap", "detections/box_ap")
# Seconds that Kubernetes gives a pod by default, and that a supervisor gives a trainer.
_GRACE = 30.0
# A dry run asks gs:// which trials are left, but does not wait for it.
_SECONDS_TO_REACH_STORE = 2.0
# Jobs at a time unless --max-parallel is given; the quota may allow more.
_JOBS_AT_A_TIME = 8


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "launch", help="run the unfinished trials of a sweep",
        description="Run the unfinished trials of a sweep, here, on a Slurm cluster or in a cloud. "
        "Run the same command again to resume. Exits with 1 if a trial failed and 75 if trials are "
        "left. @FILE reads arguments from a file, one per line.",
        fromfile_prefix_chars="@")
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's Python file")
    add_sweep_options(parser)
    add_launch_options(parser)
    parser.set_defaults(run=lambda args: launch_sweep(load_sweep(args.sweep), args))


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a launch."""
    parser.add_argument(
        "--max-parallel", type=at_least(1), metavar="N",
        help="number of trials at a time (default: as many as the GPUs are enough for, or 1; jobs "
        f"on Slurm or in a cloud: {_JOBS_AT_A_TIME})")
    parser.add_argument(
        "--retry-failed", action="store_true", help="also run trials that failed before")
    parser.add_argument(
        "--continue-from-shorter", action="store_true",
        help="let new trials continue from the last checkpoint of finished ones in the workdir, "
        "which differ from them in nothing but a smaller number of steps")
    parser.add_argument(
        "--rehearse", action="store_true",
        help="run nothing, but try a few training steps and images of every arm on this machine, "
        "in a scratch workdir, and say how long the sweep will take; exits with 1 if an arm fails")
    parser.add_argument(
        "--eval-job", action="store_true",
        help="evaluate each trial in a separate job while it trains")
    parser.add_argument(
        "--tracking", choices=["off", "offline", "online"], default="off", metavar="MODE",
        help="mirror metrics to W&B: off, offline (writes files for `deepmac-ablate sync`) or "
        "online (default: %(default)s)")
    parser.add_argument(
        "--silence-limit", type=at_least(0.0), default=60.0, metavar="MINUTES",
        help="minutes without output after which a trial counts as hung, 0 for no limit (default: "
        "%(default)g)")
    parser.add_argument(
        "--check", action="store_true",
        help="check each machine first, as `deepmac-ablate doctor` does, and train only if nothing "
        "has failed")
    parser.add_argument(
        "--grace", type=at_least(1.0), metavar="SECONDS",
        help="seconds that a trial has in all to save a checkpoint and end when it is asked to "
        f"(default: {_GRACE:g}; {SPOT_GRACE:g} with --executor gke --spot, which is what GKE gives "
        "spot pods)")
    parser.add_argument(
        "--then", metavar="COMMAND",
        help="shell command to run when the launch has ended, whatever its outcome, with the "
        "variables DEEPMAC_ABLATE_WORKDIR and DEEPMAC_ABLATE_STATUS (the exit status)")
    add_device_options(parser)
    slurm_options.add_slurm_options(parser)
    cloud_options.add_cloud_options(parser)


def launch_sweep(sweep: Sweep, args: argparse.Namespace) -> int:
    """Run the unfinished trials of a sweep and return the exit status.

    Args:
        sweep: The sweep, before the edits of `args` are applied.
        args: The options of `add_sweep_options` and `add_launch_options`.

    Raises:
        UserError: If an arm has a problem, or another launcher is running.
    """
    request = slurm_options.read_request(args)
    cloud_options.check_cloud_options(args)
    if args.executor == SLURM and not args.dry_run:
        # Before the arms are checked, which takes longer.
        slurm_options.require_slurm()
    if args.dry_run:
        file_io.give_up_unless_reachable(_SECONDS_TO_REACH_STORE)
    workdir = sweep_workdir(sweep, args)
    if args.rehearse and args.executor != LOCAL:
        raise UserError(
            f"--rehearse runs on this machine and cannot be combined with --executor "
            f"{args.executor}; --dry-run prints what would be sent to a cloud.")
    checked = edit_and_check(sweep, args, request)
    console = PlainConsole(sys.stderr)
    options = JobOptions(
        args.eval_job, args.tracking, 60.0 * args.silence_limit, _grace(args, request),
        args.check)
    if args.check and args.executor == LOCAL:
        machine_check.require_machine(str(workdir.path))
    costs = {
        label: result.cost for label, result in checked.results.items() if result.cost is not None}
    if args.executor == LOCAL:
        devices, gpus = list_gpus(os.environ), args.gpus_per_trial or 1
        parallel = args.max_parallel or max(1, len(devices) // gpus)
        if args.rehearse:
            return rehearsal.rehearse(
                checked.plan, workdir, options, parallel, (devices, gpus), console, costs)
        executor: Executor = LocalExecutor(workdir, options, devices, gpus)
    else:
        snapshot = _snapshot(checked.plan, is_shared=args.executor == SLURM)
        code = snapshot.folder(workdir.path)
        if args.executor == SLURM:
            template: JobTemplate = slurm_options.make_slurm_template(
                args, request, workdir, options, code, args.dry_run)
            slurm_options.print_hidden_variables()
        else:
            template = cloud_options.make_job_template(args, request, workdir, options, code)
        if args.dry_run:
            return _dry_run(checked.plan, workdir, template, args)
        executor = CloudExecutor(template, workdir, snapshot)
        parallel = args.max_parallel or _JOBS_AT_A_TIME
    job = Launch(
        checked.plan, workdir, executor, LaunchOptions(parallel, args.retry_failed), costs)
    shorter: Mapping[str, Continuation] = {}
    if args.continue_from_shorter:
        shorter = find_continuations(workdir, job.pending)
        job.continue_from(shorter)
    rows = [
        row._replace(step=shorter[row.id].step) if row.id in shorter else row
        for row in job.status_reader.read_rows()]
    lines, known = [plan_report.render_summary(checked)], {}
    if request is not None and request.is_cloud:
        lines += forecast_cost(request, checked, rows, workdir).lines()
    elif args.executor == LOCAL and job.pending:
        known = measure_arms(workdir, checked.plan, rows, costs)
        here = forecast_time(checked.plan, rows, known, args.sweep, parallel)
        lines += [here.line()] if known else []
    if args.continue_from_shorter:
        lines.append(describe_continuations(job.pending, shorter))
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if job.pending:
        if args.executor == LOCAL:
            for prefix in checked.data_out_of_reach:
                # A plan needs no data, but every trial here would fail: raise the reason.
                DatasetInfo.load(prefix)
        paces = {label: measured.pace for label, measured in known.items()}
        with StatusDisplay(job.status_reader.read_rows, console, executor.poll_seconds, paces):
            job.run()
    else:
        job.run()
    status = _report(checked.plan, workdir, job)
    if args.then:
        run_afterwards(args.then, workdir, status)
    return status


def _grace(args: argparse.Namespace, request: DeviceRequest | None) -> float:
    """Return the seconds that a trial has to end: the given ones, or those of the platform."""
    if args.grace is not None:
        return args.grace
    on_spot_pods = request is not None and request.executor == "gke" and request.spot
    return SPOT_GRACE if on_spot_pods else _GRACE


def run_afterwards(command: str, workdir: SweepWorkdir, status: int) -> None:
    """Run the command of --then, and say if it fails; the exit status of the launch stays.

    Args:
        command: Command for the shell.
        workdir: The workdir of the sweep, for the command's environment.
        status: The exit status of the launch, for the command's environment.
    """
    sys.stdout.flush()
    variables = {
        "DEEPMAC_ABLATE_WORKDIR": str(workdir.path), "DEEPMAC_ABLATE_STATUS": str(status)}
    done = subprocess.run(command, shell=True, env={**os.environ, **variables}, check=False)
    if done.returncode:
        print(
            f"The command of --then failed with exit status {done.returncode}: {command}",
            file=sys.stderr)


def _dry_run(
    plan: Plan, workdir: SweepWorkdir, template: JobTemplate, args: argparse.Namespace
) -> int:
    """Print the requests of a launch without sending them and return the exit status."""
    requests = DryRun(plan, workdir, template, args.retry_failed)
    if requests.note:
        print(requests.note, file=sys.stderr)
    print(requests.as_json() if args.json else requests.as_text(), end="")
    return errors.FINISHED


def _report(plan: Plan, workdir: SweepWorkdir, job: Launch) -> int:
    """Print the outcome of a launch and return the exit status."""
    rows = job.status_reader.read_rows_with_code()
    print(f"{status_table(rows)}\n")
    if any(row.status == "finished" for row in rows) and len(plan.arms) <= _MOST_ARMS:
        print(f"{results_text(workdir, plan)}\n")
    print("\n".join([*describe_changes(workdir, plan, rows), status_summary(rows)]))
    if job.stop_reason:
        print(f"Not all trials were started. {job.stop_reason}", file=sys.stderr)
    statuses = {row.status for row in rows}
    if "failed" in statuses:
        return errors.FAILED
    return 0 if statuses <= {"finished"} else errors.INTERRUPTED


def results_text(workdir: SweepWorkdir, plan: Plan) -> str:
    """Return a table of a plan's arms, without other trials in the workdir.

    Raises:
        UserError: If a file of a trial is broken.
    """
    # Imported here because pandas takes a second, and other commands do not need it.
    from deepmac_ablate import results
    from deepmac_ablate.results import formats as table_formats
    from deepmac_ablate.results.tables import arm_table as tables
    from deepmac_ablate.results.tables.table_rendering import render_table

    frame = results.load(workdir.path)
    frame = frame[frame["trial"].isin([planned.id for planned in plan.trials])]
    metrics = tables.default_metrics(frame, _METRICS)
    table = tables.arm_table(frame, metrics, per_class=results.per_class(frame))
    return table_formats.markdown_text(render_table(table))


def _snapshot(plan: Plan, is_shared: bool) -> CodeSnapshot:
    trials = [planned.trial for planned in plan.trials]
    files = dict.fromkeys(name for trial in trials for name in trial.gin_files)
    bound = dict.fromkeys(binding for trial in trials for binding in trial.bindings)
    return CodeSnapshot(list(files), list(bound), is_shared)

"""The commands ``status``, ``stop`` and ``logs``, which watch and stop a launched sweep."""

from __future__ import annotations

import argparse
import sys

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import logs, stop
from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.status_display import status_table
from deepmac_ablate.launch.status_rows import status_summary
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.time_forecast import measure_arms
from deepmac_ablate.launch.trial_status import StatusReader


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the command line."""
    parser = commands.add_parser(
        "status", help="show the state of a sweep's trials",
        description="Show the state of a sweep's trials, the causes of failures, and whether a "
        "launcher is running.")
    parser.add_argument("workdir", metavar="WORKDIR", help="the sweep's workdir")
    parser.set_defaults(run=_status)

    parser = commands.add_parser(
        "stop", help="stop a sweep; running trials save a checkpoint",
        description="Stop the launcher of a sweep and its jobs on Slurm or in a cloud. Running "
        "trials save a checkpoint; launch the sweep again to resume them.")
    parser.add_argument("workdir", metavar="WORKDIR", help="the sweep's workdir")
    parser.set_defaults(run=_stop)

    parser = commands.add_parser(
        "logs", help="print the log of a trial", description="Print the log of a trial.")
    parser.add_argument("workdir", metavar="WORKDIR", help="the sweep's workdir")
    parser.add_argument(
        "trial", metavar="TRIAL", nargs="?",
        help="id of a trial, the beginning of an id, or the label of an arm (default: the trial "
        "with the latest output)")
    parser.add_argument(
        "--follow", action="store_true", help="print new lines until the trial ends")
    parser.set_defaults(run=_logs)


def _status(args: argparse.Namespace) -> int:
    workdir = SweepWorkdir(args.workdir)
    plan = workdir.read_plan()
    launcher = stop.describe_launcher(workdir)
    if launcher == stop.NO_LAUNCHER:
        # A running launcher refreshes the state of jobs elsewhere; without one, this command does.
        try:
            active_jobs.refresh_all(active_jobs.read_active_jobs(workdir))
        except (OSError, UserError) as error:
            print(f"The state of jobs may be out of date: {error}", file=sys.stderr)
    rows = StatusReader(workdir, plan).read_rows_with_code()
    known = {arm: each.pace for arm, each in measure_arms(workdir, plan, rows).items()}
    print(status_table(rows, known))
    print(status_summary(rows))
    print(launcher)
    return 0


def _stop(args: argparse.Namespace) -> int:
    print(stop.stop_sweep(SweepWorkdir(args.workdir)))
    return 0


def _logs(args: argparse.Namespace) -> int:
    for line in logs.read_log_lines(SweepWorkdir(args.workdir), args.trial, args.follow):
        print(line, end="", flush=args.follow)
    return 0

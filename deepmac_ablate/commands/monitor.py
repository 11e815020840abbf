"""`deepmac-ablate status | stop | logs`: what becomes of a sweep that was launched."""

from __future__ import annotations

import argparse
import sys

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import logs, stop
from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.status_display import table_text
from deepmac_ablate.launch.status_reader import Observer
from deepmac_ablate.launch.status_rows import digest
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the command line."""
    parser = commands.add_parser("status", help="what has become of a sweep's trials")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.set_defaults(run=_status)

    parser = commands.add_parser(
        "stop", help="stop a sweep; its trials save what they did",
        description="Asks the launcher of a sweep to end, and jobs in a cloud as well: running "
        "trials write a checkpoint and go on at the next launch.")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.set_defaults(run=_stop)

    parser = commands.add_parser("logs", help="what a trial printed")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.add_argument(
        "trial", metavar="TRIAL", nargs="?",
        help="its id, the beginning of it, or its arm; default: the one that wrote last")
    parser.add_argument("--follow", action="store_true", help="go on until the trial ends")
    parser.set_defaults(run=_logs)


def _status(args: argparse.Namespace) -> int:
    workdir = SweepWorkdir(args.workdir)
    plan = workdir.read_plan()
    launcher = stop.launcher_text(workdir)
    if launcher == stop.NO_LAUNCHER:
        # Nobody else asks the cloud what has become of jobs.
        try:
            active_jobs.refresh_all(active_jobs.read_active_jobs(workdir))
        except (OSError, UserError) as error:
            print(f"What is queued may have changed: {error}", file=sys.stderr)
    rows = Observer(workdir, plan).with_code()
    print(table_text(rows))
    print(digest(rows))
    print(launcher)
    return 0


def _stop(args: argparse.Namespace) -> int:
    print(stop.stop(SweepWorkdir(args.workdir)))
    return 0


def _logs(args: argparse.Namespace) -> int:
    for line in logs.lines(SweepWorkdir(args.workdir), args.trial, args.follow):
        print(line, end="", flush=args.follow)
    return 0

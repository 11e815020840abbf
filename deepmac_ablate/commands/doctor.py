"""The command ``doctor``."""

from __future__ import annotations

import argparse

from deepmac_ablate import errors
from deepmac_ablate.launch import machine_check


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "doctor", help="check that trials can run on this machine",
        description="Check versions, memory, the workdir and its locks, the devices that "
        "TensorFlow sees, a matrix product and training steps of the smallest model. Run it first "
        "on any new machine, and send its output with any report of a problem. Exits with 1 if "
        "something has failed.")
    parser.add_argument(
        "--workdir", metavar="DIR", help="folder or gs:// path that trials will be written to")
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="BINDING",
        help="binding of Runtime for this machine, such as \"Runtime.strategy = 'mirrored'\"; may "
        "be given several times")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    failed = machine_check.print_findings(args.workdir, args.runtime)
    return errors.FAILED if failed else 0

"""The internal command ``tpu-server``, which jobs on TPU slices run."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from deepmac_ablate.training import tpu_environment


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "tpu-server",
        description="Serve the TPUs of this host to a trainer on another machine. Runs on each "
        "host of a multi-host TPU slice until it is interrupted, and then exits with 75.")
    parser.add_argument(
        "--port", type=int, default=8470, metavar="N",
        help="port to listen on (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> NoReturn:
    tpu_environment.set_tpu_variables(os.environ)
    # It describes the trainer's cluster, of which this server is not a member.
    os.environ.pop("TF_CONFIG", None)

    from deepmac_ablate.training import tpu_server

    tpu_server.serve(args.port)

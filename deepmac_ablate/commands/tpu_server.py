"""The internal command ``tpu-server``."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from deepmac_ablate.training import tpu_environment


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "tpu-server", help="serve the TPUs of this host to a trainer on another machine",
        description="Runs on each host of a TPU slice of several hosts, until it is asked to end: "
        "then its exit status is 75.")
    parser.add_argument("--port", type=int, default=8470, help="default: %(default)s")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> NoReturn:
    tpu_environment.set_tpu_variables(os.environ)
    # It would make this server a part of a cluster that it knows nothing of.
    os.environ.pop("TF_CONFIG", None)

    from deepmac_ablate.training import tpu_server

    tpu_server.serve(args.port)

"""The internal command ``tpu-server``, which jobs on TPU slices run."""

from __future__ import annotations

import argparse
import os
import signal
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
    parser.add_argument(
        "--hosts", default="", metavar="HOST,HOST...",
        help="hosts of the slice in the order of their numbers (default: TPU_WORKER_HOSTNAMES)")
    parser.add_argument(
        "--end-notice", metavar="FILE",
        help="file to write when interrupted; serving then goes on until it is removed")
    parser.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="seconds between an interrupt and the kill (default: %(default)g)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> NoReturn:
    hosts = tuple(filter(None, args.hosts.split(",")))
    tpu_environment.set_slice_variables(os.environ, hosts)
    tpu_environment.prepare_for_tpu(os.environ)
    # In all threads of TensorFlow, which takes over SIGTERM with a connection and ignores it, so
    # that the only one would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    # It describes the trainer's cluster, of which this server is not a member.
    os.environ.pop("TF_CONFIG", None)

    from deepmac_ablate.training import tpu_server

    tpu_server.serve(args.port, args.end_notice, args.grace)

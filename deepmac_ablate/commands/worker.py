"""The internal command ``worker``, which jobs on Slurm or in a cloud run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import worker
from deepmac_ablate.launch.supervision.job import ROLES


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "worker",
        description="Train a trial, or resume it, in a job of `launch`, and record the outcome in "
        "its folder. Exits with 0 if the trial has a result, 75 if interrupted (a checkpoint was "
        "saved), 69 if another worker has the trial, 2 if the configuration is wrong, and 3 if the "
        "loss became NaN or infinite.")
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="existing folder of the trial")
    parser.add_argument(
        "--role", choices=ROLES, default="train", metavar="ROLE",
        help=f"{' or '.join(ROLES)} (default: %(default)s)")
    parser.add_argument(
        "--mode", choices=["train_and_eval", "train", "continuous_eval"],
        default="train_and_eval", metavar="MODE",
        help="as for `train` (default: %(default)s)")
    parser.add_argument(
        "--tracking", choices=["off", "offline", "online"], default="off", metavar="MODE",
        help="as for `train` (default: %(default)s)")
    parser.add_argument(
        "--code", metavar="DIR",
        help="folder with the gin files and modules of the launch (default: the working "
        "directory)")
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="BINDING",
        help="binding of Runtime for this device; may be given several times")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="VAR=REFERENCE",
        help="environment variable of the trainer and the secret that holds its value; may be "
        "given several times")
    parser.add_argument(
        "--silence-limit", type=float, default=0.0, metavar="SECONDS",
        help="seconds without output after which the trainer counts as hung, 0 for no limit "
        "(default: %(default)g)")
    parser.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="seconds between an interrupt and the kill (default: %(default)g)")
    parser.add_argument(
        "--end-notice", metavar="FILE",
        help="file by which a host of a TPU slice says that it is asked to end")
    parser.add_argument(
        "--hosts", default="", metavar="HOST[:PORT],...",
        help="machines that train the trial together, in the order of their indices")
    parser.add_argument(
        "--check", action="store_true", help="check the machine first, as `doctor` does")
    parser.set_defaults(run=_run)


def read_config(args: argparse.Namespace) -> worker.WorkerConfig:
    """Return the worker's configuration from the options of the command.

    Raises:
        UserError: If a --secret is not VAR=REFERENCE.
    """
    return worker.WorkerConfig(
        folder=args.workdir, role=args.role, mode=args.mode, tracking=args.tracking,
        code=args.code, runtime=tuple(args.runtime), secrets=_references(args.secret),
        silence_limit=args.silence_limit, grace=args.grace, end_notice=args.end_notice,
        hosts=tuple(filter(None, args.hosts.split(","))), check=args.check)


def _references(secrets: Sequence[str]) -> dict[str, str]:
    found = {}
    for secret in secrets:
        variable, equals, reference = secret.partition("=")
        if not (variable and equals and reference):
            # Without the value: it may be the secret itself.
            raise UserError(
                "--secret must be VAR=REFERENCE, such as 'WANDB_API_KEY=projects/...'.")
        found[variable] = reference
    return found


def _run(args: argparse.Namespace) -> int:
    return worker.run(read_config(args))

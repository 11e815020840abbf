"""`deepmac-ablate worker`: what the image's entry point is given in a cloud."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import worker
from deepmac_ablate.launch.supervision.job import ROLES


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "worker", help="what a job in a cloud runs; `launch` writes its options",
        description="Trains what is left of a trial and notes in its folder what became of it. "
        "Exit status 0 says that the trial has a result, 75 that it was asked to end and goes on "
        "at the next start, 69 that another worker has the trial; 2 and 3 are mistakes that no "
        "second start mends.")
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="the trial's folder, which exists")
    parser.add_argument("--role", choices=ROLES, default="train", help="default: %(default)s")
    parser.add_argument(
        "--mode", choices=["train_and_eval", "train", "continuous_eval"],
        default="train_and_eval", help="the trainer's; default: %(default)s")
    parser.add_argument(
        "--tracking", choices=["off", "offline", "online"], default="off",
        help="as that of train; default: %(default)s")
    parser.add_argument(
        "--code", metavar="DIR",
        help="the gin files and modules that the trial was launched with; default: those of the "
        "working directory")
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="BINDING",
        help="a binding of Runtime that the device needs; may be given several times")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="VAR=REFERENCE",
        help="a variable of the trainer's, and the secret whose value it has; may be given several "
        "times")
    parser.add_argument(
        "--silence_limit", "--silence-limit", type=float, default=0.0, metavar="SECONDS",
        help="seconds without a sign of life after which the trainer has failed; default: none")
    parser.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="seconds from being asked to end to being killed; default: %(default)g")
    parser.add_argument(
        "--hosts", default="", metavar="HOST,HOST...",
        help="the machines that train the trial together, in the order of their numbers")
    parser.set_defaults(run=_run)


def read_config(args: argparse.Namespace) -> worker.WorkerConfig:
    """Return what the options of the command say.

    Raises:
        UserError: If a secret has no variable.
    """
    return worker.WorkerConfig(
        folder=args.workdir, role=args.role, mode=args.mode, tracking=args.tracking,
        code=args.code, runtime=tuple(args.runtime), secrets=_references(args.secret),
        silence_limit=args.silence_limit, grace=args.grace,
        hosts=tuple(filter(None, args.hosts.split(","))))


def _references(secrets: Sequence[str]) -> dict[str, str]:
    found = {}
    for secret in secrets:
        variable, equals, reference = secret.partition("=")
        if not (variable and equals and reference):
            # Not what was given: somebody may have written the secret itself.
            raise UserError("A --secret is no VAR=REFERENCE; write 'WANDB_API_KEY=projects/...'.")
        found[variable] = reference
    return found


def _run(args: argparse.Namespace) -> int:
    return worker.run(read_config(args))

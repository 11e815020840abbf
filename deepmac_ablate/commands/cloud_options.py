"""What a launch into a cloud is told on the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from deepmac_ablate import storage
from deepmac_ablate.cloud import credentials, devices, secrets
from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.cloud.gke import client
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.device_request import LOCAL, Rental

_REGION = "us-central1"
# As long as Vertex AI lets a job run at most.
_HOURS = 168.0

# By the names of their variables: which executors know an option.
_BELONGS = {
    "image": ("vertex", "gke"), "eval_device": ("vertex", "gke"), "hours": ("vertex", "gke"),
    "service_account": ("vertex", "gke"), "env": ("vertex", "gke"), "secret": ("vertex", "gke"),
    "project": ("vertex",), "region": ("vertex",),
    "context": ("gke",), "namespace": ("gke",), "reservation": ("gke",), "flex_start": ("gke",),
    "queue": ("gke",),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options; none of them has a default, so that it can be told who gave what."""
    cloud = parser.add_argument_group("in a cloud (--executor vertex or gke)")
    cloud.add_argument("--image", help="the container image, as the Dockerfiles make it")
    cloud.add_argument(
        "--eval-device", "--eval_device", metavar="NAME",
        help="what --eval-job's job runs on; default: the smallest of --device's generation")
    cloud.add_argument(
        "--hours", type=float, metavar="N",
        help=f"end a job after as many hours, whatever it does; default: {_HOURS:g}")
    cloud.add_argument(
        "--service-account", "--service_account", metavar="NAME",
        help="whose rights jobs have: Google's account, or Kubernetes'; default: the cloud's own")
    cloud.add_argument(
        "--env", action="append", metavar="VAR=VALUE",
        help="a variable for jobs, readable to all; may be given several times")
    cloud.add_argument(
        "--secret", action="append", metavar="VAR=REFERENCE",
        help="a variable whose value stays where it is: a secret of Secret Manager's, or on GKE "
        "SECRET/KEY; may be given several times")
    cloud.add_argument(
        "--project", help="Google Cloud's, for Vertex AI; default: GOOGLE_CLOUD_PROJECT, or that "
        "of the credentials")
    cloud.add_argument("--region", help=f"Vertex AI's; default: {_REGION}")
    cloud.add_argument(
        "--context", help="of kubectl's configuration, for GKE; default: the current one")
    cloud.add_argument("--namespace", help="of Kubernetes; default: default")
    cloud.add_argument("--reservation", help="of machines, by its name, for GKE")
    cloud.add_argument(
        "--flex-start", "--flex_start", action="store_true", default=None,
        help="wait for machines until GKE has them all (flex start)")
    cloud.add_argument("--queue", help="of Kueue, for GKE")
    cloud.add_argument(
        "--dry-run", "--dry_run", action="store_true",
        help="print the exact requests and send nothing")
    cloud.add_argument("--json", action="store_true", help="with --dry-run: as JSON, not YAML")


def check_belong(args: argparse.Namespace) -> None:
    """Raise a UserError for an option that the executor would ignore."""
    for name, executors in _BELONGS.items():
        if getattr(args, name) is not None and args.executor not in executors:
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option} says nothing to --executor {args.executor}; it belongs to "
                f"--executor {' or '.join(executors)}.")
    if args.dry_run and args.executor == LOCAL:
        raise UserError("--dry-run prints requests to a cloud; what would run here, `plan` prints.")
    if args.json and not args.dry_run:
        raise UserError("--json is for --dry-run; of what was launched, `table` prints JSON.")


def read(
    args: argparse.Namespace, rented: Rental, workdir: SweepWorkdir, options: JobOptions, code: str
) -> JobTemplate:
    """Return what the jobs of a launch are like, and where they go.

    Args:
        args: With the options of `add`.
        rented: What they run on.
        workdir: Of the sweep.
        options: What jobs are like.
        code: Where the gin files and the user's modules will be.

    Raises:
        UserError: If an option is missing, wrong, or cannot be had together with another.
    """
    executor = rented.executor
    if not storage.is_remote(workdir.path):
        raise UserError(
            f"--executor {executor} needs a workdir that its machines can reach, not "
            f"{workdir.path}; give --workdir gs://BUCKET/FOLDER.")
    if args.image is None:
        raise UserError(
            f"--executor {executor} needs --image, built from Dockerfile or Dockerfile.tpu and "
            "pushed to a registry that its machines can read.")
    _check_tracking(options, args.secret or ())
    by_role = {"train": rented.device}
    if options.eval_job:
        by_role["eval"] = _eval_device(args.eval_device, rented)
    elif args.eval_device is not None:
        raise UserError("--eval-device says nothing without --eval-job.")
    hours = _HOURS if args.hours is None else args.hours
    if not hours > 0:
        raise UserError(f"--hours {hours:g} leaves jobs no time; it must be more than 0.")
    env = dict(_variable(it) for it in args.env or ())
    secrets.check_no_secrets(env)
    return JobTemplate(
        executor=executor, place=_place(args), workdir=str(workdir.path), image=args.image,
        devices=by_role, options=options, code=code, env=env,
        secrets=secrets.parse_references(args.secret or (), executor), spot=rented.spot,
        service_account=args.service_account, hours=hours)


def _place(args: argparse.Namespace) -> dict[str, Any]:
    if args.executor == "vertex":
        return {
            "project": credentials.find_project(args.project), "region": args.region or _REGION}
    # By name: another may be the current one when the sweep is stopped.
    context = args.context or client.current_context()
    given = {
        "namespace": args.namespace, "context": context, "reservation": args.reservation,
        "flex_start": args.flex_start, "queue": args.queue}
    return {name: value for name, value in given.items() if value is not None}


def _check_tracking(options: JobOptions, given: Sequence[str]) -> None:
    if options.tracking == "offline":
        raise UserError(
            "--tracking offline writes files on the machine of the trial, which is gone "
            "afterwards; in a cloud use --tracking online, or off.")
    if options.tracking == "online" and not any(it.startswith("WANDB_API_KEY=") for it in given):
        raise UserError(
            "--tracking online needs a key where trials run: --secret WANDB_API_KEY=REFERENCE.")


def _eval_device(name: str | None, rented: Rental) -> Device:
    if name is None:
        alike = [devices.get_device(it) for it in devices.device_names()]
        return min(
            (it for it in alike if it.generation == rented.device.generation),
            key=lambda it: it.chips)
    found = devices.get_device(name)
    for problem in devices.availability_problems(found, rented.executor, rented.spot):
        raise UserError(problem)
    return found


def _variable(option: str) -> tuple[str, str]:
    name, separator, value = option.partition("=")
    if not separator or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise UserError(f"--env {option!r} is no VAR=VALUE.")
    return name, value

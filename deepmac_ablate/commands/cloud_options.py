"""Options of ``launch`` for trials in a cloud."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from deepmac_ablate.cloud import credentials, devices, secrets
from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.cloud.gke import client
from deepmac_ablate.commands.option_types import check_effects
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.device_request import LOCAL, DeviceRequest

_REGION = "us-central1"
# The longest time that Vertex AI lets a job run.
_HOURS = 168.0

# The executors that an option applies to, by the name of its variable.
_EXECUTORS = {
    "image": ("vertex", "gke"), "eval_device": ("vertex", "gke"), "hours": ("vertex", "gke"),
    "service_account": ("vertex", "gke"), "env": ("vertex", "gke"), "secret": ("vertex", "gke"),
    "project": ("vertex",), "region": ("vertex",),
    "reservation": ("vertex", "gke"), "flex_start": ("vertex", "gke"),
    "context": ("gke",), "namespace": ("gke",), "queue": ("gke",), "unprivileged": ("gke",),
}


def add_cloud_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; they default to None, so that options without effect can be refused."""
    cloud = parser.add_argument_group("options in a cloud (--executor vertex or gke)")
    cloud.add_argument(
        "--image", metavar="IMAGE", help="container image, built from one of the Dockerfiles")
    cloud.add_argument(
        "--eval-device", metavar="DEVICE",
        help="device of --eval-job (default: the smallest of --device's generation)")
    cloud.add_argument(
        "--hours", type=float, metavar="N",
        help=f"end every job after this number of hours (default: {_HOURS:g})")
    cloud.add_argument(
        "--service-account", metavar="NAME",
        help="account that jobs run as, of Google Cloud or Kubernetes (default: the cloud's "
        "default account)")
    cloud.add_argument(
        "--env", action="append", metavar="VAR=VALUE",
        help="environment variable of the jobs, not for secrets; may be given several times")
    cloud.add_argument(
        "--secret", action="append", metavar="VAR=REFERENCE",
        help="environment variable whose value is read from Secret Manager, or on GKE from "
        "SECRET/KEY; may be given several times")
    cloud.add_argument(
        "--project", metavar="PROJECT",
        help="vertex: Google Cloud project (default: GOOGLE_CLOUD_PROJECT, or the project of the "
        "credentials)")
    cloud.add_argument(
        "--region", metavar="REGION", help=f"vertex: region (default: {_REGION})")
    cloud.add_argument(
        "--context", metavar="NAME", help="gke: kubectl context (default: the current context)")
    cloud.add_argument(
        "--namespace", metavar="NAME", help="gke: Kubernetes namespace (default: default)")
    cloud.add_argument(
        "--reservation", metavar="NAME",
        help="reservation of machines; vertex: projects/PROJECT/zones/ZONE/reservations/NAME")
    cloud.add_argument(
        "--flex-start", action="store_true", default=None,
        help="wait until all machines of a trial are available (flex start)")
    cloud.add_argument("--queue", metavar="NAME", help="gke: Kueue queue")
    cloud.add_argument(
        "--unprivileged", action="store_true", default=None,
        help="gke: do not run TPU containers privileged, which Autopilot clusters refuse")
    cloud.add_argument(
        "--dry-run", action="store_true",
        help="print the requests, or the batch scripts of Slurm jobs, without sending them")
    cloud.add_argument(
        "--json", action="store_true", help="print the requests of --dry-run as JSON, not YAML")


def check_cloud_options(args: argparse.Namespace) -> None:
    """Check that every given option has an effect.

    Raises:
        UserError: If the executor would ignore an option.
    """
    check_effects(args, _EXECUTORS)
    if args.dry_run and args.executor == LOCAL:
        raise UserError(
            "--dry-run needs --executor slurm, vertex or gke; use `plan` for trials on this "
            "machine.")
    if args.json and not args.dry_run:
        raise UserError(
            "--json needs --dry-run; use `table --format json` for the results of a sweep.")


def make_job_template(
    args: argparse.Namespace,
    request: DeviceRequest,
    workdir: SweepWorkdir,
    options: JobOptions,
    code: str,
) -> JobTemplate:
    """Return the template of the jobs of a launch.

    Args:
        args: The options of `add_cloud_options`.
        request: The device of every trial.
        workdir: The workdir of the sweep, on gs://.
        options: The options of jobs on any executor.
        code: The folder on gs:// with the gin files and the user's modules.

    Raises:
        UserError: If an option is missing, invalid, or contradicts another.
    """
    executor = request.executor
    if not file_io.is_remote(workdir.path):
        raise UserError(
            f"--executor {executor} needs a workdir on gs://, got {workdir.path}; pass --workdir "
            "gs://BUCKET/FOLDER.")
    if args.image is None:
        raise UserError(
            f"--executor {executor} needs --image: build one from Dockerfile or Dockerfile.tpu and "
            "push it to a registry that the cloud can read.")
    _check_tracking(options, args.secret or ())
    by_role = {"train": request.device}
    if options.eval_job:
        by_role["eval"] = _eval_device(args.eval_device, request)
    elif args.eval_device is not None:
        raise UserError("--eval-device has no effect without --eval-job.")
    hours = _HOURS if args.hours is None else args.hours
    if not hours > 0:
        raise UserError(f"--hours must be greater than 0, got {hours:g}.")
    env = dict(map(_variable, args.env or ()))
    secrets.check_no_secrets(env)
    return JobTemplate(
        executor=executor, place=_place(args), workdir=str(workdir.path), image=args.image,
        devices=by_role, options=options, code=code, env=env,
        secrets=secrets.parse_references(args.secret or (), executor), spot=request.spot,
        service_account=args.service_account, hours=hours)


def _place(args: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {"reservation": args.reservation, "flex_start": args.flex_start}
    if args.executor == "vertex":
        given |= {
            "project": credentials.find_project(args.project), "region": args.region or _REGION}
    else:
        # Store the name: another context may be current when the sweep is stopped.
        given |= {
            "context": args.context or client.current_context(), "namespace": args.namespace,
            "queue": args.queue, "privileged": False if args.unprivileged else None}
    return {name: value for name, value in given.items() if value is not None}


def _check_tracking(options: JobOptions, given: Sequence[str]) -> None:
    if options.tracking == "offline":
        raise UserError(
            "--tracking offline cannot be used in a cloud, where its files are lost with the "
            "machine; use online or off.")
    has_key = any(secret.startswith("WANDB_API_KEY=") for secret in given)
    if options.tracking == "online" and not has_key:
        raise UserError(
            "--tracking online needs an API key in the cloud; pass --secret "
            "WANDB_API_KEY=REFERENCE.")


def _eval_device(name: str | None, request: DeviceRequest) -> Device:
    if name is None:
        every = [devices.get_device(other) for other in devices.device_names()]
        return min(
            (device for device in every if device.generation == request.device.generation),
            key=lambda device: device.chips)
    found = devices.get_device(name)
    for problem in devices.availability_problems(found, request.executor, request.spot):
        raise UserError(problem)
    return found


def _variable(option: str) -> tuple[str, str]:
    name, separator, value = option.partition("=")
    if not separator or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise UserError(f"--env must be VAR=VALUE, got {option!r}.")
    return name, value

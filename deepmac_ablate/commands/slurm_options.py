"""Options of ``plan`` and ``launch`` for machines of one's own: GPUs per trial, and Slurm."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from deepmac_ablate.cloud.provider import NoAnswerError
from deepmac_ablate.commands.option_types import at_least, check_effects
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.slurm import client, programs
from deepmac_ablate.launch.slurm.job import SlurmTemplate
from deepmac_ablate.launch.slurm.settings import SlurmSettings, parse_settings
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.device_request import (
    LOCAL,
    SLURM,
    DeviceRequest,
    own_machines,
    read_device_request,
)
from deepmac_ablate.sweep.plan import Plan

# The executors that an option applies to, by the name of its variable.
_EXECUTORS = {
    "gpus_per_trial": (LOCAL, SLURM), "partition": (SLURM,), "time": (SLURM,), "slurm": (SLURM,),
    "prologue": (SLURM,)}


def add_slurm_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; they default to None, so that options without effect can be refused."""
    parser.add_argument(
        "--gpus-per-trial", type=at_least(1), metavar="N",
        help="number of GPUs of each trial, with --executor local (default: 1 if the machine has "
        "any) or slurm (default: those of --slurm, or none)")
    slurm = parser.add_argument_group("options of --executor slurm")
    slurm.add_argument("--partition", metavar="NAME", help="partition of the jobs")
    slurm.add_argument(
        "--time", metavar="TIME",
        help="time limit of a job, such as 24:00:00; a longer trial goes on in the next job")
    slurm.add_argument(
        "--slurm", action="append", metavar="KEY=VALUE",
        help="long option of sbatch, passed on as written, such as account=me, mem=32G or nodes=2; "
        "may be given several times")
    slurm.add_argument(
        "--prologue", type=Path, metavar="FILE",
        help="lines of bash that run in each job before the worker, such as `module load cuda`")


def read_request(args: argparse.Namespace) -> DeviceRequest | None:
    """Return the device of each trial; None for the CPU or one GPU of this machine.

    Args:
        args: The options of `add_slurm_options` and `add_device_options`.

    Raises:
        UserError: If an option is invalid, has no effect, or contradicts another.
    """
    check_effects(args, _EXECUTORS)
    request = read_device_request(args)
    if args.executor == SLURM:
        settings = read_settings(args)
        return DeviceRequest(SLURM, own_machines(settings.gpus, settings.nodes))
    if args.executor == LOCAL and args.gpus_per_trial is not None:
        return DeviceRequest(LOCAL, own_machines(args.gpus_per_trial))
    return request


def require_slurm() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        UserError: If Slurm is not installed here, or does not answer.
    """
    programs.read_cluster_name()


def read_settings(args: argparse.Namespace) -> SlurmSettings:
    """Return the settings of Slurm jobs.

    Raises:
        UserError: If an option is invalid or contradicts another.
    """
    own = {"partition": args.partition, "time": args.time}
    given = [f"{name}={value}" for name, value in own.items() if value is not None]
    return parse_settings([*(args.slurm or ()), *given], args.gpus_per_trial, args.prologue)


def make_slurm_template(
    args: argparse.Namespace, request: DeviceRequest, workdir: SweepWorkdir, options: JobOptions,
    code: str, dry_run: bool,
) -> SlurmTemplate:
    """Return the template of the jobs of a launch.

    Args:
        args: The options of `add_slurm_options`.
        request: The device of every trial.
        workdir: The workdir of the sweep, on a disk that the nodes share.
        options: The options of jobs on any executor.
        code: The folder with the gin files and the user's modules.
        dry_run: Whether no job will be submitted, so that no cluster is needed.

    Raises:
        UserError: If the workdir is on gs://, Slurm is not installed, or it does not answer.
    """
    if file_io.is_remote(workdir.path):
        raise UserError(
            f"--executor slurm needs a workdir on a disk that the nodes share, got {workdir.path}.")
    place = {} if dry_run else {
        "cluster": programs.read_cluster_name(), "user": programs.current_user()}
    device = request.device
    by_role = {"train": device}
    if options.eval_job:
        by_role["eval"] = own_machines(1 if device.kind == "gpu" else 0)
    return SlurmTemplate(
        executor=SLURM, place=place, workdir=os.path.abspath(workdir.path), image="",  # noqa: PTH100
        devices=by_role, options=options, code=os.path.abspath(code), settings=read_settings(args),  # noqa: PTH100
        launch_folder=os.getcwd())  # noqa: PTH109


def ask_for_start(
    args: argparse.Namespace, request: DeviceRequest, workdir: SweepWorkdir, plan: Plan
) -> str:
    """Return a sentence about when and where Slurm could start a trial.

    Args:
        args: The options of `add_slurm_options`.
        request: The device of every trial.
        workdir: The workdir of the sweep.
        plan: The trials.

    Raises:
        UserError: If Slurm can never start such a job.
    """
    if not programs.is_installed():
        return "Slurm is not installed on this machine, so it was not asked for these resources."
    template = make_slurm_template(args, request, workdir, JobOptions(), "code", dry_run=True)
    try:
        return client.estimate_start(template.request(plan, plan.trials[0], "train", 1))
    except NoAnswerError as error:
        return f"{error} It was not asked for these resources."


def print_hidden_variables() -> None:
    """Say on stderr which environment variables the jobs do not receive."""
    if names := programs.hidden_variables(os.environ):
        print(
            f"Jobs do not receive {', '.join(names)}, as Slurm would store what may be secrets; "
            "set what they need in the prologue, from a file.", file=sys.stderr)

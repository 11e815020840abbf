"""The device that the trials of a sweep are to be run on in a cloud, and whether they can be."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.cloud import devices
from deepmac_ablate.cloud.devices import Device, Executor
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.verdict import DataNeeds, Verdict
from deepmac_ablate.trial.trial import Trial

LOCAL = "local"


class Rental(NamedTuple):
    """What each trial gets for itself.

    Attributes:
        executor: Whom it is rented from.
        device: What it is.
        spot: Whether the machines may be taken away.
    """

    executor: Executor
    device: Device
    spot: bool


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add where trials run."""
    parser.add_argument(
        "--executor", choices=[LOCAL, "vertex", "gke"], default=LOCAL,
        help="this machine, Vertex AI or a GKE cluster; default: %(default)s")
    parser.add_argument(
        "--device", metavar="NAME",
        help="what each trial runs on in a cloud, such as v5e-16, a100-8 or cpu-8")
    parser.add_argument(
        "--spot", action="store_true",
        help="machines that cost less and may be taken away; trials go on where they stopped")


def rental(args: argparse.Namespace) -> Rental | None:
    """Return what is rented, or None where trials run on this machine.

    Args:
        args: What `add_device_options` made.

    Raises:
        UserError: If there is no such device, or the options contradict each other.
    """
    if args.executor == LOCAL:
        given = [f"--device {args.device}"] if args.device else []
        given += ["--spot"] if args.spot else []
        if given:
            raise UserError(
                f"{' '.join(given)} is for a cloud, but the executor is 'local', which takes what "
                "this machine has; add --executor vertex or --executor gke.")
        return None
    if not args.device:
        raise UserError(
            f"--executor {args.executor} needs a device for each trial; add --device, such as "
            "--device v5e-8 or --device a100-1.")
    return Rental(args.executor, devices.get_device(args.device), args.spot)


def problems(
    rented: Rental, plan: Plan, verdicts: Sequence[Verdict]
) -> list[tuple[str, str]]:
    """Say why trials cannot run on what is rented.

    Args:
        rented: What is rented.
        plan: The trials.
        verdicts: On the arms.

    Returns:
        A sentence each, with the label of the arm, or with the option where it concerns all.
    """
    name = rented.device.name
    found = [
        (f"--device {name}", sentence)
        for sentence in devices.availability_problems(rented.device, rented.executor, rented.spot)]
    arms = plan.arms
    for verdict in verdicts:
        # Of what cannot be built nothing else is known.
        if verdict.cost is not None and verdict.data is not None:
            trial = arms[verdict.label][0].trial
            found += [
                (verdict.label, sentence)
                for sentence in (
                    *_batch_problems(rented, verdict.cost),
                    *_path_problems(rented, verdict.data, trial))]
    return found


def has_float32(plan: Plan) -> bool:
    """Whether an arm computes in single precision, for which TPUs are not made."""
    return any(
        _bound(trials[0].trial, "Training.precision") != "bfloat16"
        for trials in plan.arms.values())


def _batch_problems(rented: Rental, cost: Cost) -> Iterator[str]:
    replicas = rented.device.replicas
    if cost.batch_size % replicas:
        yield (
            f"TrainingData.batch_size = {cost.batch_size} cannot be shared by the {replicas} "
            f"replicas of {rented.device.name}; bind a multiple of {replicas}, which makes another "
            "trial, or take a smaller device.")


def _path_problems(rented: Rental, data: DataNeeds, trial: Trial) -> Iterator[str]:
    cloud = {"vertex": "Vertex AI", "gke": "GKE"}[rented.executor]
    paths = {
        "TrainingData.prefix": data.train, "EvaluationData.prefix": data.evaluation,
        "Training.init_checkpoint": _bound(trial, "Training.init_checkpoint")}
    for name, path in paths.items():
        if path is not None and not path.startswith("gs://"):
            yield (
                f"{name} = {path!r} is not on gs://, where jobs on {cloud} could read it; copy it "
                "to a bucket and bind its path there.")


def _bound(trial: Trial, name: str) -> Any:  # noqa: ANN401 - whatever a binding may hold
    """Return what a trial binds a parameter of its training to; None where it does not."""
    text = bindings.read(trial.gin_files, trial.bindings)
    return ast.literal_eval(bindings.explicit_bindings(text.bindings).get(name, "None"))

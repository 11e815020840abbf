"""Device request: the cloud device of each trial, and checks that trials can run on it."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.gin_files import ROOT
from deepmac_ablate.cloud import devices
from deepmac_ablate.cloud.devices import Device, Executor
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.validation_result import DataRequirements, ValidationResult
from deepmac_ablate.trial.trial import Trial

LOCAL = "local"


class DeviceRequest(NamedTuple):
    """The device that each trial of a launch requests.

    Attributes:
        executor: The cloud service.
        device: The device.
        spot: Whether spot machines are requested, which may be preempted.
    """

    executor: Executor
    device: Device
    spot: bool


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select where trials run."""
    parser.add_argument(
        "--executor", choices=[LOCAL, "vertex", "gke"], default=LOCAL, metavar="EXECUTOR",
        help="local (this machine), vertex (Vertex AI) or gke (a GKE cluster) (default: "
        "%(default)s)")
    parser.add_argument(
        "--device", metavar="DEVICE",
        help="device of each trial in a cloud, such as v5e-16, a100-8 or cpu-8")
    parser.add_argument(
        "--spot", action="store_true",
        help="use spot machines, which cost less and may be preempted; trials resume")


def read_device_request(args: argparse.Namespace) -> DeviceRequest | None:
    """Return the device request of a command line; None if trials run on this machine.

    Args:
        args: The options of `add_device_options`.

    Raises:
        UserError: If there is no such device, or the options contradict each other.
    """
    if args.executor == LOCAL:
        given = [f"--device {args.device}"] if args.device else []
        given += ["--spot"] if args.spot else []
        if given:
            have, they_apply = (
                ("has", "it applies") if len(given) == 1 else ("have", "they apply"))
            raise UserError(
                f"{' and '.join(given)} {have} no effect with --executor local; {they_apply} only "
                "to vertex and gke.")
        return None
    if not args.device:
        raise UserError(
            f"--executor {args.executor} needs --device, such as --device v5e-8 or --device "
            "a100-1.")
    return DeviceRequest(args.executor, devices.get_device(args.device), args.spot)


def device_problems(
    request: DeviceRequest, plan: Plan, results: Sequence[ValidationResult]
) -> list[tuple[str, str]]:
    """Return the reasons why trials cannot run on the requested device.

    Args:
        request: The device request.
        plan: The trials.
        results: The validation results of the arms.

    Returns:
        Pairs of the label of an arm, or an option that concerns all arms, and a sentence.
    """
    name = request.device.name
    found = [
        (f"--device {name}", sentence)
        for sentence in devices.availability_problems(
            request.device, request.executor, request.spot)]
    arms = plan.arms
    for result in results:
        # An arm with problems of its own has neither cost nor data.
        if result.cost is not None and result.data is not None:
            trial = arms[result.label][0].trial
            found += [
                (result.label, sentence)
                for sentence in (
                    *_batch_problems(request, result.cost),
                    *_path_problems(request, result.data, trial))]
    return found


def has_float32(plan: Plan) -> bool:
    """Return whether an arm trains in single precision, which is slow on TPUs."""
    return any(
        _bound(trials[0].trial, "Training.precision") != "bfloat16"
        for trials in plan.arms.values())


def _batch_problems(request: DeviceRequest, cost: Cost) -> Iterator[str]:
    replicas = request.device.replicas
    if cost.batch_size % replicas:
        yield (
            f"TrainingData.batch_size = {cost.batch_size} is not a multiple of the {replicas} "
            f"replicas of {request.device.name}; bind a multiple of {replicas}, which makes a "
            "different trial, or use a smaller device.")


def _path_problems(request: DeviceRequest, data: DataRequirements, trial: Trial) -> Iterator[str]:
    cloud = {"vertex": "Vertex AI", "gke": "GKE"}[request.executor]
    paths = {
        "TrainingData.prefix": data.train, "EvaluationData.prefix": data.evaluation,
        "Training.init_checkpoint": _bound(trial, "Training.init_checkpoint")}
    for name, path in paths.items():
        if path is None or (ROOT / f"{path}.index").is_file():
            # The package's own checkpoints are installed with it.
            continue
        if not path.startswith("gs://"):
            yield (
                f"{name} = {path!r} cannot be read by jobs on {cloud}; copy it to a bucket and "
                "bind its gs:// path.")


def _bound(trial: Trial, name: str) -> Any:  # noqa: ANN401 - whatever a binding may hold
    """Return the value that a trial binds to a parameter; None if it is not bound."""
    text = bindings.read(trial.gin_files, trial.bindings)
    return ast.literal_eval(bindings.explicit_bindings(text.bindings).get(name, "None"))

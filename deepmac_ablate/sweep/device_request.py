"""Device request: the device of each trial, and checks that trials can run on it."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.gin_files import ROOT
from deepmac_ablate.cloud import devices
from deepmac_ablate.cloud.devices import Device, Executor
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.validation_result import DataRequirements, ValidationResult
from deepmac_ablate.trial.trial import Trial

LOCAL, SLURM = "local", "slurm"
CLOUDS = ("vertex", "gke")


class DeviceRequest(NamedTuple):
    """The device that each trial of a launch requests.

    Attributes:
        executor: Where it is: a cloud service, "slurm" or "local".
        device: The device; of machines of one's own only the numbers of GPUs and of machines are
            known, see `own_machines`.
        spot: Whether spot machines are requested, which may be preempted.
    """

    executor: Executor | Literal["slurm", "local"]
    device: Device
    spot: bool = False

    @property
    def is_cloud(self) -> bool:
        """Whether a cloud provides the device, at a price."""
        return self.executor in CLOUDS


def own_machines(gpus: int, hosts: int = 1) -> Device:
    """Return the device of a trial on machines of one's own.

    Args:
        gpus: Number of GPUs on all machines; 0 for the CPUs.
        hosts: Number of machines.
    """
    kind = "gpu" if gpus else "cpu"
    name = count_noun(gpus, "GPU") if gpus else "CPU"
    return Device(
        name=name if hosts == 1 else f"{name} on {hosts} nodes", kind=kind, generation=kind,
        chips=gpus or hosts, replicas=gpus or hosts, hosts=hosts, topology=None, memory_gib=0.0,
        teraflops=0.0, gke_accelerator=None, machine_type="", vertex=None)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select where trials run."""
    parser.add_argument(
        "--executor", choices=[LOCAL, SLURM, *CLOUDS], default=LOCAL, metavar="EXECUTOR",
        help="local (this machine), slurm (a Slurm cluster), vertex (Vertex AI) or gke (a GKE "
        "cluster) (default: %(default)s)")
    parser.add_argument(
        "--device", metavar="DEVICE",
        help="device of each trial in a cloud, such as v5e-16, a100-8 or cpu-8")
    parser.add_argument(
        "--spot", action="store_true",
        help="use spot machines, which cost less and may be preempted; trials resume")


def read_device_request(args: argparse.Namespace) -> DeviceRequest | None:
    """Return the device request of a command line for a cloud; None for machines of one's own.

    Args:
        args: The options of `add_device_options`.

    Raises:
        UserError: If there is no such device, or the options contradict each other.
    """
    if args.executor not in CLOUDS:
        given = [f"--device {args.device}"] if args.device else []
        given += ["--spot"] if args.spot else []
        if given:
            have, they_apply = (
                ("has", "it applies") if len(given) == 1 else ("have", "they apply"))
            raise UserError(
                f"{' and '.join(given)} {have} no effect with --executor {args.executor}; "
                f"{they_apply} only to vertex and gke.")
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
            request.device, request.executor, request.spot)] if request.is_cloud else []
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
    if not request.is_cloud:
        return
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

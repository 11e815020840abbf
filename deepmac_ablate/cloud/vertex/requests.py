"""Requests of Vertex AI's REST API: a job as a `CustomJob` in JSON."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from deepmac_ablate.cloud import secrets
from deepmac_ablate.cloud.devices import VertexMachine
from deepmac_ablate.cloud.provider import JobRequest, check_one_capacity
from deepmac_ablate.errors import UserError

# Label by which a job is found again after its launcher was killed.
LABEL = "deepmac-ablate-job"

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MAX_LABELS = 64
_MAX_VARIABLES = 100
_RESERVATION = re.compile(r"projects/[^/]+/zones/[^/]+/reservations/[^/]+")
# Vertex AI's page on flex start allows seven days.
_MAX_FLEX_HOURS = 168.0


class Capacity(NamedTuple):
    """Capacity that jobs use.

    Attributes:
        reservation: Reservation of Compute Engine whose machines jobs use, which must be of the
            same type and permit Vertex AI: "projects/P/zones/Z/reservations/NAME"; None for none.
        flex_start: Whether jobs wait, without a limit, until Dynamic Workload Scheduler has all of
            their machines, and then keep them for at most seven days.
    """

    reservation: str | None = None
    flex_start: bool = False


def custom_job(request: JobRequest, project: str, capacity: Capacity) -> dict[str, Any]:
    """Return the `CustomJob` of a request.

    Retries by Vertex AI are disabled, as it would repeat a user's mistake; the launcher submits a
    job again if that can help. `grace` has no counterpart in Vertex AI.

    Args:
        request: Request for the job.
        project: Project of secrets that are given by their bare name.
        capacity: Capacity that the job uses.

    Returns:
        JSON in protobuf's canonical form: 64-bit numbers are strings, enumerations are names.

    Raises:
        UserError: If Vertex AI does not support such a job.
    """
    machine = _machine(request)
    _check_limits(request)
    _check_capacity(request, capacity)
    args = [*request.args]
    for variable, reference in request.secrets.items():
        args += ["--secret", f"{variable}={secrets.full_reference(reference, project)}"]
    container: dict[str, Any] = {"imageUri": request.image, "args": args}
    if env := {**request.device.variables, **request.env}:
        container["env"] = [{"name": name, "value": value} for name, value in env.items()]
    spec: dict[str, Any] = {
        "workerPoolSpecs": [
            {"machineSpec": _machine_spec(machine, capacity), "replicaCount": str(replicas),
             "containerSpec": container}
            for replicas in _pools(machine)],
        "scheduling": {
            "timeout": f"{round(request.hours * 3600)}s",
            "strategy": "SPOT" if request.spot else "STANDARD",
            "disableRetries": True,
        },
    }
    if capacity.flex_start:
        # Zero seconds stand for no limit; the default is a day.
        spec["scheduling"] |= {"strategy": "FLEX_START", "maxWaitDuration": "0s"}
    if request.service_account:
        spec["serviceAccount"] = request.service_account
    return {"displayName": request.name, "jobSpec": spec,
            "labels": {**request.labels, LABEL: request.name}}


def _pools(machine: VertexMachine) -> list[int]:
    """Return the number of replicas of each pool: one chief in the first, then the workers."""
    return [1] if machine.replicas == 1 else [1, machine.replicas - 1]


def _machine(request: JobRequest) -> VertexMachine:
    """Return the machine of a request, unless Vertex AI does not support the combination."""
    device = request.device
    machine = device.vertex
    if machine is None:
        raise UserError(f"Vertex AI does not train on {device.name}; use --executor gke or "
                        "another --device.")
    if device.kind != "tpu":
        return machine
    if machine.replicas > 1:
        raise UserError(f"Vertex AI supports one TPU host per job, but {device.name} has "
                        f"{machine.replicas}; use --executor gke.")
    if request.spot:
        raise UserError(f"Vertex AI has no spot machines with TPUs ({device.name}); drop "
                        "--spot, or use --executor gke.")
    if request.service_account and machine.machine_type == "cloud-tpu":
        raise UserError(
            f"Vertex AI does not start {device.name} under a service account "
            f"({request.service_account}); drop --service-account, so that Vertex AI's custom code "
            "service agent reads and writes the workdir, or use v5e.")
    return machine


def _machine_spec(machine: VertexMachine, capacity: Capacity) -> dict[str, Any]:
    affinity = capacity.reservation and {
        "reservationAffinityType": "SPECIFIC_RESERVATION",
        "key": "compute.googleapis.com/reservation-name", "values": [capacity.reservation]}
    fields = {
        "machineType": machine.machine_type, "acceleratorType": machine.accelerator_type,
        "acceleratorCount": machine.accelerator_count, "tpuTopology": machine.tpu_topology,
        "reservationAffinity": affinity}
    return {name: value for name, value in fields.items() if value is not None}


def _check_capacity(request: JobRequest, capacity: Capacity) -> None:
    """Check that the machines come from one place, which has them."""
    check_one_capacity("Vertex AI", request.spot, capacity.reservation, capacity.flex_start)
    name = capacity.reservation
    if name is not None and not _RESERVATION.fullmatch(name):
        raise UserError(
            "--reservation must be projects/PROJECT/zones/ZONE/reservations/NAME with --executor "
            f"vertex, got {name!r}.")
    if not capacity.flex_start:
        return
    if not request.device.vertex_flex_start:
        raise UserError(
            "Vertex AI has flex start for L4, A100, H100 and H200 only, not for "
            f"{request.device.name}; drop --flex-start, or use another --device.")
    if request.hours > _MAX_FLEX_HOURS:
        raise UserError(
            f"--hours must be at most {_MAX_FLEX_HOURS:g} with --flex-start, got "
            f"{request.hours:g}.")


def _check_limits(request: JobRequest) -> None:
    """Check the limits of Vertex AI, and that no secret is in clear text."""
    secrets.check_no_secrets(request.env)
    if len(request.env) > _MAX_VARIABLES:
        raise UserError(f"The job {request.name} has {len(request.env)} variables (--env); Vertex "
                        f"AI supports at most {_MAX_VARIABLES}.")
    if len(request.labels) >= _MAX_LABELS:
        raise UserError(f"The job {request.name} has {len(request.labels)} labels; Vertex AI "
                        f"supports at most {_MAX_LABELS - 1} in addition to its name.")
    for key, value in request.labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise UserError(
                f"The label {key}={value} is not valid: keys and values must be at most 63 of a-z, "
                "0-9, \"_\" and \"-\", and keys must begin with a letter.")
    if request.hours * 3600 < 1:
        raise UserError("--hours must be at least 0.0003, which is one second, got "
                        f"{request.hours:g} for the job {request.name}.")

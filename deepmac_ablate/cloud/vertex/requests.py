"""Jobs as Vertex AI's REST API has them: a `CustomJob` in JSON."""

from __future__ import annotations

import re
from typing import Any

from deepmac_ablate.cloud import secrets
from deepmac_ablate.cloud.devices import VertexMachine
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.errors import UserError

# By it a job is found again whose name a killed launcher could not note.
LABEL = "deepmac-ablate-job"

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MOST_LABELS = 64
_MOST_VARIABLES = 100


def custom_job(request: JobRequest, project: str) -> dict[str, Any]:
    """Return a job as Vertex AI is asked for it.

    Vertex AI does not retry: a job that ended is started again by whoever launched it, who knows
    whether going on makes sense, while Vertex AI would repeat a user's mistake. `grace` has no
    counterpart there.

    Args:
        request: What is asked for.
        project: Whose secrets are meant where only their name is given.

    Returns:
        JSON in protobuf's canonical form: numbers of 64 bits are strings, enumerations names.

    Raises:
        UserError: If Vertex AI has no such job.
    """
    machine = _machine(request)
    _check(request)
    args = [*request.args]
    for variable, reference in request.secrets.items():
        args += ["--secret", f"{variable}={secrets.version(reference, project)}"]
    container: dict[str, Any] = {"imageUri": request.image, "args": args}
    if env := {**request.device.variables, **request.env}:
        container["env"] = [{"name": name, "value": value} for name, value in env.items()]
    spec: dict[str, Any] = {
        "workerPoolSpecs": [
            {"machineSpec": _machine_spec(machine), "replicaCount": str(replicas),
             "containerSpec": container}
            for replicas in _pools(machine)],
        "scheduling": {
            "timeout": f"{round(request.hours * 3600)}s",
            "strategy": "SPOT" if request.spot else "STANDARD",
            "disableRetries": True,
        },
    }
    if request.service_account:
        spec["serviceAccount"] = request.service_account
    return {"displayName": request.name, "jobSpec": spec,
            "labels": {**request.labels, LABEL: request.name}}


def _pools(machine: VertexMachine) -> list[int]:
    """Replicas of each pool. The first is the chief, of which there is one; then the workers."""
    return [1] if machine.replicas == 1 else [1, machine.replicas - 1]


def _machine(request: JobRequest) -> VertexMachine:
    """The machine; refuses what Vertex AI does not do with it."""
    device = request.device
    machine = device.vertex
    if machine is None:
        raise UserError(f"Vertex AI does not train on {device.name}; take --executor gke, or "
                        "another --device.")
    if device.kind != "tpu":
        return machine
    if machine.replicas > 1:
        raise UserError(f"Vertex AI gives a job one TPU host, and {device.name} has "
                        f"{machine.replicas}; take --executor gke.")
    if request.spot:
        raise UserError(f"Vertex AI offers no spot machines with TPUs ({device.name}); drop "
                        "--spot, or take --executor gke.")
    if request.service_account and machine.machine_type == "cloud-tpu":
        raise UserError(
            f"Vertex AI does not start {device.name} under a service account "
            f"({request.service_account}); drop --service_account, which leaves its custom code "
            "service agent to read and write the workdir, or take v5e.")
    return machine


def _machine_spec(machine: VertexMachine) -> dict[str, Any]:
    fields = {
        "machineType": machine.machine_type, "acceleratorType": machine.accelerator_type,
        "acceleratorCount": machine.accelerator_count, "tpuTopology": machine.tpu_topology}
    return {name: value for name, value in fields.items() if value is not None}


def _check(request: JobRequest) -> None:
    """Refuse what Vertex AI would refuse, and secrets in clear text."""
    secrets.check_plain(request.env)
    if len(request.env) > _MOST_VARIABLES:
        raise UserError(f"The job {request.name} has {len(request.env)} variables (--env); Vertex "
                        f"AI takes at most {_MOST_VARIABLES}.")
    if len(request.labels) >= _MOST_LABELS:
        raise UserError(f"The job {request.name} has {len(request.labels)} labels; Vertex AI takes "
                        f"at most {_MOST_LABELS - 1} beside its name.")
    for key, value in request.labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise UserError(
                f"The label {key}={value} is none: keys and values are at most 63 of a-z, 0-9, "
                "\"_\" and \"-\", and keys begin with a letter.")
    if request.hours * 3600 < 1:
        raise UserError(f"--hours {request.hours:g} leaves the job {request.name} no time; it must "
                        "be more than 0.")

"""The pod that a job's container runs in."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from deepmac_ablate import errors
from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.errors import UserError

# For what a worker still writes when its trainer has ended.
_FAREWELL = 15
_RESOURCES = {"tpu": "google.com/tpu", "gpu": "nvidia.com/gpu"}
# Every machine with accelerators has more for each chip. They are not shared, and there are no
# limits, so that a pod gets what its machine has; the requests keep it off smaller ones.
_CPUS_PER_CHIP = 2
_GIB_PER_CHIP = 8
# Of a machine's, what the system leaves of small ones: it takes a quarter of the first 4 GiB.
_CPU_SHARE = 3 / 4
_MEMORY_SHARE = 2 / 3
_COORDINATOR = {"cpu": "4", "memory": "16Gi"}
_SECRET = re.compile(r"(?P<name>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)/(?P<key>[-._a-zA-Z0-9]+)")


def on_device(request: JobRequest, placement: Placement, args: Sequence[str],
              container: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template of a pod on one of the device's machines.

    Args:
        request: The job.
        placement: How it gets machines.
        args: The command, in place of the request's.
        container: Further fields of the container.

    Raises:
        UserError: If a reference to a secret is none of Kubernetes'.
    """
    device = request.device
    request = dataclasses.replace(request, env={**device.variables, **request.env})
    template = _template(request, placement, args, _resources(device), container)
    spec = template["spec"]
    if selector := _selector(request, placement):
        spec["nodeSelector"] = selector
    if tolerations := _tolerations(request):
        spec["tolerations"] = tolerations
    if device.kind == "gpu":
        # Containers have 64 MB of it; NCCL wants more wherever GPUs cannot reach each other.
        spec["volumes"] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
        spec["containers"][0]["volumeMounts"] = [{"name": "shm", "mountPath": "/dev/shm"}]
    return template


def of_coordinator(request: JobRequest, placement: Placement,
                   args: Sequence[str]) -> dict[str, Any]:
    """Return the template of a pod that needs no accelerator of its own.

    It is never on a spot machine: that would save cents, and losing it stops the whole slice.

    Raises:
        UserError: If a reference to a secret is none of Kubernetes'.
    """
    return _template(request, placement, args, {"requests": dict(_COORDINATOR)}, {})


def labels(request: JobRequest) -> dict[str, str]:
    """Return the labels of everything that belongs to a job.

    Kubernetes wants values to begin and end with a letter or a digit.
    """
    theirs = {key: value.strip("-_") for key, value in request.labels.items()}
    return {"app.kubernetes.io/managed-by": "deepmac-ablate", **theirs}


def _template(request: JobRequest, placement: Placement, args: Sequence[str],
              resources: dict[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(request.grace) + _FAREWELL,
        "containers": [{
            "name": "worker", "image": request.image, "args": [_literal(arg) for arg in args],
            "env": _env(request), "resources": resources, **container}],
    }
    if request.service_account is not None:
        spec["serviceAccountName"] = request.service_account
    if placement.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in placement.pull_secrets]
    return {"metadata": {"labels": labels(request)}, "spec": spec}


def _literal(text: str) -> str:
    """Protect a text from Kubernetes, which replaces $(NAME) in arguments and variables."""
    return text.replace("$", "$$")


def _env(request: JobRequest) -> list[dict[str, Any]]:
    plain = [{"name": name, "value": _literal(value)} for name, value in request.env.items()]
    return plain + [_secret(name, reference) for name, reference in request.secrets.items()]


def _secret(name: str, reference: str) -> dict[str, Any]:
    match = _SECRET.fullmatch(reference)
    if not match:
        raise UserError(
            # Not shown: somebody may have written the secret itself.
            f"What is given for the variable {name} is no reference to a secret of Kubernetes'; it "
            f"must be SECRET/KEY, of a Secret in the jobs' namespace.")
    return {"name": name, "valueFrom": {"secretKeyRef": match.groupdict()}}


def _resources(device: Device) -> dict[str, Any]:
    """What a pod asks for of one machine."""
    if device.kind == "cpu":
        count = int(device.name.partition("-")[2])
        return {"requests": {"cpu": f"{count * _CPU_SHARE * 1000:.0f}m",
                             "memory": f"{device.memory_gib * _MEMORY_SHARE * 1024:.0f}Mi"}}
    chips = device.chips_per_host
    # Equal in both, as Kubernetes wants it of everything that it does not know itself.
    accelerators = {_RESOURCES[device.kind]: str(chips)}
    return {"requests": {"cpu": str(chips * _CPUS_PER_CHIP), "memory": f"{chips * _GIB_PER_CHIP}Gi",
                         **accelerators},
            "limits": accelerators}


def _selector(request: JobRequest, placement: Placement) -> dict[str, str]:
    """The labels of the machines that will do."""
    device, found = request.device, {}
    if device.kind == "tpu":
        found["cloud.google.com/gke-tpu-accelerator"] = device.gke_accelerator
        found["cloud.google.com/gke-tpu-topology"] = device.topology
    elif device.kind == "gpu":
        found["cloud.google.com/gke-accelerator"] = device.gke_accelerator
    if request.spot:
        found["cloud.google.com/gke-spot"] = "true"
    if placement.flex_start:
        found["cloud.google.com/gke-flex-start"] = "true"
    if placement.reservation is not None:
        found["cloud.google.com/reservation-affinity"] = "specific"
        found["cloud.google.com/reservation-name"] = placement.reservation
    return found


def _tolerations(request: JobRequest) -> list[dict[str, str]]:
    """The taints of such machines that keep others away."""
    found = []
    if resource := _RESOURCES.get(request.device.kind):
        found.append({"key": resource, "operator": "Exists", "effect": "NoSchedule"})
    if request.spot:
        found.append({"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true",
                      "effect": "NoSchedule"})
    return found


@dataclasses.dataclass(frozen=True)
class Placement:
    """What is the same for all jobs of a launch.

    Attributes:
        namespace: of the jobs, their secrets and their service account.
        reservation: name of the reservation of accelerators that is used up; None for none.
        flex_start: whether machines are asked for by Dynamic Workload Scheduler, which gives them
            when there are some, for at most seven days.
        queue: name of Kueue's LocalQueue that decides when a job starts; None where there is none.
        pull_secrets: names of the secrets with which images are pulled from other registries.
    """

    namespace: str = "default"
    reservation: str | None = None
    flex_start: bool = False
    queue: str | None = None
    pull_secrets: tuple[str, ...] = ()


# Pods follow each other after 10 s, 20 s, 40 s and so on: about ten minutes in all, in which the
# lock of a worker that vanished with its machine expires.
_TRIES_FOR_THE_LOCK = 6
# About five minutes in all, in which a machine that is gone is noticed.
_TRIES_AFTER_A_PEER = 5


def of_single_host() -> dict[str, Any]:
    """Return the part of a Job's spec for a job of one pod.

    The first rule that matches decides. Mistakes come first: they are mistakes on a machine that is
    being taken away too. Disruptions come before the other exit codes, because a process that is
    killed on the way out may leave with any code. What no rule matches, `TAKEN` alone, counts
    towards `backoffLimit`.
    """
    return {
        "backoffLimit": _TRIES_FOR_THE_LOCK,
        "podFailurePolicy": {"rules": [
            _on_mistakes("FailJob"),
            _on_disruption("Ignore"),
            _on_interruption("Ignore"),
            {"action": "FailJob", "onExitCodes": {
                "operator": "NotIn", "values": [errors.TAKEN, errors.INTERRUPTED]}},
        ]},
    }


def of_peers() -> dict[str, Any]:
    """Return the part of the spec of a JobSet's Job, whose pods cannot do without each other.

    A lost pod fails its Job, and the JobSet then starts everything again, see `of_jobset`. JobSet
    is told the reason of a Job's failure, but not the rule. `FailJob` gives the reason
    "PodFailurePolicy", so that it is kept for lost machines; mistakes fail their index instead, of
    which none may fail, and that gives "MaxFailedIndexesExceeded".

    Any other exit code is started again within the Job, a few times: where one machine is gone the
    others' trainers fail for want of it, often before the cluster has noticed what was the cause.
    """
    return {
        "backoffLimitPerIndex": _TRIES_AFTER_A_PEER,
        "maxFailedIndexes": 0,
        "podFailurePolicy": {"rules": [
            _on_mistakes("FailIndex"),
            _on_disruption("FailJob"),
            _on_interruption("FailJob"),
        ]},
    }


def of_jobset() -> dict[str, Any]:
    """Return the `failurePolicy` of a JobSet of such Jobs.

    If several Jobs have failed, the first rule that matches any of them decides: a lost machine
    explains what else went wrong.
    """
    return {
        "maxRestarts": 0,
        "rules": [
            {"name": "machineLost", "action": "RestartJobSetAndIgnoreMaxRestarts",
             "onJobFailureReasons": ["PodFailurePolicy"]},
            {"name": "anythingElse", "action": "FailJobSet"},
        ],
    }


def _on_mistakes(action: str) -> dict[str, Any]:
    """What another attempt would only repeat."""
    return {"action": action, "onExitCodes": {
        "operator": "In", "values": [errors.USER_ERROR, errors.DIVERGED]}}


def _on_disruption(action: str) -> dict[str, Any]:
    """The kubelet, the scheduler and the autoscaler say so of what they end, for any reason."""
    return {"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _on_interruption(action: str) -> dict[str, Any]:
    """A worker that was asked to end, by whomever, and left a checkpoint."""
    return {"action": action, "onExitCodes": {
        "operator": "In", "values": [errors.INTERRUPTED]}}

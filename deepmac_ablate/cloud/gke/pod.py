"""Pod templates of jobs on GKE, and the retry policies for their exit codes."""

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

_RESOURCES = {"tpu": "google.com/tpu", "gpu": "nvidia.com/gpu"}
# Every TPU host has more per chip. A pod asks for all chips of a host, so that it has the host to
# itself.
_CPUS_PER_TPU_CHIP = 2
_GIB_PER_TPU_CHIP = 8
# Other pods ask for these shares of the device's machine type, which the system leaves of a small
# one: it takes a quarter of the first 4 GiB. Several pods can share a larger machine with the same
# GPUs, but not so many that one gets less than the machine that it is planned for.
_CPU_SHARE = 3 / 4
_MEMORY_SHARE = 2 / 3
# Seconds that GKE gives the containers of a spot pod by default, half of what a spot machine has
# (GKE's page on Spot VMs). Autopilot gives at most 25; node pools from GKE 1.35 on can be set to
# more.
SPOT_GRACE = 15.0
_COORDINATOR = {"cpu": "4", "memory": "16Gi"}
_SECRET = re.compile(r"(?P<name>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)/(?P<key>[-._a-zA-Z0-9]+)")

# Pods are restarted after 10 s, 20 s, 40 s and so on: about ten minutes in total, in which the lock
# of a worker that vanished with its machine expires.
_TRIES_FOR_THE_LOCK = 6
# About five minutes in total, in which the cluster notices a lost machine.
_TRIES_AFTER_A_PEER = 5


@dataclasses.dataclass(frozen=True)
class Placement:
    """Placement in a cluster, common to all jobs of a launch.

    Attributes:
        namespace: Namespace of the jobs, their secrets and their service account.
        reservation: Name of a reservation of accelerators to use; None for none.
        flex_start: Whether Dynamic Workload Scheduler provides the machines, as soon as some are
            free and for at most seven days.
        queue: Name of Kueue's LocalQueue that decides when a job starts; None for none.
        pull_secrets: Names of the secrets for pulling images from other registries.
        privileged: Whether containers with TPUs run privileged. libtpu needs a higher limit of
            locked memory than containers have, and xpk runs them so; on nodes from 1.28 on GKE does
            not require it, and Autopilot refuses it.
    """

    namespace: str = "default"
    reservation: str | None = None
    flex_start: bool = False
    queue: str | None = None
    pull_secrets: tuple[str, ...] = ()
    privileged: bool = True


def device_pod_template(request: JobRequest, placement: Placement, args: Sequence[str],
                        container: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template of a pod on one of the device's machines.

    Args:
        request: Request for the job.
        placement: Placement of the job in the cluster.
        args: Arguments in place of those of the request.
        container: Further fields of the container.

    Raises:
        UserError: If a reference to a secret is not of the form SECRET/KEY.
    """
    device = request.device
    request = dataclasses.replace(request, env={**device.variables, **request.env})
    if device.kind == "tpu" and placement.privileged:
        container = {**container, "securityContext": {"privileged": True}}
    template = _template(request, placement, args, _resources(device), container)
    spec = template["spec"]
    if selector := _selector(request, placement):
        spec["nodeSelector"] = selector
    if tolerations := _tolerations(request):
        spec["tolerations"] = tolerations
    if device.kind == "gpu":
        # Containers have 64 MB of it; NCCL needs more if GPUs have no direct connection.
        spec["volumes"] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
        spec["containers"][0]["volumeMounts"] = [{"name": "shm", "mountPath": "/dev/shm"}]
    return template


def coordinator_pod_template(request: JobRequest, placement: Placement,
                             args: Sequence[str]) -> dict[str, Any]:
    """Return the template of the coordinator of a TPU slice, which has no accelerator itself.

    It never runs on a spot machine: that would save cents, and its loss would stop the whole slice.

    Raises:
        UserError: If a reference to a secret is not of the form SECRET/KEY.
    """
    variables = {**request.device.coordinator_variables, **request.env}
    request = dataclasses.replace(request, env=variables)
    return _template(request, placement, args, {"requests": dict(_COORDINATOR)}, {})


def labels(request: JobRequest) -> dict[str, str]:
    """Return the labels of all objects of a job.

    Kubernetes requires values to begin and end with a letter or a digit.
    """
    valid = {key: value.strip("-_") for key, value in request.labels.items()}
    return {"app.kubernetes.io/managed-by": "deepmac-ablate", **valid}


def _template(request: JobRequest, placement: Placement, args: Sequence[str],
              resources: dict[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(request.grace),
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
    """Escape a text for Kubernetes, which replaces $(NAME) in arguments and variables."""
    return text.replace("$", "$$")


def _env(request: JobRequest) -> list[dict[str, Any]]:
    plain = [{"name": name, "value": _literal(value)} for name, value in request.env.items()]
    return plain + [_secret(name, reference) for name, reference in request.secrets.items()]


def _secret(name: str, reference: str) -> dict[str, Any]:
    match = _SECRET.fullmatch(reference)
    if not match:
        raise UserError(
            # The message must not show the value, which may be the secret itself by mistake.
            f"--secret {name} must be SECRET/KEY, with a Kubernetes Secret in the jobs' namespace; "
            "the value given is not.")
    return {"name": name, "valueFrom": {"secretKeyRef": match.groupdict()}}


def _resources(device: Device) -> dict[str, Any]:
    """Return the resource requests and limits of a pod for one machine."""
    chips = device.chips_per_host
    if device.kind == "tpu":
        requests = {
            "cpu": str(chips * _CPUS_PER_TPU_CHIP), "memory": f"{chips * _GIB_PER_TPU_CHIP}Gi"}
    else:
        requests = {
            "cpu": f"{device.host_cpus * _CPU_SHARE * 1000:.0f}m",
            "memory": f"{device.host_memory_gib * _MEMORY_SHARE * 1024:.0f}Mi"}
    if device.kind == "cpu":
        return {"requests": requests}
    # Kubernetes requires equal requests and limits for extended resources.
    accelerators = {_RESOURCES[device.kind]: str(chips)}
    return {"requests": {**requests, **accelerators}, "limits": accelerators}


def _selector(request: JobRequest, placement: Placement) -> dict[str, str]:
    """Return the labels that select suitable machines."""
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
    """Return the tolerations for the taints of such machines."""
    found = []
    if resource := _RESOURCES.get(request.device.kind):
        found.append({"key": resource, "operator": "Exists", "effect": "NoSchedule"})
    if request.spot:
        found.append({"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true",
                      "effect": "NoSchedule"})
    return found


def single_host_retry_policy() -> dict[str, Any]:
    """Return the retry fields of a Job with one pod.

    The first matching rule decides. User errors come first, as a retry would repeat them even if
    the machine is being preempted. Disruptions come before the other exit codes, as a process that
    is killed by one may exit with any code. Only `TAKEN` matches no rule, and counts towards
    `backoffLimit`.
    """
    return {
        "backoffLimit": _TRIES_FOR_THE_LOCK,
        "podFailurePolicy": {"rules": [
            _on_user_error("FailJob"),
            _on_disruption("Ignore"),
            _on_interruption("Ignore"),
            {"action": "FailJob", "onExitCodes": {
                "operator": "NotIn", "values": [errors.TAKEN, errors.INTERRUPTED]}},
        ]},
    }


def peers_retry_policy() -> dict[str, Any]:
    """Return the retry fields of a JobSet's Job, whose pods depend on each other.

    A lost pod fails its Job, and the JobSet then restarts all Jobs, see `jobset_retry_policy`. A
    JobSet sees the reason of a Job's failure, but not the rule. `FailJob` gives the reason
    "PodFailurePolicy" and is used for lost machines only; user errors fail their index instead, and
    as no index may fail, the reason is "MaxFailedIndexesExceeded".

    After any other exit code the pod is restarted within the Job, a few times: if one machine is
    lost, the trainers on the others fail too, often before the cluster has noticed the cause.
    """
    return {
        "backoffLimitPerIndex": _TRIES_AFTER_A_PEER,
        "maxFailedIndexes": 0,
        "podFailurePolicy": {"rules": [
            _on_user_error("FailIndex"),
            _on_disruption("FailJob"),
            _on_interruption("FailJob"),
        ]},
    }


def jobset_retry_policy() -> dict[str, Any]:
    """Return the `failurePolicy` of a JobSet of such Jobs.

    If several Jobs have failed, the first rule that matches any of them decides: a lost machine
    explains the other failures.
    """
    return {
        "maxRestarts": 0,
        "rules": [
            {"name": "machineLost", "action": "RestartJobSetAndIgnoreMaxRestarts",
             "onJobFailureReasons": ["PodFailurePolicy"]},
            {"name": "anythingElse", "action": "FailJobSet"},
        ],
    }


def _on_user_error(action: str) -> dict[str, Any]:
    """Return the rule for failures that a retry would only repeat."""
    return {"action": action, "onExitCodes": {
        "operator": "In", "values": [errors.USER_ERROR, errors.DIVERGED]}}


def _on_disruption(action: str) -> dict[str, Any]:
    """Return the rule for pods that the kubelet, the scheduler or the autoscaler ended."""
    return {"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _on_interruption(action: str) -> dict[str, Any]:
    """Return the rule for workers that were asked to stop and left a checkpoint."""
    return {"action": action, "onExitCodes": {
        "operator": "In", "values": [errors.INTERRUPTED]}}

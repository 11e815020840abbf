"""Manifests of jobs for a cluster, as plain data without a client."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from deepmac_ablate.cloud.gke import pod
from deepmac_ablate.cloud.gke.pod import Placement
from deepmac_ablate.cloud.provider import JobRequest, check_one_capacity
from deepmac_ablate.errors import UserError

INSTALL = ("kubectl apply --server-side -f "
           "https://github.com/kubernetes-sigs/jobset/releases/download/v0.12.0/manifests.yaml")

# Names of a JobSet's pods add 22 characters, "-coordinator-0-0-abcde", and may have 63.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")

# Time after which the cluster deletes a job that has ended. Until then a launcher can read how it
# ended; it occupies no machine.
_KEPT_SECONDS = 30 * 24 * 3600

# Ports of TPU hosts: TensorFlow's server, as its resolver assumes, libtpu, and the host that leads
# the mesh. Port of TensorFlow's server on other hosts.
_TPU_PORTS = {"tensorflow": 8470, "libtpu": 8471, "mesh": 8476}
_PEER_PORT = 2222
# Label of a node pool, which has the machines of one slice and no others.
_ONE_POOL = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}


def render(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return a job's manifest: a Job for one machine, a JobSet for several.

    Args:
        request: Request for the job; its secrets are "SECRET/KEY".
        placement: Placement of the job in the cluster.

    Raises:
        UserError: If GKE does not support such a job.
    """
    _check_request(request, placement)
    if request.device.hosts == 1:
        return _single_host_job(request, placement)
    if request.device.kind == "tpu":
        return _tpu_slice_jobset(request, placement)
    return _peers_jobset(request, placement)


def _check_request(request: JobRequest, placement: Placement) -> None:
    device = request.device
    if not _NAME.fullmatch(request.name):
        raise UserError(
            "The name of a job on GKE must be at most 40 of a-z, 0-9 and '-', a letter first and "
            f"no '-' last; got {request.name!r}.")
    if device.kind != "cpu" and device.gke_accelerator is None:
        raise UserError(f"GKE has no machines with {device.name}; use another --device, or "
                        "--executor vertex.")
    check_one_capacity("GKE", request.spot, placement.reservation, placement.flex_start)
    if placement.flex_start and device.kind == "cpu":
        raise UserError(
            f"Flex start is for accelerators, but {device.name} has none; drop --flex-start.")


def _single_host_job(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the manifest of a job on one machine."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(request, placement),
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": _deadline(request),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            **pod.single_host_retry_policy(),
            "template": pod.device_pod_template(request, placement, request.args, {}),
        },
    }


def _metadata(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the metadata of a Job or a JobSet, from which Kueue reads the queue."""
    labels = pod.labels(request)
    if placement.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = placement.queue
    return {"name": request.name, "namespace": placement.namespace, "labels": labels}


def _deadline(request: JobRequest) -> int:
    """Return the time limit of a job in seconds, including the wait for machines."""
    return math.ceil(request.hours * 3600)


def _tpu_slice_jobset(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the manifest of a job on a slice with several hosts.

    Every host runs a server for its chips, which never ends by itself. The coordinator, which needs
    no chips, runs the job's command; it starts once all servers answer, so that no timeout runs
    while the slice is provisioned. The job has succeeded when the coordinator has. A host that is
    asked to end writes the end notice, and serves until the coordinator has saved.
    """
    names, port = _host_names(request, "host"), _TPU_PORTS["tensorflow"]
    notice = [] if request.end_notice is None else ["--end-notice", request.end_notice]
    server = pod.device_pod_template(
        request, placement,
        ["tpu-server", "--hosts", ",".join(names), "--grace", f"{request.grace:g}", *notice],
        {"ports": [{"name": name, "containerPort": number}
                   for name, number in _TPU_PORTS.items()],
         "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 5}})
    # Servers need no secrets.
    container = server["spec"]["containers"][0]
    container["env"] = [variable for variable in container["env"] if "value" in variable]
    hosts = _replicated_job("host", request.device.hosts, server)
    # Not on the JobSet: the coordinator does not need a node pool to itself.
    hosts["template"]["metadata"] = {"annotations": dict(_ONE_POOL)}
    addresses = ",".join(f"grpc://{name}:{port}" for name in names)
    args = [*request.args, "--runtime", f"Runtime.tpu = '{addresses}'", *notice]
    coordinator = _replicated_job(
        "coordinator", 1, pod.coordinator_pod_template(request, placement, args),
        _deadline(request))
    coordinator["dependsOn"] = [{"name": "host", "status": "Ready"}]
    success = {"operator": "All", "targetReplicatedJobs": ["coordinator"]}
    return _jobset(request, placement, [hosts, coordinator], success)


def _peers_jobset(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the manifest of a job that runs the same command on several machines."""
    args = [*request.args, "--hosts", ",".join(_host_names(request, "worker"))]
    ports = [{"name": "tensorflow", "containerPort": _PEER_PORT}]
    template = pod.device_pod_template(request, placement, args, {"ports": ports})
    workers = _replicated_job("worker", request.device.hosts, template, _deadline(request))
    return _jobset(request, placement, [workers], {"operator": "All"})


def _host_names(request: JobRequest, role: str) -> list[str]:
    """Return the host names of the pods of a JobSet's only Job of a role."""
    return [f"{request.name}-{role}-0-{index}.{request.name}"
            for index in range(request.device.hosts)]


def _replicated_job(role: str, pods: int, template: dict[str, Any],
                    deadline: int | None = None) -> dict[str, Any]:
    """Return one Job of a JobSet; its deadline starts anew whenever the JobSet restarts."""
    spec = {"completionMode": "Indexed", "completions": pods, "parallelism": pods,
            **pod.peers_retry_policy(), "template": template}
    if deadline is not None:
        spec["activeDeadlineSeconds"] = deadline
    return {"name": role, "replicas": 1, "template": {"spec": spec}}


def _jobset(request: JobRequest, placement: Placement, jobs: Sequence[dict[str, Any]],
            success: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(request, placement),
        "spec": {
            # Gives the pods their host names.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "successPolicy": success,
            "failurePolicy": pod.jobset_retry_policy(),
            "replicatedJobs": list(jobs),
        },
    }

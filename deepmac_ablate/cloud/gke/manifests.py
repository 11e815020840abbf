"""From what a job shall be to the manifest that a cluster is sent; plain data, without a client."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from deepmac_ablate.cloud.gke import pod
from deepmac_ablate.cloud.gke import pod as policies
from deepmac_ablate.cloud.gke.pod import Placement
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.errors import UserError

# A JobSet's pods add up to 22 characters, "-coordinator-0-0-abcde", of 63 in all.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


def render(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return a job's manifest: a Job for one machine, a JobSet for several.

    Args:
        request: The job. Its secrets are "SECRET/KEY".
        placement: How it gets into the cluster.

    Raises:
        UserError: If GKE has no such job.
    """
    _check(request, placement)
    if request.device.hosts == 1:
        return of_single_host(request, placement)
    if request.device.kind == "tpu":
        return of_tpu_slice(request, placement)
    return of_peers(request, placement)


def _check(request: JobRequest, placement: Placement) -> None:
    device = request.device
    if not _NAME.fullmatch(request.name):
        raise UserError(
            f"{request.name!r} is no name for a job on GKE; it must be at most 40 of a-z, 0-9 and "
            f"'-', a letter first and no '-' last.")
    if device.kind != "cpu" and device.gke_accelerator is None:
        raise UserError(f"GKE has no machines with {device.name}; choose another device or Vertex.")
    ways = {"spot machines": request.spot, "a reservation": placement.reservation is not None,
            "flex start": placement.flex_start}
    if len(chosen := [name for name, is_chosen in ways.items() if is_chosen]) > 1:
        raise UserError(f"GKE gives machines in one way: choose one of {' and '.join(chosen)}.")
    if placement.flex_start and device.kind == "cpu":
        raise UserError(f"Flex start gives accelerators, and {device.name} has none; leave it out.")


# Whoever launched looks again within a month, and finds how it ended; one that has ended holds no
# machine. After that the cluster cleans up.
KEPT_SECONDS = 30 * 24 * 3600


def of_single_host(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the manifest of a job on one machine.

    Raises:
        UserError: If a reference to a secret is none of Kubernetes'.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(request, placement),
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": deadline(request),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            **policies.of_single_host(),
            "template": pod.on_device(request, placement, request.args, {}),
        },
    }


def metadata(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the metadata of a Job or a JobSet; Kueue finds its queue there."""
    labels = pod.labels(request)
    if placement.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = placement.queue
    return {"name": request.name, "namespace": placement.namespace, "labels": labels}


def deadline(request: JobRequest) -> int:
    """Return after how many seconds a job is ended, waiting for machines included."""
    return math.ceil(request.hours * 3600)


INSTALL = ("kubectl apply --server-side -f "
           "https://github.com/kubernetes-sigs/jobset/releases/download/v0.12.0/manifests.yaml")

# Of TensorFlow's servers: on TPU hosts as its resolver assumes it, and on others.
_TPU_PORT = 8470
_PEER_PORT = 2222
# The label of a node pool, which has the machines of one slice and no others.
_ONE_POOL = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}


def of_tpu_slice(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the manifest of a job on a slice with several hosts.

    Every host runs a server for its chips and never ends by itself. The coordinator, which needs
    no chips, runs the job's command; it starts once all servers answer, so that no time out runs
    while a slice is waited for. The job has succeeded when the coordinator has.

    Raises:
        UserError: If a reference to a secret is none of Kubernetes'.
    """
    addresses = ",".join(
        f"grpc://{host}:{_TPU_PORT}" for host in _host_names(request, "host"))
    server = pod.on_device(
        request, placement, ["tpu-server"],
        {"ports": [{"name": "tensorflow", "containerPort": _TPU_PORT}],
         "readinessProbe": {"tcpSocket": {"port": _TPU_PORT}, "periodSeconds": 5}})
    # What a server serves has no secrets.
    container = server["spec"]["containers"][0]
    container["env"] = [variable for variable in container["env"] if "value" in variable]
    hosts = _replicated_job("host", request.device.hosts, server)
    # Here and not on the JobSet: the coordinator need not have a node pool to itself.
    hosts["template"]["metadata"] = {"annotations": dict(_ONE_POOL)}
    args = [*request.args, "--runtime", f"Runtime.tpu = '{addresses}'"]
    coordinator = _replicated_job(
        "coordinator", 1, pod.of_coordinator(request, placement, args), deadline(request))
    coordinator["dependsOn"] = [{"name": "host", "status": "Ready"}]
    success = {"operator": "All", "targetReplicatedJobs": ["coordinator"]}
    return _jobset(request, placement, [hosts, coordinator], success)


def of_peers(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Return the manifest of a job that runs the same command on several machines.

    Raises:
        UserError: If a reference to a secret is none of Kubernetes'.
    """
    args = [*request.args, "--hosts", ",".join(_host_names(request, "worker"))]
    ports = [{"name": "tensorflow", "containerPort": _PEER_PORT}]
    template = pod.on_device(request, placement, args, {"ports": ports})
    workers = _replicated_job("worker", request.device.hosts, template, deadline(request))
    return _jobset(request, placement, [workers], {"operator": "All"})


def _host_names(request: JobRequest, role: str) -> list[str]:
    """The names by which the pods of a JobSet's only Job of a role find each other."""
    return [f"{request.name}-{role}-0-{index}.{request.name}"
            for index in range(request.device.hosts)]


def _replicated_job(role: str, pods: int, template: dict[str, Any],
                    deadline: int | None = None) -> dict[str, Any]:
    """One Job of a JobSet; its deadline begins anew whenever the JobSet starts again."""
    spec = {"completionMode": "Indexed", "completions": pods, "parallelism": pods,
            **policies.of_peers(), "template": template}
    if deadline is not None:
        spec["activeDeadlineSeconds"] = deadline
    return {"name": role, "replicas": 1, "template": {"spec": spec}}


def _jobset(request: JobRequest, placement: Placement, jobs: Sequence[dict[str, Any]],
            success: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata(request, placement),
        "spec": {
            # Gives the pods their names.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "successPolicy": success,
            "failurePolicy": policies.of_jobset(),
            "replicatedJobs": list(jobs),
        },
    }

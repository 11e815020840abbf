"""A JobSet: several machines that start, fail and start again together.

JobSet is an addition to a cluster, see https://jobset.sigs.k8s.io; this needs v0.8 or newer, which
knows `dependsOn`, and Kubernetes 1.29 or newer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepmac_ablate.cloud.gke import job, pod, policies
from deepmac_ablate.cloud.gke.placement import Placement
from deepmac_ablate.cloud.job_request import JobRequest

INSTALL = ("kubectl apply --server-side -f "
           "https://github.com/kubernetes-sigs/jobset/releases/download/v0.12.0/manifests.yaml")

# Of TensorFlow's servers: on TPU hosts as its resolver assumes it, and on others.
_TPU_PORT = 8470
_PEER_PORT = 2222
# The label of a node pool, which has the machines of one slice and no others.
_ONE_POOL = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}


def of_tpu_slice(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Returns the manifest of a job on a slice with several hosts.

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
        "coordinator", 1, pod.of_coordinator(request, placement, args), job.deadline(request))
    coordinator["dependsOn"] = [{"name": "host", "status": "Ready"}]
    success = {"operator": "All", "targetReplicatedJobs": ["coordinator"]}
    return _jobset(request, placement, [hosts, coordinator], success)


def of_peers(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Returns the manifest of a job that runs the same command on several machines.

    Raises:
        UserError: If a reference to a secret is none of Kubernetes'.
    """
    args = [*request.args, "--hosts", ",".join(_host_names(request, "worker"))]
    ports = [{"name": "tensorflow", "containerPort": _PEER_PORT}]
    template = pod.on_device(request, placement, args, {"ports": ports})
    workers = _replicated_job("worker", request.device.hosts, template, job.deadline(request))
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
        "metadata": job.metadata(request, placement),
        "spec": {
            # Gives the pods their names.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "ttlSecondsAfterFinished": job.KEPT_SECONDS,
            "successPolicy": success,
            "failurePolicy": policies.of_jobset(),
            "replicatedJobs": list(jobs),
        },
    }

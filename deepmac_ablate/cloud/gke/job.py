"""A `batch/v1` Job: one pod on one machine."""

from __future__ import annotations

import math
from typing import Any

from deepmac_ablate.cloud.gke import pod, policies
from deepmac_ablate.cloud.gke.placement import Placement
from deepmac_ablate.cloud.job_request import JobRequest

# Whoever launched looks again within a month, and finds how it ended; one that has ended holds no
# machine. After that the cluster cleans up.
KEPT_SECONDS = 30 * 24 * 3600


def of_single_host(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Returns the manifest of a job on one machine.

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
    """Returns the metadata of a Job or a JobSet; Kueue finds its queue there."""
    labels = pod.labels(request)
    if placement.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = placement.queue
    return {"name": request.name, "namespace": placement.namespace, "labels": labels}


def deadline(request: JobRequest) -> int:
    """Returns after how many seconds a job is ended, waiting for machines included."""
    return math.ceil(request.hours * 3600)

"""From what a job shall be to the manifest that a cluster is sent; plain data, without a client."""

from __future__ import annotations

import re
from typing import Any

from deepmac_ablate.cloud.gke import job, jobset
from deepmac_ablate.cloud.gke.placement import Placement
from deepmac_ablate.cloud.job_request import JobRequest
from deepmac_ablate.errors import UserError

# A JobSet's pods add up to 22 characters, "-coordinator-0-0-abcde", of 63 in all.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


def render(request: JobRequest, placement: Placement) -> dict[str, Any]:
    """Returns a job's manifest: a Job for one machine, a JobSet for several.

    Args:
        request: The job. Its secrets are "SECRET/KEY".
        placement: How it gets into the cluster.

    Raises:
        UserError: If GKE has no such job.
    """
    _check(request, placement)
    if request.device.hosts == 1:
        return job.of_single_host(request, placement)
    if request.device.kind == "tpu":
        return jobset.of_tpu_slice(request, placement)
    return jobset.of_peers(request, placement)


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

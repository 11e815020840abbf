"""The clouds that trials can be sent to, by the names of their executors."""

from __future__ import annotations

from collections.abc import Mapping

from deepmac_ablate.cloud.gke.client import Gke
from deepmac_ablate.cloud.provider import Provider
from deepmac_ablate.cloud.vertex.client import Vertex

_PROVIDERS = {"gke": Gke, "vertex": Vertex}


def provider(executor: str, place: Mapping[str, str]) -> Provider:
    """Return the cloud of an executor.

    Args:
        executor: "vertex" or "gke".
        place: What it has to be asked with, by name: of Vertex AI project and region, of GKE
            context and namespace.
    """
    return _PROVIDERS[executor](**place)

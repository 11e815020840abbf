"""The way to a cluster: the one that kubectl would speak to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deepmac_ablate.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_GET_CREDENTIALS = "gcloud container clusters get-credentials CLUSTER --location LOCATION"


def connect(context: str | None) -> ApiClient:
    """Returns a client for a cluster; nothing is asked of it yet.

    Args:
        context: The kubeconfig's context; None: its current one, or within a cluster that cluster.

    Raises:
        UserError: If there is no kubeconfig, or no such context in it.
    """
    import yaml
    from kubernetes import client, config

    settings = client.Configuration()
    # Its own would repeat only some requests, and write about it between the lines of a display.
    settings.retries = False
    path, exists = _kubeconfig()
    try:
        if exists:
            config.load_kube_config(path, context, client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except (config.ConfigException, yaml.YAMLError) as error:
        if not exists:
            raise UserError(
                f"There is no kubeconfig at {path}, which says where the cluster is; run "
                f"`{_GET_CREDENTIALS}`, or only look at what would be sent with --dry-run."
            ) from error
        raise UserError(_why_unusable(path, context, error)) from error
    return client.ApiClient(settings)


def current_context() -> str | None:
    """Returns the kubeconfig's current context; None where there is no kubeconfig that has one."""
    from kubernetes import config

    path, exists = _kubeconfig()
    if not exists:
        return None
    try:
        return config.list_kube_config_contexts(path)[1]["name"]
    except Exception:  # Whatever a broken file makes of the client; `connect` says what is wrong.
        return None


def _kubeconfig() -> tuple[str, bool]:
    """Returns where the kubeconfig would be, and whether it is there."""
    path = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    # KUBECONFIG names files as PATH names folders.
    return path, any(map(os.path.exists, path.split(os.pathsep)))


def _why_unusable(path: str, context: str | None, error: Exception) -> str:
    from kubernetes import config

    try:
        names = [it["name"] for it in config.list_kube_config_contexts(path)[0]]
    except Exception:  # Whatever a broken file makes of the client; `error` is already the reason.
        names = []
    if context is not None and names and context not in names:
        return (f"The kubeconfig {path} has no context {context!r}; it has {', '.join(names)}."
                f"{did_you_mean(context, names)}")
    return (f"The kubeconfig {path} cannot be used ({' '.join(str(error).split())}); run "
            f"`{_GET_CREDENTIALS}`.")

"""The way to a cluster, and what goes wrong on it, in words."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import urllib3
import yaml
from kubernetes import client, config

from deepmac_ablate.errors import UserError, did_you_mean

# Everything that is asked here may be asked twice: submitting too, since names are unique.
_RETRIES = urllib3.Retry(
    total=3, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None,
    raise_on_status=False)
_GET_CREDENTIALS = "gcloud container clusters get-credentials CLUSTER --location LOCATION"


def connect(context: str | None) -> client.ApiClient:
    """Returns a client for the cluster that kubectl would speak to.

    Args:
        context: The kubeconfig's context; None: its current one, or within a cluster that cluster.

    Raises:
        UserError: If there is no kubeconfig, or no such context in it.
    """
    settings = client.Configuration()
    settings.retries = _RETRIES
    path = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    try:
        if _exists(path):
            config.load_kube_config(path, context, client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except (config.ConfigException, yaml.YAMLError) as error:
        raise UserError(_why_unknown(path, context, error)) from error
    return client.ApiClient(settings)


@contextlib.contextmanager
def said_plainly(verb: str, plural: str, namespace: str) -> Iterator[None]:
    """Turns the errors of requests into sentences.

    Args:
        verb: What is asked for, as Kubernetes' roles call it, such as "create".
        plural: Of what, such as "jobs".
        namespace: Where.

    Raises:
        UserError: In the place of any error of the client's.
    """
    try:
        yield
    except client.ApiException as error:
        raise UserError(_why_refused(error, verb, plural, namespace)) from error
    except urllib3.exceptions.HTTPError as error:
        raise UserError(
            f"The cluster does not answer when asked to {verb} {plural} ({_cause(error)}); check "
            f"the network and `kubectl cluster-info`.") from error


def is_missing_kind(error: client.ApiException) -> bool:
    """Whether a cluster has never heard of a kind, rather than of one object or a namespace."""
    return error.status == 404 and not _message(error)


def _exists(path: str) -> bool:
    """Whether any file is there of those that KUBECONFIG names, as PATH names folders."""
    return any(map(os.path.exists, path.split(os.pathsep)))


def _why_unknown(path: str, context: str | None, error: Exception) -> str:
    if not _exists(path):
        return (f"There is no kubeconfig at {path}, which says where the cluster is; run "
                f"`{_GET_CREDENTIALS}`, or only look at what would be sent with --dry-run.")
    if context is not None:
        contexts, _ = config.list_kube_config_contexts(path)
        names = [it["name"] for it in contexts]
        if context not in names:
            return (f"The kubeconfig {path} has no context {context!r}; it has "
                    f"{', '.join(names)}.{did_you_mean(context, names)}")
    return f"The kubeconfig {path} cannot be used ({error}); run `{_GET_CREDENTIALS}`."


def _why_refused(error: client.ApiException, verb: str, plural: str, namespace: str) -> str:
    message = _message(error) or error.reason
    # Without the plugin that makes GKE's tokens the client asks as nobody.
    if error.status == 401 or "system:anonymous" in message:
        return (f"The cluster does not accept your credentials ({message}); run `gcloud auth "
                f"login` and check that gke-gcloud-auth-plugin is installed.")
    if error.status == 403:
        return (f"You may not {verb} {plural} in the namespace {namespace!r} ({message}); ask for "
                f"the role roles/container.developer or a RoleBinding that allows it.")
    return (f"The cluster did not {verb} {plural} in the namespace {namespace!r} "
            f"(status {error.status}: {message}).")


def _message(error: client.ApiException) -> str:
    """Kubernetes' own words; empty where a server answered that has none."""
    try:
        return " ".join(json.loads(error.body)["message"].split())
    except (TypeError, ValueError, KeyError):
        return ""


def _cause(error: BaseException) -> str:
    """The innermost reason, without the client's layers around it."""
    while isinstance(inner := getattr(error, "reason", None), BaseException):
        error = inner
    return str(error).rpartition(">: ")[2] or type(error).__name__

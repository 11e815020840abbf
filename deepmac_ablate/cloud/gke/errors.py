"""Errors of a cluster's API as one-sentence messages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deepmac_ablate.cloud.gke import manifests
from deepmac_ablate.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiException

# Statuses of servers that start, are too busy, or are not found by their proxy.
_TRANSIENT = (429, 500, 502, 503, 504)


@contextlib.contextmanager
def translating_errors(verb: str, plural: str, namespace: str) -> Iterator[None]:
    """Turn errors of Kubernetes' client into a `UserError`.

    Args:
        verb: Kubernetes verb of the request, such as "create".
        plural: Plural of the resource, such as "jobs".
        namespace: Namespace of the resource.

    Raises:
        UserError: If the cluster refuses the request or does not answer.
    """
    import urllib3
    from google.api_core import exceptions
    from kubernetes.client import ApiException

    try:
        yield
    except exceptions.RetryError as error:
        raise UserError(_message(error.cause or error, verb, plural, namespace)) from error
    except (ApiException, urllib3.exceptions.HTTPError) as error:
        raise UserError(_message(error, verb, plural, namespace)) from error


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may help.

    All requests may be repeated, even a submission: a second job with the same name is refused.
    """
    import urllib3
    from kubernetes.client import ApiException

    return (error.status in _TRANSIENT if isinstance(error, ApiException)
            else isinstance(error, urllib3.exceptions.HTTPError))


def _message(error: BaseException, verb: str, plural: str, namespace: str) -> str:
    from kubernetes.client import ApiException

    task = f"{verb} {plural} in the namespace {namespace!r}"
    if not isinstance(error, ApiException):
        return (f"The cluster did not answer a request to {task} ({error}); check the network and "
                "`kubectl cluster-info`, and try again.")
    reason = _cluster_message(error)
    if error.status == 404 and not reason and plural == "jobsets":
        return ("The cluster does not have JobSet, which jobs on several machines need; install it "
                f"with `{manifests.INSTALL}`.")
    details = f"status {error.status}: {reason or error.reason}"
    # Without the plugin that makes GKE's tokens, requests are anonymous.
    if error.status == 401 or "system:anonymous" in reason:
        return (f"The cluster does not accept your credentials ({details}); run `gcloud auth "
                "login`, and check that gke-gcloud-auth-plugin is installed.")
    if error.status == 403:
        return (f"You do not have permission to {task} ({details}); ask for the role "
                "roles/container.developer, or for a RoleBinding that permits it.")
    return f"The cluster did not {task} ({details})."


def _cluster_message(error: ApiException) -> str:
    """Return Kubernetes' own message in one line; empty if there is none.

    The API server gives none for unknown kinds of resources.
    """
    try:
        return " ".join(json.loads(error.body)["message"].split()).rstrip(".")
    except (TypeError, ValueError, KeyError):
        return ""

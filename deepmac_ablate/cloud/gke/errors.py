"""What a cluster's API answers when it does not do what it is asked, in words."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deepmac_ablate.cloud.gke import manifests
from deepmac_ablate.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiException

# Of servers that start, are too busy, or are behind a proxy that does not find them.
_PASSING = (429, 500, 502, 503, 504)


@contextlib.contextmanager
def told(verb: str, plural: str, namespace: str) -> Iterator[None]:
    """Turn errors of Kubernetes' client into sentences.

    Args:
        verb: What is asked for, as roles in Kubernetes call it, such as "create".
        plural: Of what, such as "jobs".
        namespace: Where.

    Raises:
        UserError: For what the cluster refuses, and where nobody answers.
    """
    import urllib3
    from google.api_core import exceptions
    from kubernetes.client import ApiException

    try:
        yield
    except exceptions.RetryError as error:
        raise UserError(_words(error.cause or error, verb, plural, namespace)) from error
    except (ApiException, urllib3.exceptions.HTTPError) as error:
        raise UserError(_words(error, verb, plural, namespace)) from error


def is_passing(error: BaseException) -> bool:
    """Return whether asking again may help.

    Everything here may be asked twice; submitting too, since a second job of a name is refused.
    """
    import urllib3
    from kubernetes.client import ApiException

    return (error.status in _PASSING if isinstance(error, ApiException)
            else isinstance(error, urllib3.exceptions.HTTPError))


def _words(error: BaseException, verb: str, plural: str, namespace: str) -> str:
    from kubernetes.client import ApiException

    what = f"{verb} {plural} in the namespace {namespace!r}"
    if not isinstance(error, ApiException):
        return (f"The cluster does not answer when it is asked to {what} ({error}); look at the "
                f"network and at `kubectl cluster-info`, and try again.")
    said = _message(error)
    if error.status == 404 and not said and plural == "jobsets":
        return ("The cluster has no JobSet, which jobs on several machines need; install it with "
                f"`{manifests.INSTALL}`.")
    why = f"status {error.status}: {said or error.reason}"
    # Without the plugin that makes GKE's tokens the client asks as nobody.
    if error.status == 401 or "system:anonymous" in said:
        return (f"The cluster does not know your credentials ({why}); run `gcloud auth login`, and "
                f"look whether gke-gcloud-auth-plugin is installed.")
    if error.status == 403:
        return (f"You may not {what} ({why}); ask for the role roles/container.developer, or for a "
                f"RoleBinding that allows it.")
    return f"The cluster did not {what} ({why})."


def _message(error: ApiException) -> str:
    """Kubernetes' own words in one line; empty where a server answered that has none.

    So does the API server itself for kinds that it has never heard of.
    """
    try:
        return " ".join(json.loads(error.body)["message"].split()).rstrip(".")
    except (TypeError, ValueError, KeyError):
        return ""

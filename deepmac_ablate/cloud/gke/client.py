"""Client of GKE that creates, queries and deletes jobs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmac_ablate.cloud.gke import errors, job_status, manifests
from deepmac_ablate.cloud.gke.pod import Placement
from deepmac_ablate.cloud.provider import ENDED, JobRequest, JobStatus
from deepmac_ablate.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, CustomObjectsApi

# Kind -> group, version and plural in URLs.
_APIS = {"Job": ("batch", "v1", "jobs"), "JobSet": ("jobset.x-k8s.io", "v1alpha2", "jobsets")}
# Seconds to connect, and to receive an answer.
_TIMEOUT = (5, 30)
_GET_CREDENTIALS = "gcloud container clusters get-credentials CLUSTER --location LOCATION"


class Gke:
    """Namespace of a GKE cluster; a `cloud.provider.Provider`.

    Creating one and `render` use no network. A job's resource name is "namespace/kind/name", such
    as "default/jobset/x".

    Args:
        namespace: Namespace of the jobs, their secrets and their service account.
        context: Context of the kubeconfig, see `connect`.
        reservation: Name of a reservation of accelerators, see `Placement`.
        flex_start: Whether to wait for machines with flex start, see `Placement`.
        queue: Name of a Kueue queue, see `Placement`.
        pull_secrets: Names of secrets for pulling images, see `Placement`.
        privileged: Whether containers with TPUs run privileged, see `Placement`.
        patience: Seconds of retries while the cluster does not answer.
    """

    def __init__(
        self, namespace: str = "default", context: str | None = None, *,
        reservation: str | None = None, flex_start: bool = False, queue: str | None = None,
        pull_secrets: tuple[str, ...] = (), privileged: bool = True, patience: float = 60.0,
    ) -> None:
        self._placement = Placement(
            namespace, reservation, flex_start, queue, pull_secrets, privileged)
        self._context = context
        self._patience = patience

    def render(self, request: JobRequest) -> dict[str, Any]:
        """Return the manifest that `submit` sends.

        Raises:
            UserError: If GKE does not support such a job.
        """
        return manifests.render(request, self._placement)

    def submit(self, request: JobRequest) -> str:
        """Create a job, or find the one that has its name.

        Returns:
            Resource name of the job.

        Raises:
            UserError: If the cluster refuses the job, cannot be found or does not answer.
        """
        body = self.render(request)
        kind, namespace = body["kind"], self._placement.namespace
        # 409: created before, maybe by a request whose answer was lost.
        self._request("create", kind, namespace, lambda: (
            self._objects.create_namespaced_custom_object(
                *_path(kind, namespace), body, _request_timeout=_TIMEOUT)), accepted=409)
        return _resource(namespace, kind, request.name)

    def find_job(self, name: str) -> str | None:
        """Return the resource name of the job that was submitted with a name, or None.

        Raises:
            UserError: If the cluster refuses access, cannot be found or does not answer.
        """
        namespace = self._placement.namespace
        kinds = [kind for kind in _APIS if self._get(namespace, kind, name) is not None]
        return _resource(namespace, kinds[0], name) if kinds else None

    def status(self, resource: str) -> JobStatus:
        """Return the status of a job.

        A job whose image cannot be pulled is "queued" with a message, as it may still be pushed.

        Raises:
            UserError: If the cluster refuses access, cannot be found or does not answer.
        """
        namespace, kind, name = _parts(resource)
        job = self._get(namespace, kind, name)
        if job is None:
            return JobStatus("gone", "the cluster does not have the job (any more)")
        if kind == "Job":
            pods = self._list_pods(namespace, f"batch.kubernetes.io/job-name={name}")
            return job_status.read_job_status(job, pods)
        label = f"jobset.sigs.k8s.io/jobset-name={name}"
        jobs = self._request("list", "Job", namespace, lambda: (
            self._objects.list_namespaced_custom_object(
                *_path("Job", namespace), label_selector=label, _request_timeout=_TIMEOUT)))
        return job_status.read_jobset_status(
            job, jobs["items"], self._list_pods(namespace, label))

    def cancel(self, resource: str) -> None:
        """Delete a job that has not ended; its containers receive SIGTERM first.

        A job that has ended is kept, so that its outcome can be read.

        Raises:
            UserError: If the cluster refuses access, cannot be found or does not answer.
        """
        if self.status(resource).state in ENDED:
            return
        namespace, kind, name = _parts(resource)
        # In the foreground, so that the job exists until its pods have ended.
        self._request("delete", kind, namespace, lambda: (
            self._objects.delete_namespaced_custom_object(
                *_path(kind, namespace), name, propagation_policy="Foreground",
                _request_timeout=_TIMEOUT)), accepted=404)

    @functools.cached_property
    def _client(self) -> ApiClient:
        """Client library, imported on first use because that takes a second."""
        return connect(self._context)

    @functools.cached_property
    def _objects(self) -> CustomObjectsApi:
        """API that handles Jobs and JobSets alike, as plain JSON values."""
        from kubernetes.client import CustomObjectsApi

        return CustomObjectsApi(self._client)

    def _get(self, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
        """Return a Job or JobSet; None if it, or its kind, does not exist."""
        return self._request("get", kind, namespace, lambda: (
            self._objects.get_namespaced_custom_object(
                *_path(kind, namespace), name, _request_timeout=_TIMEOUT)), accepted=404)

    def _list_pods(self, namespace: str, label: str) -> list[dict[str, Any]]:
        from kubernetes.client import CoreV1Api

        found = self._request("list", "Pod", namespace, lambda: (
            CoreV1Api(self._client).list_namespaced_pod(
                namespace, label_selector=label, _request_timeout=_TIMEOUT)))
        return self._client.sanitize_for_serialization(found)["items"]

    def _request(self, verb: str, kind: str, namespace: str, send: Callable[[], Any],
                 accepted: int | None = None) -> Any:  # noqa: ANN401
        """Send a request, again while the cluster does not answer; None after an accepted error."""
        # Outside of the translation of errors, as a missing kubeconfig is an error of its own.
        _ = self._client
        from google.api_core import retry
        from kubernetes.client import ApiException

        retrying = retry.Retry(
            errors.is_transient, initial=0.2, maximum=10.0, timeout=self._patience)
        with errors.translating_errors(verb, f"{kind.lower()}s", namespace):
            try:
                return retrying(send)()
            except ApiException as error:
                if error.status != accepted:
                    raise
                return None


def _path(kind: str, namespace: str) -> tuple[str, str, str, str]:
    group, version, plural = _APIS[kind]
    return group, version, namespace, plural


def _resource(namespace: str, kind: str, name: str) -> str:
    return f"{namespace}/{kind.lower()}/{name}"


def _parts(resource: str) -> tuple[str, str, str]:
    """Split a resource name into namespace, kind and name."""
    namespace, kind, name = resource.split("/")
    return namespace, {known.lower(): known for known in _APIS}[kind], name


def connect(context: str | None) -> ApiClient:
    """Return a client for a cluster, without using the network.

    Args:
        context: Context of the kubeconfig; None for its current one, or inside a cluster for that
            cluster.

    Raises:
        UserError: If there is no kubeconfig, or it does not have the context.
    """
    import yaml
    from kubernetes import client, config

    settings = client.Configuration()
    # Its own retries cover only some requests, and print messages into the status display.
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
                f"There is no kubeconfig at {path}, so the cluster is unknown; run "
                f"`{_GET_CREDENTIALS}`, or print the requests only with --dry-run."
            ) from error
        raise UserError(_kubeconfig_problem(path, context, error)) from error
    return client.ApiClient(settings)


def current_context() -> str | None:
    """Return the current context of the kubeconfig; None if it is missing or has none."""
    from kubernetes import config

    path, exists = _kubeconfig()
    if not exists:
        return None
    try:
        return config.list_kube_config_contexts(path)[1]["name"]
    except Exception:  # The client may raise anything for a broken file; `connect` reports it.
        return None


def _kubeconfig() -> tuple[str, bool]:
    """Return the path of the kubeconfig, and whether it exists."""
    path = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    # KUBECONFIG may list several files, separated as in PATH.
    return path, any(map(os.path.exists, path.split(os.pathsep)))


def _kubeconfig_problem(path: str, context: str | None, error: Exception) -> str:
    from kubernetes import config

    try:
        names = [known["name"] for known in config.list_kube_config_contexts(path)[0]]
    except Exception:  # The client may raise anything for a broken file; `error` explains it.
        names = []
    if context is not None and names and context not in names:
        return (f"The kubeconfig {path} has no context {context!r}; it has {', '.join(names)}."
                f"{did_you_mean(context, names)}")
    return (f"The kubeconfig {path} cannot be used ({' '.join(str(error).split())}); run "
            f"`{_GET_CREDENTIALS}`.")

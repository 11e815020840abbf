"""GKE over the network: jobs are created, looked at and deleted."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmac_ablate.cloud.gke import errors, job_status, manifests
from deepmac_ablate.cloud.gke.pod import Placement
from deepmac_ablate.cloud.provider import ENDED, JobLook, JobRequest
from deepmac_ablate.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, CustomObjectsApi

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


# Kind -> group, version and plural, as paths have them.
_APIS = {"Job": ("batch", "v1", "jobs"), "JobSet": ("jobset.x-k8s.io", "v1alpha2", "jobsets")}
# Seconds to connect, and to be answered.
_TIMEOUT = (5, 30)


class Gke:
    """A namespace of a cluster; a `cloud.provider.Provider`.

    Nothing is asked before a job is submitted, looked at or cancelled, and `render` never asks.
    A job's resource is "NAMESPACE/KIND/NAME" in small letters, such as "default/jobset/x".

    Args:
        namespace: As in `Placement`, and so what follows but `context` and `patience`.
        context: As in `connection.connect`.
        reservation: As above.
        flex_start: As above.
        queue: As above.
        pull_secrets: As above.
        patience: Seconds for which the cluster is asked again while it does not answer.
    """

    def __init__(
        self, namespace: str = "default", context: str | None = None, *,
        reservation: str | None = None, flex_start: bool = False, queue: str | None = None,
        pull_secrets: tuple[str, ...] = (), patience: float = 60.0,
    ) -> None:
        self._placement = Placement(namespace, reservation, flex_start, queue, pull_secrets)
        self._context = context
        self._patience = patience

    def render(self, request: JobRequest) -> dict[str, Any]:
        """Return the manifest that `submit` sends.

        Raises:
            UserError: If GKE has no such job.
        """
        return manifests.render(request, self._placement)

    def submit(self, request: JobRequest) -> str:
        """Create a job, or find the one that has its name.

        Returns:
            Its resource.

        Raises:
            UserError: If the cluster refuses it, is not to be found or does not answer.
        """
        body = self.render(request)
        kind, namespace = body["kind"], self._placement.namespace
        # 409: created before, maybe a moment ago by a request whose answer was lost.
        self._ask("create", kind, namespace, lambda: (
            self._objects.create_namespaced_custom_object(
                *_path(kind, namespace), body, _request_timeout=_TIMEOUT)), accepted=409)
        return _resource(namespace, kind, request.name)

    def find(self, name: str) -> str | None:
        """Return the resource of the job that was submitted by a name, or None.

        Raises:
            UserError: If the cluster refuses, is not to be found or does not answer.
        """
        namespace = self._placement.namespace
        kinds = [kind for kind in _APIS if self._read(namespace, kind, name) is not None]
        return _resource(namespace, kinds[0], name) if kinds else None

    def look(self, resource: str) -> JobLook:
        """Return how a job is doing.

        An image that cannot be pulled leaves it "queued", with a message: it may yet be pushed.

        Raises:
            UserError: If the cluster refuses, is not to be found or does not answer.
        """
        namespace, kind, name = _parts(resource)
        job = self._read(namespace, kind, name)
        if job is None:
            return JobLook("gone", "the cluster has no such job (any more)")
        if kind == "Job":
            pods = self._pods(namespace, f"batch.kubernetes.io/job-name={name}")
            return job_status.of_job(job, pods)
        label = f"jobset.sigs.k8s.io/jobset-name={name}"
        jobs = self._ask("list", "Job", namespace, lambda: (
            self._objects.list_namespaced_custom_object(
                *_path("Job", namespace), label_selector=label, _request_timeout=_TIMEOUT)))
        return job_status.of_jobset(job, jobs["items"], self._pods(namespace, label))

    def cancel(self, resource: str) -> None:
        """Delete a job that has not ended; its containers are asked to end first.

        One that has ended stays, and with it the knowledge of how.

        Raises:
            UserError: If the cluster refuses, is not to be found or does not answer.
        """
        if self.look(resource).state in ENDED:
            return
        namespace, kind, name = _parts(resource)
        # In the foreground, so that it is seen for as long as its pods have their grace.
        self._ask("delete", kind, namespace, lambda: (
            self._objects.delete_namespaced_custom_object(
                *_path(kind, namespace), name, propagation_policy="Foreground",
                _request_timeout=_TIMEOUT)), accepted=404)

    @functools.cached_property
    def _client(self) -> ApiClient:
        """Made when it is needed: importing it takes a second."""
        return connect(self._context)

    @functools.cached_property
    def _objects(self) -> CustomObjectsApi:
        """Knows Jobs too, and gives everything as it was sent."""
        from kubernetes.client import CustomObjectsApi

        return CustomObjectsApi(self._client)

    def _read(self, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
        """A Job or JobSet; None where there is none, or no such kind."""
        return self._ask("get", kind, namespace, lambda: (
            self._objects.get_namespaced_custom_object(
                *_path(kind, namespace), name, _request_timeout=_TIMEOUT)), accepted=404)

    def _pods(self, namespace: str, label: str) -> list[dict[str, Any]]:
        from kubernetes.client import CoreV1Api

        found = self._ask("list", "Pod", namespace, lambda: (
            CoreV1Api(self._client).list_namespaced_pod(
                namespace, label_selector=label, _request_timeout=_TIMEOUT)))
        return self._client.sanitize_for_serialization(found)["items"]

    def _ask(self, verb: str, kind: str, namespace: str, ask: Callable[[], Any],
             accepted: int | None = None) -> Any:  # noqa: ANN401
        """Ask, and ask again while nobody answers; None where an accepted error is the answer."""
        # Outside: nobody is asked where a kubeconfig is missing.
        _ = self._client
        from google.api_core import retry
        from kubernetes.client import ApiException

        again = retry.Retry(
            errors.is_passing, initial=0.2, maximum=10.0, timeout=self._patience)
        with errors.told(verb, f"{kind.lower()}s", namespace):
            try:
                return again(ask)()
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
    """A resource's namespace, kind and name."""
    namespace, kind, name = resource.split("/")
    return namespace, {it.lower(): it for it in _APIS}[kind], name


_GET_CREDENTIALS = "gcloud container clusters get-credentials CLUSTER --location LOCATION"


def connect(context: str | None) -> ApiClient:
    """Return a client for a cluster; nothing is asked of it yet.

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
    """Return the kubeconfig's current context; None where there is no kubeconfig that has one."""
    from kubernetes import config

    path, exists = _kubeconfig()
    if not exists:
        return None
    try:
        return config.list_kube_config_contexts(path)[1]["name"]
    except Exception:  # Whatever a broken file makes of the client; `connect` says what is wrong.
        return None


def _kubeconfig() -> tuple[str, bool]:
    """Return where the kubeconfig would be, and whether it is there."""
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

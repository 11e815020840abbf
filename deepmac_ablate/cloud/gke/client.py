"""GKE as one of the clouds that jobs run on, through the real client."""

from __future__ import annotations

import functools
from typing import Any

from kubernetes import client

from deepmac_ablate.cloud.gke import connection, jobset, looks, manifests
from deepmac_ablate.cloud.gke.placement import Placement
from deepmac_ablate.cloud.job_request import JobRequest
from deepmac_ablate.cloud.provider import ENDED, JobLook
from deepmac_ablate.errors import UserError

# Seconds to connect, and to be answered.
_TIMEOUT = (5, 30)
# Kind -> group, version and plural, as paths have them.
_APIS = {"Job": ("batch", "v1", "jobs"), "JobSet": ("jobset.x-k8s.io", "v1alpha2", "jobsets")}


class Gke:
    """A namespace of a cluster, as a `Provider`.

    A job's resource is "NAMESPACE/KIND/NAME" in small letters, such as "default/jobset/x".
    """

    def __init__(self, namespace: str = "default", context: str | None = None, *,
                 reservation: str | None = None, flex_start: bool = False,
                 queue: str | None = None, pull_secrets: tuple[str, ...] = ()) -> None:
        """Notes where jobs go; the cluster is looked for when it is first asked something.

        Args:
            namespace: As in `Placement`, as the others are.
            context: As in `connection.connect`.
            reservation: As above.
            flex_start: As above.
            queue: As above.
            pull_secrets: As above.
        """
        self._placement = Placement(namespace, reservation, flex_start, queue, pull_secrets)
        self._context = context

    def render(self, request: JobRequest) -> dict[str, Any]:
        """Returns the manifest that `submit` sends; needs no cluster.

        Raises:
            UserError: If GKE has no such job.
        """
        return manifests.render(request, self._placement)

    def submit(self, request: JobRequest) -> str:
        """Creates a job, or finds the one that has its name.

        Returns:
            Its resource.

        Raises:
            UserError: If the cluster refuses it, is not to be found or does not answer.
        """
        body = self.render(request)
        kind, namespace = body["kind"], self._placement.namespace
        group, version, plural = _APIS[kind]
        with connection.said_plainly("create", plural, namespace):
            try:
                self._custom.create_namespaced_custom_object(
                    group, version, namespace, plural, body, _request_timeout=_TIMEOUT)
            except client.ApiException as error:
                if kind == "JobSet" and connection.is_missing_kind(error):
                    raise UserError(
                        f"The cluster has no JobSet, which {request.device.name} needs for its "
                        f"{request.device.hosts} hosts; install it with `{jobset.INSTALL}`."
                    ) from error
                # Created before, or a moment ago by a request whose answer was lost.
                if error.status != 409:
                    raise
        return f"{namespace}/{kind.lower()}/{request.name}"

    def look(self, resource: str) -> JobLook:
        """Returns how a job is doing.

        An image that cannot be pulled leaves it "queued", with a message: it may yet be pushed.

        Raises:
            UserError: If the cluster is not to be found, refuses or does not answer.
        """
        namespace, kind, name = _parse(resource)
        job = self._read(namespace, kind, name)
        if job is None:
            return JobLook("gone", "the cluster has no such job (any more)")
        if kind == "Job":
            return looks.of_job(job, self._pods(namespace, f"batch.kubernetes.io/job-name={name}"))
        label = f"jobset.sigs.k8s.io/jobset-name={name}"
        group, version, plural = _APIS["Job"]
        with connection.said_plainly("list", plural, namespace):
            jobs = self._custom.list_namespaced_custom_object(
                group, version, namespace, plural, label_selector=label, _request_timeout=_TIMEOUT)
        return looks.of_jobset(job, jobs["items"], self._pods(namespace, label))

    def cancel(self, resource: str) -> None:
        """Deletes a job that has not ended; its containers are asked to end first.

        One that has ended stays, and with it the knowledge of how.

        Raises:
            UserError: If the cluster is not to be found, refuses or does not answer.
        """
        if self.look(resource).state in ENDED:
            return
        namespace, kind, name = _parse(resource)
        group, version, plural = _APIS[kind]
        with connection.said_plainly("delete", plural, namespace):
            try:
                # In the foreground, so that it is seen for as long as its pods have their grace.
                self._custom.delete_namespaced_custom_object(
                    group, version, namespace, plural, name, propagation_policy="Foreground",
                    _request_timeout=_TIMEOUT)
            except client.ApiException as error:
                if error.status != 404:
                    raise

    @functools.cached_property
    def _api(self) -> client.ApiClient:
        return connection.connect(self._context)

    @functools.cached_property
    def _custom(self) -> client.CustomObjectsApi:
        """Gives Jobs as well, and gives them as they are sent."""
        return client.CustomObjectsApi(self._api)

    def _read(self, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
        group, version, plural = _APIS[kind]
        with connection.said_plainly("get", plural, namespace):
            try:
                return self._custom.get_namespaced_custom_object(
                    group, version, namespace, plural, name, _request_timeout=_TIMEOUT)
            except client.ApiException as error:
                if error.status != 404:
                    raise
                return None

    def _pods(self, namespace: str, label: str) -> list[dict[str, Any]]:
        with connection.said_plainly("list", "pods", namespace):
            found = client.CoreV1Api(self._api).list_namespaced_pod(
                namespace, label_selector=label, _request_timeout=_TIMEOUT)
        return self._api.sanitize_for_serialization(found)["items"]


def _parse(resource: str) -> tuple[str, str, str]:
    """A resource's namespace, kind and name."""
    namespace, kind, name = resource.split("/")
    return namespace, {it.lower(): it for it in _APIS}[kind], name

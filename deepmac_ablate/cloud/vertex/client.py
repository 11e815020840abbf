"""Client of Vertex AI that starts, queries and cancels jobs."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from deepmac_ablate.cloud import credentials, errors
from deepmac_ablate.cloud.errors import one_line
from deepmac_ablate.cloud.provider import ENDED, JobRequest, JobState, JobStatus
from deepmac_ablate.cloud.vertex import requests
from deepmac_ablate.errors import UserError

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import CustomJob, JobServiceClient

_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_ZONE = re.compile(rf"(?P<region>{_REGION.pattern})-[a-z]")
_ROLE = "roles/aiplatform.user"
_REQUEST_SECONDS = 30.0

_STATES: dict[str, tuple[JobState, str]] = {
    "JOB_STATE_UNSPECIFIED": ("queued", ""),
    "JOB_STATE_QUEUED": ("queued", ""),
    "JOB_STATE_PENDING": ("queued", ""),
    "JOB_STATE_PAUSED": ("queued", "paused"),
    "JOB_STATE_RUNNING": ("running", ""),
    # Jobs return from there to running.
    "JOB_STATE_UPDATING": ("running", "being updated"),
    "JOB_STATE_CANCELLING": ("running", "being cancelled"),
    "JOB_STATE_SUCCEEDED": ("succeeded", ""),
    # It is not reported what is missing, so the job counts as failed.
    "JOB_STATE_PARTIALLY_SUCCEEDED": ("failed", "only partially succeeded"),
    "JOB_STATE_FAILED": ("failed", ""),
    "JOB_STATE_EXPIRED": ("expired", ""),
    "JOB_STATE_CANCELLED": ("cancelled", ""),
}

_T = TypeVar("_T")


class Vertex:
    """Vertex AI in one region of one project; a `cloud.provider.Provider`.

    Creating one and `render` use no network.

    Args:
        project: Name or number of the project.
        region: Region, such as "us-central1".
        reservation: Full name of a reservation of machines, see `requests.Capacity`.
        flex_start: Whether to wait for machines with flex start, see `requests.Capacity`.
        patience: Seconds of retries while Vertex AI does not answer.

    Raises:
        UserError: If the region is not valid.
    """

    def __init__(
        self, project: str, region: str, *, reservation: str | None = None,
        flex_start: bool = False, patience: float = 60.0,
    ) -> None:
        zone = _ZONE.fullmatch(region)
        if zone:
            raise UserError(
                f"--region must be a region such as {zone['region']}, got the zone {region}.")
        if not _REGION.fullmatch(region):
            raise UserError(f"--region must be a region such as us-central1, got {region!r}.")
        self._project = project
        self._region = region
        self._capacity = requests.Capacity(reservation, flex_start)
        self._patience = patience

    def render(self, request: JobRequest) -> dict[str, Any]:
        """Return the `CustomJob` that `submit` sends, as JSON values.

        Raises:
            UserError: If Vertex AI does not support such a job.
        """
        return requests.custom_job(request, self._project, self._capacity)

    def submit(self, request: JobRequest) -> str:
        """Start a job, or find the one that was started with this name before.

        Returns:
            Resource name, such as "projects/1/locations/us-central1/customJobs/2".

        Raises:
            UserError: If Vertex AI refuses the job or does not answer, or credentials are missing.
        """
        body = self.render(request)
        with self._translating_errors(f"start the job {request.name}"):
            # Search before each attempt: the answer that was lost may have confirmed the job.
            return self._retry(lambda: self._find_resource(request.name) or self._create(body))

    def find_job(self, name: str) -> str | None:
        """Return the resource name of the job that was submitted with a name, or None.

        Raises:
            UserError: If Vertex AI does not answer.
        """
        with self._translating_errors(f"find the job {name}"):
            return self._retry(lambda: self._find_resource(name))

    def status(self, resource: str) -> JobStatus:
        """Return the status of a job.

        Raises:
            UserError: If Vertex AI does not answer.
        """
        from google.api_core import exceptions

        with self._translating_errors(f"return the status of {resource}"):
            try:
                return read_job_status(self._retry(lambda: self._get(resource)))
            except exceptions.NotFound:
                return JobStatus("gone")

    def cancel(self, resource: str) -> None:
        """End a job, unless it has ended or is gone.

        Raises:
            UserError: If Vertex AI does not answer.
        """
        from google.api_core import exceptions

        with self._translating_errors(f"cancel {resource}"):
            try:
                self._retry(lambda: self._jobs.cancel_custom_job(
                    name=resource, retry=None, timeout=_REQUEST_SECONDS))
            except exceptions.NotFound:
                return
            except exceptions.BadRequest:
                # Vertex AI also answers so if the job has ended or is being cancelled.
                job = self._retry(lambda: self._get(resource))
                is_cancelling = job.state.name == "JOB_STATE_CANCELLING"
                if read_job_status(job).state not in ENDED and not is_cancelling:
                    raise

    @functools.cached_property
    def _jobs(self) -> JobServiceClient:
        """Client library, imported on first use because that takes seconds."""
        host = f"{self._region}-aiplatform.googleapis.com"
        access = credentials.service_access("aiplatform", host)
        from google.cloud import aiplatform_v1

        return aiplatform_v1.JobServiceClient(
            credentials=access.credentials, transport="rest",
            client_options={"api_endpoint": access.endpoint})

    @property
    def _parent(self) -> str:
        return f"projects/{self._project}/locations/{self._region}"

    def _find_resource(self, name: str) -> str | None:
        """Return the resource name of the first job that was started with a name."""
        found = self._jobs.list_custom_jobs(
            request={"parent": self._parent, "filter": f"labels.{requests.LABEL}={name}"},
            retry=None, timeout=_REQUEST_SECONDS)
        first = min(found, key=lambda job: job.create_time, default=None)
        return None if first is None else first.name

    def _create(self, body: dict[str, Any]) -> str:
        from google.cloud import aiplatform_v1

        return self._jobs.create_custom_job(
            parent=self._parent, custom_job=aiplatform_v1.CustomJob.from_json(json.dumps(body)),
            retry=None, timeout=_REQUEST_SECONDS).name

    def _get(self, resource: str) -> CustomJob:
        return self._jobs.get_custom_job(name=resource, retry=None, timeout=_REQUEST_SECONDS)

    def _retry(self, send: Callable[[], _T]) -> _T:
        """Send a request, again while Vertex AI does not answer."""
        from google.api_core import retry

        retrying = retry.Retry(
            errors.is_transient, initial=0.2, maximum=10.0, timeout=self._patience)
        return retrying(send)()

    def _translating_errors(self, task: str) -> AbstractContextManager[None]:
        service = f"Vertex AI (project {self._project}, region {self._region})"
        return errors.translating_errors(service, task, _ROLE)


def read_job_status(job: CustomJob) -> JobStatus:
    """Return the status of a job, with the error message of Vertex AI."""
    # A plain number is a state that is newer than the client; the job may not have ended.
    name = getattr(job.state, "name", f"in state {int(job.state)}")
    state, remark = _STATES.get(name, ("running", name))
    if name in {"JOB_STATE_QUEUED", "JOB_STATE_PENDING"} and job.start_time:
        # It has run before: its machines were preempted, and it waits for others.
        state = "preempted"
    return JobStatus(state, one_line(job.error.message) or remark)

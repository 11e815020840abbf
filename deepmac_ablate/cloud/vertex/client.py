"""Vertex AI over the network: jobs are started, looked at and cancelled."""

from __future__ import annotations

import functools
import json
import re
import urllib.parse
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from deepmac_ablate.cloud import credentials, errors
from deepmac_ablate.cloud.errors import one_line
from deepmac_ablate.cloud.provider import ENDED, JobLook, JobRequest, State
from deepmac_ablate.cloud.vertex import requests
from deepmac_ablate.errors import UserError

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import CustomJob, JobServiceClient

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import CustomJob


_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_ZONE = re.compile(rf"(?P<region>{_REGION.pattern})-[a-z]")
_ROLE = "roles/aiplatform.user"
_REQUEST_SECONDS = 30.0

_T = TypeVar("_T")


class Vertex:
    """Vertex AI in one region of one project; a `cloud.provider.Provider`.

    Nothing is asked before a job is submitted, looked at or cancelled, and `render` never asks.

    Args:
        project: Its name or number.
        region: Such as "us-central1".
        patience: Seconds for which it is asked again while nobody answers.

    Raises:
        UserError: If that is no region.
    """

    def __init__(self, project: str, region: str, patience: float = 60.0) -> None:
        zone = _ZONE.fullmatch(region)
        if zone:
            raise UserError(f"--region {region} is a zone; its region is {zone['region']}.")
        if not _REGION.fullmatch(region):
            raise UserError(f"--region {region} is no region; give one such as us-central1.")
        self._project = project
        self._region = region
        self._patience = patience

    def render(self, request: JobRequest) -> dict[str, Any]:
        """Return the `CustomJob` that `submit` sends, as JSON has it.

        Raises:
            UserError: If Vertex AI has no such job.
        """
        return requests.custom_job(request, self._project)

    def submit(self, request: JobRequest) -> str:
        """Start a job, or find the one that was started by this name before.

        Returns:
            Its resource, such as "projects/1/locations/us-central1/customJobs/2".

        Raises:
            UserError: If Vertex AI refuses it, there are no credentials, or nobody answers.
        """
        body = self.render(request)
        with self._told(f"start the job {request.name}"):
            # Looking again before each attempt: an answer that was lost may have been a yes.
            return self._patiently(lambda: self._find(request.name) or self._create(body))

    def find(self, name: str) -> str | None:
        """Return the resource of the job that was submitted by a name, or None.

        Raises:
            UserError: If nobody answers.
        """
        with self._told(f"say whether there is a job {name}"):
            return self._patiently(lambda: self._find(name))

    def look(self, resource: str) -> JobLook:
        """Return how a job is doing.

        Raises:
            UserError: If nobody answers.
        """
        from google.api_core import exceptions

        with self._told(f"say how {resource} is doing"):
            try:
                return job_look(self._patiently(lambda: self._get(resource)))
            except exceptions.NotFound:
                return JobLook("gone")

    def cancel(self, resource: str) -> None:
        """End a job; one that has ended or is gone stays so.

        Raises:
            UserError: If nobody answers.
        """
        from google.api_core import exceptions

        with self._told(f"cancel {resource}"):
            try:
                self._patiently(lambda: self._jobs.cancel_custom_job(
                    name=resource, retry=None, timeout=_REQUEST_SECONDS))
            except exceptions.NotFound:
                return
            except exceptions.BadRequest:
                # So it is where there is nothing to cancel any more.
                job = self._patiently(lambda: self._get(resource))
                if job_look(job).state not in ENDED and job.state.name != "JOB_STATE_CANCELLING":
                    raise

    @functools.cached_property
    def _jobs(self) -> JobServiceClient:
        """Made when it is needed: importing it takes seconds."""
        where = credentials.access("aiplatform", f"{self._region}-aiplatform.googleapis.com")
        from google.cloud import aiplatform_v1

        return aiplatform_v1.JobServiceClient(
            credentials=where.credentials, transport="rest",
            client_options={"api_endpoint": where.endpoint})

    @property
    def _parent(self) -> str:
        return f"projects/{self._project}/locations/{self._region}"

    def _find(self, name: str) -> str | None:
        """The first job that was started by a name."""
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

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask, and ask again while nobody answers."""
        from google.api_core import retry

        again = retry.Retry(
            errors.is_passing, initial=0.2, maximum=10.0, timeout=self._patience)
        return again(ask)()

    def _told(self, task: str) -> AbstractContextManager[None]:
        where = f"Vertex AI (project {self._project}, region {self._region})"
        return errors.told(where, task, _ROLE)


_RESOURCE = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/customJobs/"
                       r"(?P<job>[^/]+)")

_STATES: dict[str, tuple[State, str]] = {
    "JOB_STATE_UNSPECIFIED": ("queued", ""),
    "JOB_STATE_QUEUED": ("queued", ""),
    "JOB_STATE_PENDING": ("queued", ""),
    "JOB_STATE_PAUSED": ("queued", "paused"),
    "JOB_STATE_RUNNING": ("running", ""),
    # Jobs go back to running from there.
    "JOB_STATE_UPDATING": ("running", "being updated"),
    "JOB_STATE_CANCELLING": ("running", "being cancelled"),
    "JOB_STATE_SUCCEEDED": ("succeeded", ""),
    # What is missing nobody says, so the job did not do what it was for.
    "JOB_STATE_PARTIALLY_SUCCEEDED": ("failed", "only partially succeeded"),
    "JOB_STATE_FAILED": ("failed", ""),
    "JOB_STATE_EXPIRED": ("expired", ""),
    "JOB_STATE_CANCELLED": ("cancelled", ""),
}


def job_look(job: CustomJob) -> JobLook:
    """Return how a job is doing, with the error that Vertex AI gives."""
    # A number stands for a state that is newer than the client. Then nothing has ended for sure.
    name = getattr(job.state, "name", f"in state {int(job.state)}")
    state, remark = _STATES.get(name, ("running", name))
    if name in {"JOB_STATE_QUEUED", "JOB_STATE_PENDING"} and job.start_time:
        # It has run before: its machines were taken away, and it waits for others.
        state = "preempted"
    return JobLook(state, one_line(job.error.message) or remark)


def where_to_read(resource: str) -> str:
    """Return where people find a job and its log: the console's pages, and gcloud's command.

    Raises:
        UserError: If that is no job of Vertex AI.
    """
    found = _RESOURCE.fullmatch(resource)
    if found is None:
        raise UserError(f"{resource!r} is no job of Vertex AI; one looks like "
                        "projects/PROJECT/locations/REGION/customJobs/NUMBER.")
    project, region, job = found.group("project", "region", "job")
    query = f'resource.type="ml_job" AND resource.labels.job_id="{job}"'
    console = "https://console.cloud.google.com"
    return "\n".join([
        f"Job: {console}/agent-platform/locations/{region}/training/{job}?project={project}",
        f"Log: {console}/logs/query;query={urllib.parse.quote(query, safe='')}?project={project}",
        f"     gcloud logging read '{query}' --project={project} --order=asc",
    ])

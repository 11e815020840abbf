"""What Vertex AI says of a job, and where people read more."""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING

from deepmac_ablate.cloud.provider import JobLook, State
from deepmac_ablate.cloud.refusals import one_line
from deepmac_ablate.errors import UserError

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import CustomJob

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
    """Returns how a job is doing, with the error that Vertex AI gives."""
    # A number stands for a state that is newer than the client. Then nothing has ended for sure.
    name = getattr(job.state, "name", f"in state {int(job.state)}")
    state, remark = _STATES.get(name, ("running", name))
    if name in {"JOB_STATE_QUEUED", "JOB_STATE_PENDING"} and job.start_time:
        # It has run before: its machines were taken away, and it waits for others.
        state = "preempted"
    return JobLook(state, one_line(job.error.message) or remark)


def where_to_read(resource: str) -> str:
    """Returns where people find a job and its log: the console's pages, and gcloud's command.

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

"""Jobs of trials in clouds and on Slurm: their submissions, refresh and cancellation.

A launcher writes the submissions to the trials' folders. The job itself reports in the state that
its supervisor writes, see `attempt`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, get_args

from etils import epath

from deepmac_ablate.cloud.gke.client import Gke
from deepmac_ablate.cloud.provider import ENDED, JobState, JobStatus, Provider
from deepmac_ablate.cloud.vertex.client import Vertex
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch.slurm.client import Slurm
from deepmac_ablate.launch.supervision.job import ROLES
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import (
    COUNT,
    TEXT,
    TIME,
    Kind,
    check_fields,
    from_json,
    object_of,
    one_of,
    optional,
)
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_PROVIDERS = {"gke": Gke, "vertex": Vertex, "slurm": Slurm}

_SETTING = Kind("a string, true or false", lambda value: isinstance(value, str | bool))
_FIELDS = {
    "role": one_of(*ROLES), "number": COUNT, "executor": one_of(*_PROVIDERS),
    "place": object_of(_SETTING), "name": TEXT, "resource": optional(TEXT), "device": TEXT,
    "image": TEXT, "submitted": TIME, "state": one_of(*get_args(JobState)), "message": TEXT,
    "looked": TIME}

_PARALLEL_REQUESTS = 16
# A cloud needs a while between a request to cancel a job and its end.
_SECONDS_TO_END = 90.0
_SECONDS_BETWEEN_POLLS = 2.0


def create_provider(executor: str, place: Mapping[str, Any]) -> Provider:
    """Create the client for the cloud of an executor.

    Args:
        executor: "vertex", "gke" or "slurm".
        place: Keyword arguments of `Vertex`, `Gke` or `Slurm`: project and region, context,
            namespace and the rest, or cluster and user.
    """
    return _PROVIDERS[executor](**place)


@dataclasses.dataclass(frozen=True)
class Submission:
    """One job of one trial in one cloud or cluster; times are Unix times in seconds.

    Attributes:
        role: "train" or "eval".
        number: Number among the submissions of this trial and role, from 1 on.
        executor: "vertex", "gke" or "slurm".
        place: Keyword arguments of the cloud's client, see `create_provider`.
        name: Name of the job, see `JobRequest`.
        resource: Name that the cloud has given the job; None until it has answered.
        device: Name of the device, such as "v5e-16".
        image: Container image.
        submitted: Time just before the submission.
        state: Last state that the cloud reported.
        message: Last message that the cloud reported.
        looked: Time of that report.
    """

    role: str
    number: int
    executor: str
    place: dict[str, str | bool]
    name: str
    resource: str | None
    device: str
    image: str
    submitted: float
    state: JobState = "queued"
    message: str = ""
    looked: float = 0.0

    @property
    def has_ended(self) -> bool:
        """True if the state is final."""
        return self.state in ENDED

    def with_status(self, status: JobStatus, at: float) -> Submission:
        """Return a copy with a status that the cloud reported at a time."""
        return dataclasses.replace(self, state=status.state, message=status.message, looked=at)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the submission to a trial's folder, in place of the previous one of its role.

        Raises:
            OSError: If it cannot be written.
        """
        text = json.dumps(dataclasses.asdict(self), indent=2)
        file_io.write(epath.Path(folder) / submission_name(self.role), text + "\n")


def submission_name(role: str) -> str:
    """Return the name of the file in a trial's folder that holds the last submission of a role."""
    return f"submission-{role}.json"


def read_submission(folder: str | os.PathLike[str], role: str) -> Submission | None:
    """Return the last submission of a role, or None if there was none.

    Raises:
        UserError: If its file is broken.
    """
    path = epath.Path(folder) / submission_name(role)
    text = file_io.read(path)
    return None if text is None else parse_submission(text, str(path))


def parse_submission(text: bytes, where: str) -> Submission:
    """Parse the content of a submission's file.

    Args:
        text: Content of the file.
        where: Path of the file, for messages.

    Raises:
        UserError: If the content is not a valid submission.
    """
    try:
        fields = from_json(text, where)
        check_fields(fields, _FIELDS, where)
        return Submission(**fields)
    except TypeError as error:
        raise UserError(f"{where} is not a valid submission ({error}); delete it.") from error


class ActiveJob(NamedTuple):
    """Job that has not ended according to its submission.

    Attributes:
        folder: Trial folder.
        submission: Submission recorded there.
    """

    folder: str
    submission: Submission

    def refresh(self) -> ActiveJob:
        """Ask the cloud for the status of the job, record it, and return the updated job.

        Raises:
            UserError: If the cloud does not answer.
            OSError: If the status cannot be recorded.
        """
        cloud = self._cloud()
        resource = self._find_resource(cloud)
        # Without a resource, the launcher was killed before the cloud had received the job.
        status = JobStatus("gone") if resource is None else cloud.status(resource)
        submission = dataclasses.replace(self.submission, resource=resource)
        submission = submission.with_status(status, time.time())
        submission.write(self.folder)
        return self._replace(submission=submission)

    def cancel(self) -> None:
        """Ask the cloud to cancel the job.

        Raises:
            UserError: If the cloud does not answer.
        """
        cloud = self._cloud()
        resource = self._find_resource(cloud)
        if resource is not None:
            cloud.cancel(resource)

    def _cloud(self) -> Provider:
        return create_provider(self.submission.executor, self.submission.place)

    def _find_resource(self, cloud: Provider) -> str | None:
        return self.submission.resource or cloud.find_job(self.submission.name)


def read_active_jobs(workdir: SweepWorkdir) -> list[ActiveJob]:
    """Return the jobs of a sweep's trials that have not ended.

    Raises:
        UserError: If the workdir holds no sweep, or a submission is broken.
    """
    paths = [
        (folder, f"{folder}/{submission_name(role)}")
        for planned in workdir.read_plan().trials
        for folder in [workdir.location(planned.id)] for role in ROLES]
    texts = file_io.read_many([path for _, path in paths])
    found = [
        ActiveJob(folder, parse_submission(text, path))
        for folder, path in paths if (text := texts[path]) is not None]
    return _unended(found)


def refresh_all(jobs: Sequence[ActiveJob]) -> list[ActiveJob]:
    """Refresh jobs in parallel and return them.

    Raises:
        UserError: If a cloud does not answer.
    """
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        return list(pool.map(ActiveJob.refresh, jobs))


def cancel_all(jobs: Sequence[ActiveJob]) -> None:
    """Cancel jobs and wait until they have ended.

    Raises:
        UserError: If a cloud does not answer, or a job does not end.
    """
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        list(pool.map(ActiveJob.cancel, jobs))
    deadline = time.monotonic() + _SECONDS_TO_END
    while left := _unended(refresh_all(jobs)):
        if time.monotonic() > deadline:
            names = ", ".join(
                job.submission.resource or job.submission.name for job in left[:3])
            unended = count_noun(len(left), "cancelled job has", "cancelled jobs have")
            raise UserError(
                f"{unended} not ended after {_SECONDS_TO_END:.0f} s, such as "
                f"{names}; check them there.")
        jobs = left
        time.sleep(_SECONDS_BETWEEN_POLLS)


def cancel_needless(workdir: SweepWorkdir) -> None:
    """Cancel jobs that wait although their trials have finished.

    Raises:
        UserError: If a cloud does not answer, or a file is broken.
    """
    if not workdir.has_plan():
        return
    done = [job for job in read_active_jobs(workdir) if TrialWorkdir(job.folder).is_finished()]
    for job in refresh_all(done):
        if job.submission.state == "queued":
            job.cancel()


def _unended(jobs: Sequence[ActiveJob]) -> list[ActiveJob]:
    return [job for job in jobs if not job.submission.has_ended]

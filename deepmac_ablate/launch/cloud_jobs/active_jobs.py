"""Jobs of a sweep in a cloud that have not ended as far as is noted: asked for, and cancelled."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from deepmac_ablate import storage
from deepmac_ablate.cloud.provider import JobLook, Provider
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import submission
from deepmac_ablate.launch.cloud_jobs.providers import provider
from deepmac_ablate.launch.cloud_jobs.submission import Submission
from deepmac_ablate.launch.supervision.job import ROLES
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir

_AT_A_TIME = 16
# A cloud needs a while between asking a job to end and its end.
_SECONDS_TO_END = 90.0
_SECONDS_BETWEEN_LOOKS = 2.0


class Outstanding(NamedTuple):
    """A job that has not ended, by what is noted in its trial's folder."""

    folder: str
    noted: Submission

    def ask(self) -> Outstanding:
        """Ask its cloud, notes the answer, and return it.

        Raises:
            UserError: If nobody answers.
            OSError: If it cannot be noted.
        """
        cloud = _cloud(self.noted)
        found = dataclasses.replace(
            self.noted, resource=self.noted.resource or cloud.find(self.noted.name))
        # The launcher was killed before the cloud had heard of it.
        look = JobLook("gone") if found.resource is None else cloud.look(found.resource)
        found = found.seen(look, time.time())
        found.write(self.folder)
        return self._replace(noted=found)

    def cancel(self) -> None:
        """Has its cloud end it.

        Raises:
            UserError: If nobody answers.
        """
        cloud = _cloud(self.noted)
        resource = self.noted.resource or cloud.find(self.noted.name)
        if resource is not None:
            cloud.cancel(resource)


def outstanding(workdir: SweepWorkdir) -> list[Outstanding]:
    """Return the jobs that a sweep's trials wait for.

    Raises:
        UserError: If there is no sweep, or a note is broken.
    """
    paths = [
        (folder, f"{folder}/{submission.file_name(role)}")
        for planned in workdir.read_plan().trials
        for folder in [workdir.location(planned.id)] for role in ROLES]
    texts = storage.read_many([path for _, path in paths])
    found = [
        Outstanding(folder, submission.parse(text, path))
        for folder, path in paths if (text := texts[path]) is not None]
    return [it for it in found if not it.noted.has_ended]


def ask(jobs: Sequence[Outstanding]) -> list[Outstanding]:
    """Ask the clouds for news, and return them.

    Raises:
        UserError: If a cloud does not answer.
    """
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(Outstanding.ask, jobs))


def cancel(jobs: Sequence[Outstanding]) -> None:
    """Cancel jobs and wait until they have ended.

    Raises:
        UserError: If a cloud does not answer, or a job goes on.
    """
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(Outstanding.cancel, jobs))
    deadline = time.monotonic() + _SECONDS_TO_END
    while left := [it for it in ask(jobs) if not it.noted.has_ended]:
        if time.monotonic() > deadline:
            names = ", ".join(it.noted.resource or it.noted.name for it in left[:3])
            raise UserError(
                f"{len(left)} jobs have been cancelled but have not ended for "
                f"{_SECONDS_TO_END:.0f} s, such as {names}; look at them in the cloud's console.")
        jobs = left
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _cloud(noted: Submission) -> Provider:
    return provider(noted.executor, noted.place)

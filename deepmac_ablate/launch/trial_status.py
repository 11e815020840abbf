"""What became of a trial, by what its supervisors wrote and by what a cloud said of its jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from deepmac_ablate import storage
from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.job import ROLES

Status = Literal["new", "queued", "running", "finished", "failed", "interrupted"]

# What is read of a trial's folder, before its result is: a trial may finish meanwhile.
FILES = (*map(attempt.state_name, ROLES), *map(active_jobs.submission_name, ROLES))
RESULT = "result.json"


class Standing(NamedTuple):
    """How a trial is doing.

    Attributes:
        status: "finished" where there is a result, whatever else is there; otherwise "running" if
            one of its jobs runs, "failed" if one has failed, "queued" if one waits for a machine in
            a cloud, "interrupted" if there was one, else "new".
        attempt: The one that says so, which is the last to start among equals; None where there was
            none.
        cause: Why it failed, was interrupted or waits, in one sentence; else empty.
    """

    status: Status
    attempt: Attempt | None = None
    cause: str = ""


def of_folder(folder: str | os.PathLike[str]) -> Standing:
    """Say how the trial in a folder is doing, which may not exist.

    Raises:
        UserError: If a file of its is broken.
    """
    folder = os.fspath(folder)
    texts = storage.read_many(f"{folder}/{name}" for name in FILES)
    return of_texts(folder, texts, storage.read_tail(f"{folder}/{RESULT}", 1) is not None)


def of_texts(folder: str, texts: Mapping[str, bytes | None], has_result: bool) -> Standing:
    """Say how a trial is doing whose files were read elsewhere.

    Args:
        folder: The trial's.
        texts: What is in its `FILES`, by path.
        has_result: Whether there is a result.

    Raises:
        UserError: If a file is broken.
    """
    def parts(file_name: Callable[[str], str], parse: Callable[[bytes, str], Any]) -> list[Any]:
        paths = [f"{folder}/{file_name(role)}" for role in ROLES]
        return [parse(text, path) for path in paths if (text := texts[path]) is not None]

    attempts = parts(attempt.state_name, attempt.parse_attempt)
    submissions = parts(active_jobs.submission_name, active_jobs.parse_submission)
    return judge(attempts, submissions, has_result, lambda it: attempt.is_running(folder, it))


def judge(
    attempts: Sequence[Attempt],
    submissions: Sequence[Submission],
    has_result: bool,
    is_running: Callable[[Attempt], bool],
) -> Standing:
    """Say how a trial is doing.

    Args:
        attempts: The last ones of each role, in any order.
        submissions: The same.
        has_result: Whether there is a result.
        is_running: Whether an attempt runs.
    """
    attempts = sorted(attempts, key=lambda it: it.started, reverse=True)
    last = attempts[0] if attempts else None
    if has_result:
        return Standing("finished", last)
    # Of a role at most one attempt and one job are the last; they need not belong together.
    number = {it.role: it.number for it in submissions}
    current = [it for it in attempts if it.submission == number.get(it.role)]
    # A machine that was taken away could not say so, but its cloud has.
    over = {it.role for it in submissions if it.has_ended}
    for it in current:
        if it.role not in over and is_running(it):
            return Standing("running", it)
    for it in current:
        if it.state == "failed":
            return Standing("failed", it, it.cause or "")
    for job in submissions:
        if not job.has_ended:
            return Standing("queued", last, job.message)
    began = {it.role for it in current}
    for job in submissions:
        if job.state in ("failed", "expired") and job.role not in began:
            return Standing("failed", last, job.message)
    failed = [it for it in attempts if it.state == "failed"]
    if failed:
        # What was to try it once more has come to nothing.
        return Standing("failed", failed[0], failed[0].cause or "")
    if last is None:
        return Standing("new")
    said = [job.message for job in submissions if job.role == last.role]
    return Standing("interrupted", last, last.cause or "".join(said))

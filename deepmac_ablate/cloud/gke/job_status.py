"""What a cluster's objects, as its API gives them in JSON, say of a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from deepmac_ablate.cloud.provider import JobLook

# A container's reasons to wait that pass by themselves.
_STARTING = {"ContainerCreating", "PodInitializing"}


def of_job(job: dict[str, Any], pods: Sequence[dict[str, Any]]) -> JobLook:
    """Return how a Job is doing.

    Args:
        job: A `batch/v1` Job.
        pods: All of its pods that are still known.
    """
    conditions = _conditions(job)
    if "Complete" in conditions:
        return JobLook("succeeded")
    if failed := conditions.get("Failed"):
        if _is_deadline(failed):
            return JobLook("expired", _words(failed))
        return JobLook("failed", _joined([_words(failed), _ending(pods)]))
    return _of_unfinished(job, conditions, pods)


def of_jobset(jobset: dict[str, Any], jobs: Iterable[dict[str, Any]],
              pods: Sequence[dict[str, Any]]) -> JobLook:
    """Return how a JobSet is doing.

    Args:
        jobset: A `jobset.x-k8s.io/v1alpha2` JobSet.
        jobs: Its Jobs, which know why they have failed.
        pods: All of their pods that are still known.
    """
    conditions = _conditions(jobset)
    if "Completed" in conditions:
        return JobLook("succeeded")
    if failed := conditions.get("Failed"):
        causes = [it for job in jobs if (it := _conditions(job).get("Failed"))]
        words = [*map(_words, causes), _words(failed)]
        if any(map(_is_deadline, causes)):
            return JobLook("expired", _joined(words))
        return JobLook("failed", _joined([_ending(pods), *words]))
    return _of_unfinished(jobset, conditions, pods)


def _of_unfinished(job: dict[str, Any], conditions: dict[str, dict[str, Any]],
                   pods: Sequence[dict[str, Any]]) -> JobLook:
    """How a Job or JobSet is doing that has neither succeeded nor failed."""
    if "deletionTimestamp" in job["metadata"]:
        return JobLook("running", "it is being deleted")
    if suspended := conditions.get("Suspended"):
        return JobLook("queued", _words(suspended))
    lost = [pod for pod in pods if "DisruptionTarget" in _conditions(pod)]
    live = [pod for pod in pods if pod not in lost and _phase(pod) in ("Pending", "Running")
            and "deletionTimestamp" not in pod["metadata"]]
    waiting = [pod for pod in live if _phase(pod) == "Pending"]
    if live and not waiting:
        return JobLook("running")
    if not live and any(_phase(pod) == "Succeeded" for pod in pods):
        return JobLook("running", "its container has ended")
    # JobSet removes the pods of an attempt together with it, and counts the attempts.
    was_lost = bool(lost) or job.get("status", {}).get("restarts", 0) > 0
    words = [it for pod in waiting if (it := _trouble(pod))] or [
        _words(_conditions(pod)["DisruptionTarget"]) for pod in lost] or [
        f"{it} and will be started again" for it in [_ending(pods)] if it]
    return JobLook("preempted" if was_lost else "queued", words[0] if words else "")


def _conditions(thing: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The conditions of an object that hold, by type."""
    return {it["type"]: it for it in thing.get("status", {}).get("conditions") or ()
            if it["status"] == "True"}


def _phase(pod: dict[str, Any]) -> str:
    return pod.get("status", {}).get("phase", "Pending")


def _is_deadline(condition: dict[str, Any]) -> bool:
    return condition.get("reason") == "DeadlineExceeded"


def _trouble(pod: dict[str, Any]) -> str:
    """Why a pod does not run yet; empty where it is about to."""
    status = pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _words(condition)
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in _STARTING:
            # Such as an image that nobody can pull. It may yet be pushed, so this is no end, but
            # whoever reads it should know that it costs money.
            return f"{_words(waiting)} (its machine is held meanwhile)"
    return ""


def _ending(pods: Iterable[dict[str, Any]]) -> str:
    """How the container ended that failed last; empty where none has."""
    codes = [
        (pod["metadata"].get("creationTimestamp", ""), ended["exitCode"])
        for pod in pods for container in pod.get("status", {}).get("containerStatuses") or ()
        if (ended := container.get("state", {}).get("terminated")) and ended["exitCode"]]
    return f"its container ended with status {max(codes)[1]}" if codes else ""


def _joined(words: Iterable[str]) -> str:
    return "; ".join(filter(None, words))


def _words(said: dict[str, Any]) -> str:
    """A condition's or a state's reason and message in one line."""
    text = ": ".join(it for key in ("reason", "message") if (it := said.get(key)))
    return " ".join(text.split())

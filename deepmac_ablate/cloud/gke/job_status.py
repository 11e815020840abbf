"""Job status derived from the JSON objects of a cluster's API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from deepmac_ablate.cloud.provider import JobStatus

# Normal reasons for which a starting container waits.
_STARTING = {"ContainerCreating", "PodInitializing"}


def read_job_status(job: dict[str, Any], pods: Sequence[dict[str, Any]]) -> JobStatus:
    """Return the status of a Job.

    Args:
        job: Job of `batch/v1`.
        pods: All of its pods that still exist.
    """
    conditions = _conditions(job)
    if "Complete" in conditions:
        return JobStatus("succeeded")
    if failed := conditions.get("Failed"):
        if _is_deadline(failed):
            return JobStatus("expired", _message(failed))
        return JobStatus("failed", _joined([_message(failed), _exit_message(pods)]))
    return _unfinished_status(job, conditions, pods)


def read_jobset_status(jobset: dict[str, Any], jobs: Iterable[dict[str, Any]],
                       pods: Sequence[dict[str, Any]]) -> JobStatus:
    """Return the status of a JobSet.

    Args:
        jobset: JobSet of `jobset.x-k8s.io/v1alpha2`.
        jobs: Its Jobs, which contain the causes of failures.
        pods: All of their pods that still exist.
    """
    conditions = _conditions(jobset)
    if "Completed" in conditions:
        return JobStatus("succeeded")
    if failed := conditions.get("Failed"):
        causes = [cause for job in jobs if (cause := _conditions(job).get("Failed"))]
        messages = [*map(_message, causes), _message(failed)]
        if any(map(_is_deadline, causes)):
            return JobStatus("expired", _joined(messages))
        return JobStatus("failed", _joined([_exit_message(pods), *messages]))
    return _unfinished_status(jobset, conditions, pods)


def _unfinished_status(job: dict[str, Any], conditions: dict[str, dict[str, Any]],
                       pods: Sequence[dict[str, Any]]) -> JobStatus:
    """Return the status of a Job or JobSet that has neither succeeded nor failed."""
    if "deletionTimestamp" in job["metadata"]:
        return JobStatus("running", "being deleted")
    if suspended := conditions.get("Suspended"):
        return JobStatus("queued", _message(suspended))
    lost = [pod for pod in pods if "DisruptionTarget" in _conditions(pod)]
    live = [pod for pod in pods if pod not in lost and _phase(pod) in ("Pending", "Running")
            and "deletionTimestamp" not in pod["metadata"]]
    waiting = [pod for pod in live if _phase(pod) == "Pending"]
    if live and not waiting:
        return JobStatus("running")
    if not live and any(_phase(pod) == "Succeeded" for pod in pods):
        return JobStatus("running", "its container has ended")
    # JobSet removes the pods of a failed attempt, and counts its restarts.
    was_lost = bool(lost) or job.get("status", {}).get("restarts", 0) > 0
    messages = [message for pod in waiting if (message := _waiting_message(pod))] or [
        _message(_conditions(pod)["DisruptionTarget"]) for pod in lost] or [
        f"{message} and will be restarted" for message in [_exit_message(pods)] if message]
    return JobStatus("preempted" if was_lost else "queued", messages[0] if messages else "")


def _conditions(resource: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the conditions of an object that are true, by type."""
    conditions = resource.get("status", {}).get("conditions") or ()
    return {
        condition["type"]: condition for condition in conditions if condition["status"] == "True"}


def _phase(pod: dict[str, Any]) -> str:
    return pod.get("status", {}).get("phase", "Pending")


def _is_deadline(condition: dict[str, Any]) -> bool:
    return condition.get("reason") == "DeadlineExceeded"


def _waiting_message(pod: dict[str, Any]) -> str:
    """Return the reason why a pod does not start; empty if it is starting."""
    status = pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _message(condition)
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in _STARTING:
            # Such as an image that cannot be pulled. It may still be pushed, so the job has not
            # failed, but the user should know that the machine costs money.
            return f"{_message(waiting)} (its machine is reserved and billed in the meantime)"
    return ""


def _exit_message(pods: Iterable[dict[str, Any]]) -> str:
    """Return the exit status of the container that failed last as text; empty if none has."""
    codes = [
        (pod["metadata"].get("creationTimestamp", ""), ended["exitCode"])
        for pod in pods for container in pod.get("status", {}).get("containerStatuses") or ()
        if (ended := container.get("state", {}).get("terminated")) and ended["exitCode"]]
    return f"its container exited with status {max(codes)[1]}" if codes else ""


def _joined(messages: Iterable[str]) -> str:
    return "; ".join(filter(None, messages))


def _message(state: dict[str, Any]) -> str:
    """Return the reason and message of a condition or state in one line."""
    text = ": ".join(part for key in ("reason", "message") if (part := state.get(key)))
    return " ".join(text.split())

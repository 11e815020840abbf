"""Which failed pods are started again, by the exit statuses of `exit_status` and by conditions.

A machine that was taken away costs no retry, however often that happens; a trainer that failed gets
none, as on this machine. The cluster does so by itself, with nobody watching.
"""

from __future__ import annotations

from typing import Any

from deepmac_ablate import exit_status

# Pods follow each other after 10 s, 20 s, 40 s and so on: about ten minutes in all, in which the
# lock of a worker that vanished with its machine expires.
_TRIES_FOR_THE_LOCK = 6
# About five minutes in all, in which a machine that is gone is noticed.
_TRIES_AFTER_A_PEER = 5


def of_single_host() -> dict[str, Any]:
    """Returns the part of a Job's spec for a job of one pod.

    The first rule that matches decides. Mistakes come first: they are mistakes on a machine that is
    being taken away too. Disruptions come before the other exit codes, because a process that is
    killed on the way out may leave with any code. What no rule matches, `TAKEN` alone, counts
    towards `backoffLimit`.
    """
    return {
        "backoffLimit": _TRIES_FOR_THE_LOCK,
        "podFailurePolicy": {"rules": [
            _on_mistakes("FailJob"),
            _on_disruption("Ignore"),
            _on_interruption("Ignore"),
            {"action": "FailJob", "onExitCodes": {
                "operator": "NotIn", "values": [exit_status.TAKEN, exit_status.INTERRUPTED]}},
        ]},
    }


def of_peers() -> dict[str, Any]:
    """Returns the part of the spec of a JobSet's Job, whose pods cannot do without each other.

    A lost pod fails its Job, and the JobSet then starts everything again, see `of_jobset`. JobSet
    is told the reason of a Job's failure, but not the rule. `FailJob` gives the reason
    "PodFailurePolicy", so that it is kept for lost machines; mistakes fail their index instead, of
    which none may fail, and that gives "MaxFailedIndexesExceeded".

    Any other exit code is started again within the Job, a few times: where one machine is gone the
    others' trainers fail for want of it, often before the cluster has noticed what was the cause.
    """
    return {
        "backoffLimitPerIndex": _TRIES_AFTER_A_PEER,
        "maxFailedIndexes": 0,
        "podFailurePolicy": {"rules": [
            _on_mistakes("FailIndex"),
            _on_disruption("FailJob"),
            _on_interruption("FailJob"),
        ]},
    }


def of_jobset() -> dict[str, Any]:
    """Returns the `failurePolicy` of a JobSet of such Jobs.

    If several Jobs have failed, the first rule that matches any of them decides: a lost machine
    explains what else went wrong.
    """
    return {
        "maxRestarts": 0,
        "rules": [
            {"name": "machineLost", "action": "RestartJobSetAndIgnoreMaxRestarts",
             "onJobFailureReasons": ["PodFailurePolicy"]},
            {"name": "anythingElse", "action": "FailJobSet"},
        ],
    }


def _on_mistakes(action: str) -> dict[str, Any]:
    """What another attempt would only repeat."""
    return {"action": action, "onExitCodes": {
        "operator": "In", "values": [exit_status.USER_ERROR, exit_status.DIVERGED]}}


def _on_disruption(action: str) -> dict[str, Any]:
    """The kubelet, the scheduler and the autoscaler say so of what they end, for any reason."""
    return {"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _on_interruption(action: str) -> dict[str, Any]:
    """A worker that was asked to end, by whomever, and left a checkpoint."""
    return {"action": action, "onExitCodes": {
        "operator": "In", "values": [exit_status.INTERRUPTED]}}

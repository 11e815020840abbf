"""Jobs, JobSets and pods in memory, which end according to the policies in their manifests.

It handles failed pods like the controllers of Jobs and JobSets (KEP-3329 and KEP-3850 of
Kubernetes, KEP-262 of JobSet), so that tests can check the effect of a manifest.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
JOBSET_NAME = "jobset.sigs.k8s.io/jobset-name"
REPLICATED_JOB = "jobset.sigs.k8s.io/replicatedjob-name"
NOW = "2026-11-22T12:00:00Z"

Object = dict[str, Any]
Hook = Callable[[str, Object], None]


class Cluster:
    """Objects of a namespace; every method may be called from any thread.

    Jobs and JobSets have unique names.

    Attributes:
        on_create: is called with the kind and the object of every Job, JobSet and Pod that comes
            to be, children and replacements included; a Pod's spec is what a container is started
            with. Whoever runs pods answers with `pod_runs` and `pod_exits`.
        on_delete: is called when they are to go. As long as it is None pods go at once; otherwise
            a pod that was running stays until `pod_exits`, as if between SIGTERM and its end.
        objects: by kind and name.
    """

    def __init__(self) -> None:
        self.on_create: Hook | None = None
        self.on_delete: Hook | None = None
        self.objects: dict[tuple[str, str], Object] = {}
        self.lock = threading.RLock()
        self._suffixes = itertools.count()
        self._plays: dict[str, Iterator[Any]] = {}

    # What tests say.

    def play(self, name: str, states: Sequence[str | tuple[str, Object]]) -> None:
        """Move a job to the next of some states each time it is read.

        Args:
            name: Name of a Job or JobSet.
            states: States as in `set_state`, alone or with further arguments of it, such as
                `("failed", {"code": 2})`.
        """
        self._plays[name] = iter([(it, {}) if isinstance(it, str) else it for it in states])

    def set_state(self, name: str, state: str, *, message: str = "", code: int = 1) -> None:
        """Put a job, with all of its pods, into a state.

        Args:
            name: Name of a Job or JobSet.
            state: "pending"; "unschedulable" or "image", with a message; "suspended"; "running";
                "preempted" (the first pod's machine is taken away); "succeeded"; "failed" (its
                first pod ends with a code); "expired"; "deleted" (by somebody else).
            message: Message that replaces the usual one.
            code: Exit code of the pod.
        """
        with self.lock:
            if state == "deleted":
                self.delete(self._kind(name), name, "Background")
            elif state == "suspended":
                self._suspend(name)
            elif state == "expired":
                self._fail_job(self._driving(name), "DeadlineExceeded",
                               "Job was active longer than specified deadline")
            elif state == "running":
                for pod in self._each_pod(name):
                    self.pod_runs(pod["metadata"]["name"])
            elif state == "succeeded":
                for pod in self.pods(self._driving(name)["metadata"]["name"]):
                    self.pod_exits(pod["metadata"]["name"], 0)
            elif state == "failed":
                self.exits(name, code)
            elif state == "preempted":
                self.exits(name, 75, disrupted=True)
            else:
                for pod in self._each_pod(name):
                    pod["status"] = _waiting(state, message)

    def exits(self, name: str, code: int, *, role: str | None = None, index: int = 0,
              disrupted: bool = False) -> None:
        """End one pod of a job.

        Args:
            name: Name of a Job or JobSet.
            code: Exit code of the pod.
            role: Replicated job of a JobSet; by default the one that decides its success.
            index: Index of the pod.
            disrupted: Whether its machine was preempted.
        """
        with self.lock:
            job = (self.objects["Job", f"{name}-{role}-0"] if role else self._driving(name))
            self.pod_exits(self.pods(job["metadata"]["name"])[index]["metadata"]["name"], code,
                           disrupted=disrupted)

    def pod_runs(self, name: str) -> None:
        """Record the start of a pod's container, if the pod still exists."""
        with self.lock:
            if (pod := self.objects.get(("Pod", name))) is None:
                return
            pod["status"] = {"phase": "Running", "containerStatuses": [
                _container({"running": {"startedAt": NOW}}, ready=True)]}
            self._create_dependents(pod["metadata"]["labels"].get(JOBSET_NAME))

    def pod_exits(self, name: str, code: int, *, disrupted: bool = False) -> None:
        """Record the end of a pod's container, if the pod still exists, and its consequences."""
        with self.lock:
            if (pod := self.objects.get(("Pod", name))) is None:
                return
            pod["status"] = {
                "phase": "Failed" if code else "Succeeded",
                "conditions": [{"type": "DisruptionTarget", "status": "True",
                                "reason": "TerminationByKubelet", "lastTransitionTime": NOW,
                                "message": "Pod was terminated in response to imminent node "
                                           "shutdown."}] if disrupted else [],
                "containerStatuses": [_container({"terminated": {
                    "exitCode": code, "reason": "Error" if code else "Completed",
                    "startedAt": NOW, "finishedAt": NOW}})]}
            job = self.objects.get(("Job", pod["metadata"]["labels"][JOB_NAME]))
            if pod["metadata"].get("deletionTimestamp"):
                del self.objects["Pod", name]
                self._collect()
            elif job and not _condition(job, "Failed", "Complete"):
                self._follow(job, pod)

    def pods(self, job: str) -> list[Object]:
        """Return the pods of a Job that have not ended, by index."""
        return sorted(
            (it for (kind, _), it in self.objects.items() if kind == "Pod"
             and it["metadata"]["labels"][JOB_NAME] == job
             and it["status"]["phase"] in ("Pending", "Running")
             and "deletionTimestamp" not in it["metadata"]),
            key=lambda it: int(it["metadata"]["labels"].get(INDEX, 0)))

    # What the API server asks.

    def look(self, kind: str, name: str) -> Object | None:
        """Return a job, after moving it to its next scripted state, if any."""
        if (states := self._plays.get(name)) and (step := next(states, None)):
            state, details = step
            self.set_state(name, state, **details)
        return self.objects.get((kind, name))

    def find(self, kind: str, labels: dict[str, str]) -> list[Object]:
        """Return the objects of a kind that have all of some labels."""
        return [it for (its, _), it in self.objects.items() if its == kind
                and labels.items() <= it["metadata"].get("labels", {}).items()]

    def create(self, body: Object) -> Object:
        """Create a Job or a JobSet, and the objects that its controller creates."""
        made = copy.deepcopy(body)
        made["metadata"] |= {"creationTimestamp": NOW, "uid": f"uid-{next(self._suffixes)}"}
        name = made["metadata"]["name"]
        made["status"] = {"restarts": 0} if made["kind"] == "JobSet" else {"startTime": NOW}
        self.objects[made["kind"], name] = made
        if self.on_create:
            self.on_create(made["kind"], made)
        if made["kind"] == "JobSet":
            self._create_dependents(name)
        else:
            for index in range(made["spec"].get("parallelism", 1)):
                self._create_pod(made, index)
        return made

    def delete(self, kind: str, name: str, propagation: str | None) -> None:
        """Delete a job, and its children if the propagation policy says so."""
        gone = self.objects[kind, name]
        if propagation == "Foreground":
            gone["metadata"]["deletionTimestamp"] = NOW
        else:
            del self.objects[kind, name]
        if self.on_delete:
            self.on_delete(kind, gone)
        if propagation in ("Foreground", "Background"):
            for child in self._children(kind, name):
                if child["kind"] == "Job":
                    self.delete("Job", child["metadata"]["name"], propagation)
                else:
                    self._delete_pod(child)
        self._collect()

    # What controllers do.

    def _follow(self, job: Object, pod: Object) -> None:
        """Act as the Job controller when a pod has ended."""
        spec, status = job["spec"], job["status"]
        if pod["status"]["phase"] == "Succeeded":
            status["succeeded"] = status.get("succeeded", 0) + 1
            if status["succeeded"] >= spec.get("completions", 1):
                self._end_job(job, "Complete", "CompletionsReached", "Reached expected number")
            return
        index = int(pod["metadata"]["labels"].get(INDEX, 0))
        action, message = _action(spec, pod)
        if action == "FailJob":
            self._fail_job(job, "PodFailurePolicy", message)
            return
        if action != "Ignore":
            status["failed"] = status.get("failed", 0) + 1
            counts = pod["metadata"]["annotations"]
            failures = int(counts["batch.kubernetes.io/job-index-failure-count"]) + 1
            per_index = spec.get("backoffLimitPerIndex")
            if per_index is None and status["failed"] > spec.get("backoffLimit", 6):
                self._fail_job(job, "BackoffLimitExceeded",
                               "Job has reached the specified backoff limit")
                return
            if per_index is not None and (action == "FailIndex" or failures > per_index):
                # One is enough: every job here allows none.
                assert spec["maxFailedIndexes"] == 0
                self._fail_job(job, "MaxFailedIndexesExceeded",
                               "Job has exceeded the specified maximal number of failed indexes")
                return
            self._create_pod(job, index, failures)
            return
        self._create_pod(job, index)

    def _fail_job(self, job: Object, reason: str, message: str) -> None:
        self._end_job(job, "Failed", reason, message)

    def _end_job(self, job: Object, kind: str, reason: str, message: str) -> None:
        job["status"].setdefault("conditions", []).append(_made(kind, reason, message))
        for pod in self.pods(job["metadata"]["name"]):
            self._delete_pod(pod)
        owner = job["metadata"].get("labels", {}).get(JOBSET_NAME)
        if owner is not None:
            self._follow_child(self.objects["JobSet", owner], job, kind, reason)

    def _follow_child(self, jobset: Object, job: Object, kind: str, reason: str) -> None:
        """Act as the JobSet controller when one of its Jobs has ended."""
        role, name = job["metadata"]["labels"][REPLICATED_JOB], jobset["metadata"]["name"]
        if kind == "Complete":
            targets = jobset["spec"].get("successPolicy", {}).get("targetReplicatedJobs") or [
                it["name"] for it in jobset["spec"]["replicatedJobs"]]
            jobs = [self.objects.get(("Job", f"{name}-{it}-0")) for it in targets]
            if all(it and _condition(it, "Complete") for it in jobs):
                self._end_jobset(jobset, "Completed", "AllJobsCompleted",
                                 "jobset completed successfully")
            return
        policy = jobset["spec"].get("failurePolicy", {})
        action = next(
            (rule["action"] for rule in policy.get("rules", ())
             if reason in (rule.get("onJobFailureReasons") or [reason])
             and role in (rule.get("targetReplicatedJobs") or [role])), "RestartJobSet")
        counted = jobset["status"].get("restartsCountTowardsMax", 0)
        first = f"(first failed job: {job['metadata']['name']})"
        if not policy or action == "FailJobSet":
            self._end_jobset(jobset, "Failed", "FailJobSetFailurePolicyAction",
                             f"applying FailJobSet failure policy action {first}")
        elif action == "RestartJobSet" and counted >= policy.get("maxRestarts", 0):
            self._end_jobset(jobset, "Failed", "ReachedMaxRestarts",
                             f"jobset failed due to reaching max number of restarts {first}")
        else:
            jobset["status"]["restarts"] += 1
            if action == "RestartJobSet":
                jobset["status"]["restartsCountTowardsMax"] = counted + 1
            # The next attempt begins when all pods of this one have ended.
            for child in self._children("JobSet", name):
                self.delete("Job", child["metadata"]["name"], "Foreground")

    def _end_jobset(self, jobset: Object, kind: str, reason: str, message: str) -> None:
        jobset["status"].setdefault("conditions", []).append(_made(kind, reason, message))
        jobset["status"]["terminalState"] = kind
        for child in self._children("JobSet", jobset["metadata"]["name"]):
            if not _condition(child, "Failed", "Complete"):
                self.delete("Job", child["metadata"]["name"], "Background")

    def _create_dependents(self, name: str | None) -> None:
        """Create the missing Jobs of a JobSet that wait for no other Job."""
        jobset = self.objects.get(("JobSet", name))
        if (jobset is None or "deletionTimestamp" in jobset["metadata"]
                or _condition(jobset, "Completed", "Failed", "Suspended")):
            return
        for part in jobset["spec"]["replicatedJobs"]:
            job = f"{name}-{part['name']}-0"
            needed = [f"{name}-{it['name']}-0" for it in part.get("dependsOn", ())]
            if ("Job", job) in self.objects or not all(map(self._is_ready, needed)):
                continue
            template = copy.deepcopy(part["template"])
            metadata = template.get("metadata", {})
            labels = {JOBSET_NAME: name, REPLICATED_JOB: part["name"]}
            metadata["name"] = job
            metadata["labels"] = metadata.get("labels", {}) | labels
            inner = template["spec"]["template"].setdefault("metadata", {})
            inner["labels"] = inner.get("labels", {}) | labels
            self.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
                         "spec": template["spec"]})

    def _is_ready(self, job: str) -> bool:
        pods = self.pods(job)
        return bool(pods) and all(it["status"]["phase"] == "Running" for it in pods)

    def _create_pod(self, job: Object, index: int, failures: int = 0) -> None:
        spec = copy.deepcopy(job["spec"]["template"]["spec"])
        metadata = copy.deepcopy(job["spec"]["template"].get("metadata", {}))
        name = job["metadata"]["name"]
        metadata["labels"] = metadata.get("labels", {}) | {JOB_NAME: name, "job-name": name}
        metadata["annotations"] = metadata.get("annotations", {}) | {
            "batch.kubernetes.io/job-index-failure-count": str(failures)}
        if job["spec"].get("completionMode") == "Indexed":
            name = f"{name}-{index}"
            metadata["labels"][INDEX] = str(index)
            for container in spec["containers"]:
                container.setdefault("env", []).append(
                    {"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        metadata["name"] = f"{name}-{next(self._suffixes):05d}"
        metadata["creationTimestamp"] = NOW
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
               "status": {"phase": "Pending"}}
        self.objects["Pod", metadata["name"]] = pod
        if self.on_create:
            self.on_create("Pod", pod)

    def _delete_pod(self, pod: Object) -> None:
        if self.on_delete and pod["status"]["phase"] == "Running":
            pod["metadata"]["deletionTimestamp"] = NOW
            self.on_delete("Pod", pod)
        else:
            del self.objects["Pod", pod["metadata"]["name"]]

    def _collect(self) -> None:
        """Remove objects that are deleted in the foreground and have no children any more."""
        for kind in ("Job", "JobSet"):
            for name in [n for k, n in self.objects if k == kind]:
                if ("deletionTimestamp" in self.objects[kind, name]["metadata"]
                        and not self._children(kind, name)):
                    del self.objects[kind, name]
        for name in [n for k, n in self.objects if k == "JobSet"]:
            self._create_dependents(name)

    def _children(self, kind: str, name: str) -> list[Object]:
        if kind == "JobSet":
            return self.find("Job", {JOBSET_NAME: name})
        return self.find("Pod", {JOB_NAME: name})

    def _suspend(self, name: str) -> None:
        kind = self._kind(name)
        its, reason = ("JobSet", "SuspendedJobs") if kind == "JobSet" else ("Job", "JobSuspended")
        self.objects[kind, name]["status"].setdefault("conditions", []).append(
            _made("Suspended", reason, f"{its} suspended"))
        for pod in list(self._each_pod(name)):
            del self.objects["Pod", pod["metadata"]["name"]]

    def _kind(self, name: str) -> str:
        return "JobSet" if ("JobSet", name) in self.objects else "Job"

    def _driving(self, name: str) -> Object:
        """Return the Job whose end is that of the JobSet."""
        if self._kind(name) == "Job":
            return self.objects["Job", name]
        return self.objects["Job", f"{name}-{self._last_role(name)}-0"]

    def _last_role(self, name: str) -> str:
        return self.objects["JobSet", name]["spec"]["replicatedJobs"][-1]["name"]

    def _each_pod(self, name: str) -> Iterator[Object]:
        """Yield the pods of a Job or JobSet, including those created meanwhile."""
        if self._kind(name) == "Job":
            yield from self.pods(name)
            return
        for part in self.objects["JobSet", name]["spec"]["replicatedJobs"]:
            yield from self.pods(f"{name}-{part['name']}-0")


def _action(spec: Object, pod: Object) -> tuple[str, str]:
    """Return a podFailurePolicy's action for a failed pod, and the message if it fails the Job."""
    code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
    conditions = {(it["type"], it["status"]) for it in pod["status"]["conditions"]}
    name = f"pod default/{pod['metadata']['name']}"
    for at, rule in enumerate(spec.get("podFailurePolicy", {}).get("rules", ())):
        codes = rule.get("onExitCodes")
        if codes and (code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"], (f"Container worker for {name} failed with exit code {code} "
                                    f"matching {rule['action']} rule at index {at}")
        for pattern in rule.get("onPodConditions", ()):
            if (pattern["type"], pattern.get("status", "True")) in conditions:
                return rule["action"], (f"Pod {name} has condition {pattern['type']} matching "
                                        f"{rule['action']} rule at index {at}")
    return "Count", ""


def _waiting(state: str, message: str) -> Object:
    """Return the status of a pod that does not run yet."""
    if state == "unschedulable":
        return {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "lastTransitionTime": NOW,
             "message": message or "0/3 nodes are available: 3 Insufficient google.com/tpu."}]}
    if state == "image":
        return {"phase": "Pending", "containerStatuses": [_container({"waiting": {
            "reason": "ImagePullBackOff", "message": message or "Back-off pulling image"}})]}
    assert state == "pending", state
    return {"phase": "Pending"}


def _container(state: Object, ready: bool = False) -> Object:
    return {"name": "worker", "image": "i", "imageID": "", "ready": ready, "restartCount": 0,
            "state": state}


def _made(kind: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": NOW}


def _condition(job: Object, *kinds: str) -> bool:
    return any(it["type"] in kinds for it in job["status"].get("conditions", ()))

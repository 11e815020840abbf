"""Published schemas of Kubernetes and JobSet, and their rules beyond the schemas."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

_FOLDER = f"kubernetes-json-schema/v{kubernetes_validate.latest_version()}-local-strict"
_FILES = {"Job": "job-batch-v1.json", "Pod": "pod-v1.json"}
_JOBSET = Path(__file__).parents[1] / "golden" / "jobset_schema.json"
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_REASONS = {"BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes",
            "MaxFailedIndexesExceeded", "PodFailurePolicy"}


def errors(body: dict[str, Any]) -> list[str]:
    """Return why an API server would refuse a Job, a JobSet or a Pod; empty if it would accept it.

    Beyond the schemas these are the rules of `validation.go` of Kubernetes for Jobs, and of
    `jobset_webhook.go` of JobSet, for the features that this project uses.
    """
    found = [f"{error.json_path[2:] or 'it'}: {error.message}"
             for error in _validator(body["kind"]).iter_errors(body)]
    if found:
        return found
    found += _name_errors("metadata.name", body["metadata"].get("name", ""))
    found += _label_errors(body["metadata"])
    if body["kind"] == "Job":
        found += _job_errors(body["spec"])
    if body["kind"] == "JobSet":
        found += _jobset_errors(body["metadata"]["name"], body["spec"])
    return found


@functools.cache
def _validator(kind: str) -> Draft202012Validator:
    """Return a validator for the newest schema of a kind, in which unknown fields are errors."""
    version = kubernetes_validate.latest_version()
    definitions = Resource.from_contents(schema_contents(f"{_FOLDER}/_definitions.json", version))
    schema = (json.loads(_JOBSET.read_text()) if kind == "JobSet"
              else schema_contents(f"{_FOLDER}/{_FILES[kind]}", version))
    return Draft202012Validator(schema, registry=definitions @ Registry())


def _name_errors(where: str, name: str) -> Iterator[str]:
    if not _LABEL.fullmatch(name):
        yield f"{where}: Invalid value: {name!r}: a DNS-1035 label of at most 63 characters"


def _label_errors(metadata: dict[str, Any]) -> Iterator[str]:
    for key, value in metadata.get("labels", {}).items():
        name = key.rpartition("/")[2]
        if not name or not _LABEL_VALUE.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            yield f"metadata.labels: Invalid value: {key}: {value!r}"


def _job_errors(spec: dict[str, Any]) -> Iterator[str]:
    template = spec["template"]
    yield from _label_errors(template.get("metadata", {}))
    policy = spec.get("podFailurePolicy")
    if template["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
        yield "spec.template.spec.restartPolicy: Required value: valid values: OnFailure, Never"
    if policy and template["spec"]["restartPolicy"] != "Never":
        yield "spec.template.spec.restartPolicy: only Never is supported with podFailurePolicy"
    indexed = spec.get("completionMode") == "Indexed"
    if indexed and "completions" not in spec:
        yield "spec.completions: Required value: when completion mode is Indexed"
    if "backoffLimitPerIndex" in spec and not indexed:
        yield "spec.backoffLimitPerIndex: requires indexed completion mode"
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        yield "spec.maxFailedIndexes: when it is set, backoffLimitPerIndex must be"
    for at, rule in enumerate((policy or {}).get("rules", ())):
        where = f"spec.podFailurePolicy.rules[{at}]"
        if rule["action"] not in ("FailJob", "FailIndex", "Ignore", "Count"):
            yield f"{where}.action: Unsupported value: {rule['action']}"
        if rule["action"] == "FailIndex" and "backoffLimitPerIndex" not in spec:
            yield f"{where}.action: FailIndex requires backoffLimitPerIndex"
        if ("onExitCodes" in rule) == ("onPodConditions" in rule):
            yield f"{where}: specifying one of onExitCodes and onPodConditions is required"
        if codes := rule.get("onExitCodes"):
            if codes["values"] != sorted(set(codes["values"])) or not codes["values"]:
                yield f"{where}.onExitCodes.values: must be ordered and without duplicates"
            if codes["operator"] == "In" and 0 in codes["values"]:
                yield f"{where}.onExitCodes.values: must not be 0 for the In operator"


def _jobset_errors(name: str, spec: dict[str, Any]) -> Iterator[str]:
    jobs = [job["name"] for job in spec["replicatedJobs"]]
    for at, job in enumerate(spec["replicatedJobs"]):
        inner = job["template"]["spec"]
        last = inner.get("completions", 1) - 1
        pod = f"{name}-{job['name']}-{job.get('replicas', 1) - 1}-{last}-abcde"
        yield from _name_errors("pod names generated for this JobSet", pod)
        yield from _job_errors(inner)
        for dependency in job.get("dependsOn", ()):
            if dependency["name"] not in jobs[:at]:
                yield f"replicatedJob: {job['name']} cannot depend on {dependency['name']}"
    for target in spec.get("successPolicy", {}).get("targetReplicatedJobs", ()):
        if target not in jobs:
            yield f"invalid replicatedJob name {target!r} in success policy"
    for rule in spec.get("failurePolicy", {}).get("rules", ()):
        for reason in set(rule.get("onJobFailureReasons", ())) - _REASONS:
            yield f"invalid job failure reason {reason!r} in failure policy"
        for target in set(rule.get("targetReplicatedJobs", ())) - set(jobs):
            yield f"invalid replicatedJob name {target!r} in failure policy"

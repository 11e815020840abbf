"""Job template: the common part of a launch's jobs, which makes the request for each of them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.sweep.plan import Plan, PlannedTrial

# With id, digits of the workdir, role and number, a name then has at most 40 characters.
_MAX_SLUG_LENGTH = 16
_MAX_LABEL_LENGTH = 63


@dataclasses.dataclass(frozen=True)
class JobTemplate:
    """Job without its trial.

    Attributes:
        executor: "vertex" or "gke".
        place: Keyword arguments of the cloud's client, see `active_jobs.create_provider`.
        workdir: Workdir of the sweep, on ``gs://``.
        image: Container image.
        devices: Devices by role of the job.
        options: Options of the jobs.
        code: Folder of the code snapshot.
        env: Further environment variables.
        secrets: References to secrets by environment variable.
        spot: Whether to use spot machines, which may be preempted.
        service_account: Service account of the jobs; None for the cloud's default.
        hours: Time limit of a job in hours.
    """

    executor: str
    place: Mapping[str, Any]
    workdir: str
    image: str
    devices: Mapping[str, Device]
    options: JobOptions
    code: str
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spot: bool = False
    service_account: str | None = None
    hours: float = 168.0

    def request(self, plan: Plan, planned: PlannedTrial, role: str, number: int) -> JobRequest:
        """Return the request for one job.

        Args:
            plan: Plan that contains the trial.
            planned: Trial.
            role: "train" or "eval".
            number: Number of the submission.
        """
        device, options = self.devices[role], self.options
        runtime = [
            word for binding in runtime_bindings(device) for word in ("--runtime", binding)]
        folder = f"{self.workdir}/trials/{planned.id}"
        args = (
            "worker", "--workdir", folder, "--role", role,
            "--mode", options.modes()[role], "--tracking", options.tracking, "--code", self.code,
            *runtime, "--silence-limit", f"{options.silence_limit:g}",
            "--grace", f"{options.grace:g}", *(["--check"] if options.check else []))
        labels = {
            "sweep": plan.name, "arm": planned.trial.arm, "seed": str(planned.trial.seed),
            "trial": planned.id, "role": role}
        return JobRequest(
            name=self._job_name(plan.name, planned.id, role, number), image=self.image, args=args,
            device=device, env=self.env, secrets=self.secrets,
            labels={name: _to_label(value) for name, value in labels.items()}, spot=self.spot,
            service_account=self.service_account, hours=self.hours, grace=options.grace,
            end_notice=f"{folder}/.{role}-end.tmp")

    def _job_name(self, sweep: str, trial_id: str, role: str, number: int) -> str:
        """Return a name that is unique among the jobs of all workdirs."""
        slug = re.sub("[^a-z0-9]+", "-", sweep.lower()).strip("-")[:_MAX_SLUG_LENGTH].rstrip("-")
        slug = slug if slug[:1].isalpha() else f"s{slug}"[:_MAX_SLUG_LENGTH]
        workdir = hashlib.sha256(self.workdir.encode()).hexdigest()[:4]
        return f"{slug}-{trial_id}-{workdir}-{role[0]}{number}"


def runtime_bindings(device: Device) -> list[str]:
    """Return the bindings of `Runtime` that a trainer needs to use a device."""
    if device.kind == "tpu":
        return ["Runtime.strategy = 'tpu'"]
    if device.hosts > 1:
        return ["Runtime.strategy = 'multi_worker_mirrored'"]
    return ["Runtime.strategy = 'mirrored'"] if device.replicas > 1 else []


def _to_label(value: str) -> str:
    return re.sub("[^a-z0-9_-]+", "-", value.lower())[:_MAX_LABEL_LENGTH].strip("-_")

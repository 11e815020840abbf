"""What the jobs of a launch have in common, and the request for one of them."""

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

# With the id, what tells workdirs apart, role and number, a name has 40 characters at most.
_LONGEST_SLUG = 16
_LONGEST_LABEL = 63


@dataclasses.dataclass(frozen=True)
class JobTemplate:
    """A job without its trial.

    Attributes:
        executor: "vertex" or "gke".
        place: What that is asked with, see `providers`.
        workdir: Of the sweep, on ``gs://``.
        image: As in `JobRequest`, and so all that follow but `devices`, `code` and `options`.
        devices: What jobs run on, by their role.
        options: What jobs are like.
        code: Where the gin files and the user's modules are that trials are made of.
        env: Further variables.
        secrets: References to secrets.
        spot: Whether machines may be taken away.
        service_account: Whose rights jobs have.
        hours: After which they are ended.
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
        """Return what to ask for.

        Args:
            plan: Of the trial.
            planned: The trial.
            role: "train" or "eval".
            number: Of the submission.
        """
        device, options = self.devices[role], self.options
        runtime = [word for it in runtime_bindings(device) for word in ("--runtime", it)]
        args = (
            "worker", "--workdir", f"{self.workdir}/trials/{planned.id}", "--role", role,
            "--mode", options.modes()[role], "--tracking", options.tracking, "--code", self.code,
            *runtime, "--silence_limit", f"{options.silence_limit:g}",
            "--grace", f"{options.grace:g}")
        labels = {
            "sweep": plan.name, "arm": planned.trial.arm, "seed": str(planned.trial.seed),
            "trial": planned.id, "role": role}
        return JobRequest(
            name=self._name(plan.name, planned.id, role, number), image=self.image, args=args,
            device=device, env=self.env, secrets=self.secrets,
            labels={name: _label(value) for name, value in labels.items()}, spot=self.spot,
            service_account=self.service_account, hours=self.hours, grace=options.grace)

    def _name(self, sweep: str, trial_id: str, role: str, number: int) -> str:
        """Return a name that no job of another workdir has."""
        slug = re.sub("[^a-z0-9]+", "-", sweep.lower()).strip("-")[:_LONGEST_SLUG].rstrip("-")
        slug = slug if slug[:1].isalpha() else f"s{slug}"[:_LONGEST_SLUG]
        place = hashlib.sha256(self.workdir.encode()).hexdigest()[:4]
        return f"{slug}-{trial_id}-{place}-{role[0]}{number}"


def runtime_bindings(device: Device) -> list[str]:
    """Return how a trainer has to be told to use a device."""
    if device.kind == "tpu":
        return ["Runtime.strategy = 'tpu'"]
    if device.hosts > 1:
        return ["Runtime.strategy = 'multi_worker_mirrored'"]
    return ["Runtime.strategy = 'mirrored'"] if device.replicas > 1 else []


def _label(value: str) -> str:
    return re.sub("[^a-z0-9_-]+", "-", value.lower())[:_LONGEST_LABEL].strip("-_")

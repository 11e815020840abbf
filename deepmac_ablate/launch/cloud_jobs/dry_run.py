"""What a launch into a cloud would send, without sending it; no credentials are needed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import submission
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.cloud_jobs.providers import provider
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.plan import Plan, PlannedTrial


class _Asked(NamedTuple):
    """A trial that would be launched, with the numbers of its submissions by role."""

    planned: PlannedTrial
    numbers: dict[str, int]


class DryRun:
    """The requests of a launch.

    Args:
        plan: What would be launched.
        workdir: Where to.
        template: What the jobs are like.
        retry_failed: As in `LaunchOptions`.

    Attributes:
        note: What is to be known about them, in one sentence; empty where there is nothing.
    """

    def __init__(
        self, plan: Plan, workdir: SweepWorkdir, template: JobTemplate, retry_failed: bool
    ) -> None:
        self._plan = plan
        self._template = template
        self._provider = provider(template.executor, template.place)
        self.note = ""
        try:
            self._asked = list(self._missing(workdir, retry_failed))
        except (OSError, UserError) as error:
            self.note = (
                "The workdir cannot be read, so that these are the requests of all trials. "
                f"({error})")
            self._asked = [
                _Asked(it, dict.fromkeys(template.options.modes(), 1)) for it in plan.trials]

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield what would be sent, in the order in which it would be.

        Raises:
            UserError: If the cloud has no such job.
        """
        for planned, numbers in self._asked:
            for role, number in numbers.items():
                request = self._template.request(self._plan, planned, role, number)
                yield {
                    "trial": planned.id, "arm": planned.trial.arm, "seed": planned.trial.seed,
                    "role": role, "body": self._provider.render(request)}

    def as_json(self) -> str:
        """Return the requests with where they would go."""
        template = self._template
        content = {
            "executor": template.executor, "place": dict(template.place),
            "devices": {role: dataclasses.asdict(it) for role, it in template.devices.items()},
            "requests": list(self.requests())}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def as_yaml(self) -> str:
        """Return the bodies of the requests, for people and for kubectl."""
        return yaml.safe_dump_all(
            [it["body"] for it in self.requests()], sort_keys=False, explicit_start=True)

    def _missing(self, workdir: SweepWorkdir, retry_failed: bool) -> Iterator[_Asked]:
        """Yield what a launch would submit; what is at work in the cloud is only followed."""
        there = {"finished", "queued", "running"} | (set() if retry_failed else {"failed"})
        rows = StatusReader(workdir, self._plan).read_rows()
        for planned, row in zip(self._plan.trials, rows, strict=True):
            if row.status not in there:
                folder = workdir.location(planned.id)
                yield _Asked(planned, {
                    role: last.number + 1 if (last := submission.read(folder, role)) else 1
                    for role in self._template.options.modes()})

"""Dry run of a launch into a cloud or on Slurm: its exact requests, without credentials."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs.active_jobs import create_provider, read_submission
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.plan import Plan, PlannedTrial


class _PendingTrial(NamedTuple):
    """Trial that would be launched, with the numbers of its submissions by role."""

    planned: PlannedTrial
    numbers: dict[str, int]


class DryRun:
    """Requests that a launch would send.

    Args:
        plan: Plan of the sweep.
        workdir: Workdir of the sweep.
        template: Common part of the jobs.
        retry_failed: Whether trials that failed before are launched again.

    Attributes:
        note: Remark on the requests in one or two sentences; may be empty.
    """

    def __init__(
        self, plan: Plan, workdir: SweepWorkdir, template: JobTemplate, retry_failed: bool
    ) -> None:
        self._plan = plan
        self._template = template
        self._provider = create_provider(template.executor, template.place)
        self.note = ""
        try:
            self._pending = list(self._missing(workdir, retry_failed))
        except (OSError, UserError) as error:
            self.note = (
                "The workdir cannot be read, so these are the requests of all trials. "
                f"({error})")
            self._pending = [
                _PendingTrial(planned, dict.fromkeys(template.options.modes(), 1))
                for planned in plan.trials]

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield the requests with their trials, in the order of sending.

        Raises:
            UserError: If the cloud does not support such a job.
        """
        for planned, numbers in self._pending:
            for role, number in numbers.items():
                request = self._template.request(self._plan, planned, role, number)
                yield {
                    "trial": planned.id, "arm": planned.trial.arm, "seed": planned.trial.seed,
                    "role": role, "body": self._provider.render(request)}

    def as_json(self) -> str:
        """Return the requests and their destination as JSON."""
        template = self._template
        content = {
            "executor": template.executor, "place": dict(template.place),
            "devices": {
                role: dataclasses.asdict(device) for role, device in template.devices.items()},
            "requests": list(self.requests())}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def as_text(self) -> str:
        """Return the bodies of the requests as YAML, for people and for kubectl, or the scripts."""
        bodies = [request["body"] for request in self.requests()]
        if self._template.executor == "slurm":
            return "\n".join(body["script"] for body in bodies)
        return yaml.safe_dump_all(bodies, sort_keys=False, explicit_start=True)

    def _missing(self, workdir: SweepWorkdir, retry_failed: bool) -> Iterator[_PendingTrial]:
        """Yield the trials that a launch would submit, without those that are active already."""
        skipped = {"finished", "queued", "running"} | (set() if retry_failed else {"failed"})
        rows = StatusReader(workdir, self._plan).read_rows()
        for planned, row in zip(self._plan.trials, rows, strict=True):
            if row.status not in skipped:
                folder = workdir.location(planned.id)
                yield _PendingTrial(planned, {
                    role: last.number + 1 if (last := read_submission(folder, role)) else 1
                    for role in self._template.options.modes()})

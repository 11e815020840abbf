"""Requests for Slurm jobs, and the template that makes them for the trials of a launch."""

from __future__ import annotations

import dataclasses
import time

from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.slurm.settings import SlurmSettings
from deepmac_ablate.sweep.plan import Plan, PlannedTrial


@dataclasses.dataclass(frozen=True)
class SlurmRequest(JobRequest):
    """Request for one Slurm job, see `JobRequest`.

    Attributes:
        settings: Settings of all jobs of the launch.
        workdir: Absolute path of the sweep's workdir.
        folder: Absolute path of the trial's folder.
        output: File of the job's own output, in a folder that must exist.
        launch_folder: Working directory of the job.
    """

    settings: SlurmSettings = dataclasses.field(default_factory=SlurmSettings)
    workdir: str = ""
    folder: str = ""
    output: str = ""
    launch_folder: str = ""


@dataclasses.dataclass(frozen=True)
class SlurmTemplate(JobTemplate):
    """Slurm job without its trial, see `JobTemplate`; the workdir is an absolute path.

    Attributes:
        settings: Settings of all jobs.
        launch_folder: Folder of the launch, from which relative paths of datasets begin.
        launched: Unix time of the launch in seconds, a part of the names of its jobs: Slurm may
            remember those of a deleted workdir of the same path.
    """

    settings: SlurmSettings = dataclasses.field(default_factory=SlurmSettings)
    launch_folder: str = ""
    launched: float = dataclasses.field(default_factory=time.time)

    def request(self, plan: Plan, planned: PlannedTrial, role: str, number: int) -> SlurmRequest:
        """Return the request for one job, see `JobTemplate.request`."""
        job = super().request(plan, planned, role, number)
        folder = f"{self.workdir}/trials/{planned.id}"
        settings = self.settings
        if role == "eval":
            # It reads checkpoints on one device, whatever writes them.
            settings = settings.for_evaluation()
        fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
        return SlurmRequest(**{
            **fields, "name": f"{job.name}-{self.launched:.0f}", "settings": settings,
            "workdir": self.workdir, "folder": folder, "launch_folder": self.launch_folder,
            "output": f"{folder}/logs/slurm-{role}-{number}.out"})

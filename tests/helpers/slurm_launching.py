"""Launch sweeps of fake trials as Slurm jobs, in this process or in one that can be killed.

::

    python -m tests.helpers.slurm_launching PLAN WORKDIR OPTIONS
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from deepmac_ablate.launch.cloud_jobs.code_snapshot import CodeSnapshot
from deepmac_ablate.launch.cloud_jobs.executor import CloudExecutor
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.launcher import Launch, LaunchOptions
from deepmac_ablate.launch.slurm import client, programs
from deepmac_ablate.launch.slurm.job import SlurmTemplate
from deepmac_ablate.launch.slurm.settings import parse_settings
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.device_request import own_machines
from deepmac_ablate.sweep.plan import Plan
from tests.helpers.launching import ROOT
from tests.helpers.slurm_cluster import Cluster

# Worker with the fake trainer in place of the real one; strict, as prologues may be.
PROLOGUE = (
    f"set -euo pipefail\ndeepmac_ablate=({shlex.quote(sys.executable)} -m tests.fakes.container)\n")


def template(
    workdir: Path, slurm: tuple[str, ...] = (), gpus: int | None = None, prologue: str = PROLOGUE,
    **options: Any,
) -> SlurmTemplate:
    """Return the template of the jobs; further options as in `JobOptions`."""
    settings = parse_settings(slurm, gpus)._replace(prologue=prologue)
    device = own_machines(settings.gpus, settings.nodes)
    return SlurmTemplate(
        "slurm", {"cluster": programs.read_cluster_name(), "user": programs.current_user()},
        str(workdir), "", {"train": device, "eval": own_machines(0)},
        JobOptions(**{"grace": 8.0, **options}), CodeSnapshot(()).folder(workdir),
        settings=settings, launch_folder=str(ROOT))


def launch(
    a_plan: Plan, workdir: Path, max_parallel: int = 4, retry_failed: bool = False, **options: Any
) -> Launch:
    """Launch in this process and return once the launch has ended."""
    client.SECONDS_FRESH = 0.2
    files = SweepWorkdir(workdir)
    executor = CloudExecutor(
        template(workdir, **options), files, CodeSnapshot(()), poll_seconds=0.3)
    job = Launch(a_plan, files, executor, LaunchOptions(max_parallel, retry_failed))
    job.run()
    return job


def start(cluster: Cluster, a_plan: Plan, workdir: Path, **options: Any) -> subprocess.Popen:
    """Start a launcher in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.slurm_launching", json.dumps(a_plan.to_json()),
         str(workdir), json.dumps(options)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **cluster.variables},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


if __name__ == "__main__":
    content, where, chosen = sys.argv[1:]
    job = launch(Plan.from_json(json.loads(content)), Path(where), **json.loads(chosen))
    print(job.stop_reason)

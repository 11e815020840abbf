"""Whole clouds on this machine: a store, Vertex AI or a cluster, and machines that run jobs.

As a program it launches a plan into one whose servers another process has::

    python -m tests.cloud.clouds EXECUTOR PLAN OPTIONS
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from deepmac_ablate.cloud import devices
from deepmac_ablate.sweep.cloud_executor import CloudExecutor
from deepmac_ablate.sweep.code_snapshot import Snapshot
from deepmac_ablate.sweep.executor import JobOptions
from deepmac_ablate.sweep.job_template import JobTemplate
from deepmac_ablate.sweep.launch import Launch, Options
from deepmac_ablate.sweep.observer import Observer
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir
from tests.cloud import kubernetes_server, vertex_server
from tests.cloud.gcs_server import GcsServer
from tests.cloud.machines import ROOT, Machines

WORKDIR = "gs://bucket/w"
CONTAINER = [sys.executable, "-m", "tests.cloud.container"]
_PLACES = {
    "gke": {"namespace": "default", "context": "here"},
    "vertex": {"project": "p", "region": "us-central1"}}
_DEVICES = {"gke": "v5e-4", "vertex": "v5e-4"}


class Cloud(NamedTuple):
    """One cloud.

    Attributes:
        executor: "gke" or "vertex".
        store: What is on ``gs://``.
        service: The server that plays it.
        machines: What runs its jobs.
        environment: With which programs find it.
    """

    executor: str
    store: GcsServer
    service: Any
    machines: Machines
    environment: dict[str, str]

    @property
    def place(self) -> dict[str, str]:
        """As `providers.provider` takes it."""
        return _PLACES[self.executor]


@contextlib.contextmanager
def serving(executor: str, folder: Path) -> Iterator[Cloud]:
    """Makes a cloud that lasts as long as the context."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(GcsServer("bucket"))
        environment = store.environment()
        if executor == "gke":
            service = stack.enter_context(kubernetes_server.serving())
            environment["KUBECONFIG"] = str(service.write_kubeconfig(folder))
        else:
            service = stack.enter_context(vertex_server.serving())
            environment[vertex_server.VARIABLE] = service.url
        machines = Machines(CONTAINER, environment, folder)
        stack.callback(machines.close)
        if executor == "gke":
            machines.serve_kubernetes(service.cluster)
        else:
            machines.serve_vertex(service)
        yield Cloud(executor, store, service, machines, environment)


def launch(executor: str, a_plan: Plan, **options: Any) -> Launch:
    """Launches a plan into the cloud of this process's environment, until all is over."""
    choice = Options(options.pop("max_parallel", 4), options.pop("retry_failed", False))
    workdir, jobs = SweepWorkdir(WORKDIR), JobOptions(grace=10.0, **options)
    snapshot = Snapshot(())
    device = devices.device(_DEVICES[executor])
    template = JobTemplate(
        executor, _PLACES[executor], WORKDIR, "example/ablate:1",
        {"train": device, "eval": devices.device("v5e-1")}, jobs, snapshot.folder(WORKDIR))
    job = Launch(
        a_plan, workdir, CloudExecutor(template, workdir, snapshot, seconds_between_looks=0.3),
        choice)
    job.run()
    return job


def start(cloud: Cloud, a_plan: Plan, **options: Any) -> subprocess.Popen:
    """Starts a launcher in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cloud.clouds", cloud.executor,
         json.dumps(a_plan.to_json()), json.dumps(options)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **cloud.environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def statuses(a_plan: Plan) -> dict[str, str]:
    """What became of the trials, by id."""
    return {row.id: row.status for row in Observer(SweepWorkdir(WORKDIR), a_plan).rows()}


def starts(cloud: Cloud, trial_id: str) -> int:
    """How often a trial's trainer was started."""
    return cloud.store.objects.get(f"bucket/w/trials/{trial_id}/starts.jsonl", b"").count(b"\n")


if __name__ == "__main__":
    place, content, chosen = sys.argv[1:]
    said = launch(place, Plan.from_json(json.loads(content)), **json.loads(chosen)).stopped
    print(said)

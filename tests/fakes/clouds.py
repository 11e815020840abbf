"""Simulated clouds: a store, Vertex AI or a cluster, and machines that run jobs.

As a program it launches a plan into a cloud whose servers run in another process::

    python -m tests.fakes.clouds EXECUTOR PLAN OPTIONS
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import json_format

from deepmac_ablate.cloud import devices
from deepmac_ablate.launch.cloud_jobs.code_snapshot import CodeSnapshot
from deepmac_ablate.launch.cloud_jobs.dry_run import DryRun
from deepmac_ablate.launch.cloud_jobs.executor import CloudExecutor
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.launcher import Launch, LaunchOptions
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.plan import Plan
from tests.fakes import kubernetes_server, secret_server, vertex_rules, vertex_server
from tests.fakes.gcs_server import GcsServer
from tests.fakes.machines import ROOT, Machines

WORKDIR = "gs://bucket/w"
IMAGE = [sys.executable, "-m", "deepmac_ablate.cli"]
CONTAINER = [sys.executable, "-m", "tests.fakes.container"]
_PLACES = {
    "gke": {"namespace": "default", "context": "here"},
    "vertex": {"project": "p", "region": "us-central1"}}
# Only trainers may see it.
SECRET = "5f0c1d2e3b4a59687786a5b4c3d2e1f00f1e2d3c"


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


@contextlib.contextmanager
def serving(executor: str, folder: Path, real: bool = False) -> Iterator[Cloud]:
    """Make a cloud that lasts as long as the context.

    Args:
        executor: "gke" or "vertex".
        folder: For its files.
        real: Whether its containers run what the images do, whose TensorFlow finds the store too.
    """
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(GcsServer("bucket"))
        environment = store.environment()
        if executor == "gke":
            service = stack.enter_context(kubernetes_server.serving())
            environment["KUBECONFIG"] = str(service.write_kubeconfig(folder))
        else:
            service = stack.enter_context(vertex_server.serving())
            environment[vertex_server.VARIABLE] = service.url
            secrets = stack.enter_context(secret_server.serving())
            secrets.add("projects/p/secrets/wandb", SECRET.encode())
            environment[secret_server.VARIABLE] = secrets.url
        containers = {**environment, **store.tensorflow_environment()} if real else environment
        machines = Machines(
            IMAGE if real else CONTAINER, containers, folder, {"wandb/key": SECRET})
        stack.callback(machines.close)
        if executor == "gke":
            machines.serve_kubernetes(service.cluster)
        else:
            machines.serve_vertex(service)
        yield Cloud(executor, store, service, machines, environment)


def template(executor: str, **options: Any) -> JobTemplate:
    """Return the template of the jobs; options as in `JobOptions`."""
    return JobTemplate(
        executor, _PLACES[executor], WORKDIR, "example/ablate:1",
        {"train": devices.get_device("v5e-4"), "eval": devices.get_device("v5e-1")},
        JobOptions(grace=10.0, **options), CodeSnapshot(()).folder(WORKDIR),
        secrets={"WANDB_API_KEY": {"gke": "wandb/key", "vertex": "wandb"}[executor]})


def launch(executor: str, a_plan: Plan, **options: Any) -> Launch:
    """Launch a plan into the cloud of this process's environment, until all is over."""
    choice = LaunchOptions(options.pop("max_parallel", 4), options.pop("retry_failed", False))
    workdir = SweepWorkdir(WORKDIR)
    where = CloudExecutor(
        template(executor, **options), workdir, CodeSnapshot(()), poll_seconds=0.3)
    job = Launch(a_plan, workdir, where, choice)
    job.run()
    return job


def dry_run(executor: str, a_plan: Plan) -> DryRun:
    """Return the dry run of `launch`."""
    return DryRun(a_plan, SweepWorkdir(WORKDIR), template(executor), retry_failed=False)


def start(cloud: Cloud, a_plan: Plan, **options: Any) -> subprocess.Popen:
    """Start a launcher in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.clouds", cloud.executor,
         json.dumps(a_plan.to_json()), json.dumps(options)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **cloud.environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def sent(cloud: Cloud) -> list[str]:
    """Return the bodies of the requests that created jobs."""
    bodies = cloud.service.sent if cloud.executor == "gke" else cloud.service.bodies
    return sorted(canonical(cloud, body) for body in bodies)


def canonical(cloud: Cloud, body: dict[str, Any] | str) -> str:
    """Return a body in canonical form, as protobuf has several spellings."""
    if cloud.executor == "gke":
        return json.dumps(body, sort_keys=True)
    message = vertex_rules.parse(body if isinstance(body, str) else json.dumps(body))
    return json_format.MessageToJson(message, sort_keys=True)


def refuse(cloud: Cloud, status: int, message: str) -> None:
    """Make the cloud refuse the next job."""
    if cloud.executor == "gke":
        cloud.service.refuse(status, message, method="POST")
    else:
        cloud.service.refuse("create", status, message=message)


def disturb(cloud: Cloud) -> None:
    """Make the next requests to the store and the service fail."""
    cloud.store.fail(503, times=20)
    cloud.store.fail("drop", times=10)
    if cloud.executor == "gke":
        cloud.service.refuse(503, times=3, method="GET")
    else:
        cloud.service.refuse("get", 503, 503, 503)


def units(cloud: Cloud) -> list[tuple[str, int, int]]:
    """Return XManager's experiments: titles, and the numbers of work units and jobs."""
    database = sqlite3.connect(Path(SweepWorkdir(WORKDIR).xmanager, "experiments.sqlite3"))
    return database.execute(
        "SELECT experiment_title, (SELECT count(*) FROM work_unit), (SELECT count(*) FROM job) "
        "FROM experiment").fetchall()


def statuses(a_plan: Plan) -> dict[str, str]:
    """Return the status of each trial by id."""
    return {row.id: row.status for row in StatusReader(SweepWorkdir(WORKDIR), a_plan).read_rows()}


def starts(cloud: Cloud, trial_id: str) -> int:
    """Return how often a trial's trainer was started."""
    return cloud.store.objects.get(f"bucket/w/trials/{trial_id}/starts.jsonl", b"").count(b"\n")


if __name__ == "__main__":
    place, content, chosen = sys.argv[1:]
    said = launch(place, Plan.from_json(json.loads(content)), **json.loads(chosen)).stop_reason
    print(said)

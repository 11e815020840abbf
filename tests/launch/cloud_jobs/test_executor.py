"""Sweeps launched into clouds on this machine: real clients, real workers, every kind of end."""

from __future__ import annotations

import json
import os
import signal

import pytest
import yaml

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import stop
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from tests.fakes import clouds
from tests.helpers import launching
from tests.helpers.supervised import wait_until

pytestmark = pytest.mark.slow  # Each worker and each client takes seconds to be imported.

METRICS = "bucket/w/trials/t0/metrics.jsonl"


@pytest.fixture(params=["gke", pytest.param("vertex", marks=pytest.mark.extended)])
def cloud(request, tmp_path, monkeypatch):
    """A cloud that this process finds, too."""
    with clouds.serving(request.param, tmp_path) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("WANDB_API_KEY", clouds.SECRET)
        yield served


def test_trials_finish_or_fail_and_a_second_launch_submits_only_what_is_missing(cloud, tmp_path):
    """The workdir records each outcome and cause, and a relaunch submits only the rest."""
    mended = tmp_path / "mended"
    a_plan = launching.plan((), ("end = fail shapes (3, 4) do not fit", f"unless = {mended}"))
    job = clouds.launch(cloud.executor, a_plan)
    rows = {row.id: row for row in job.status_reader.read_rows()}
    assert ["finished", "failed"] == [rows[it].status for it in ("t0", "t1")]
    assert "ValueError: shapes (3, 4) do not fit" == rows["t1"].cause
    log = cloud.store.objects["bucket/w/trials/t1/logs/train-1.log"]
    assert b"step 2 of 3" in log
    assert b"do not fit" in log

    assert [] == clouds.launch(cloud.executor, a_plan).pending
    mended.touch()
    clouds.launch(cloud.executor, a_plan, retry_failed=True)
    assert {"t0": "finished", "t1": "finished"} == clouds.statuses(a_plan)
    assert [1, 2] == [clouds.starts(cloud, it) for it in ("t0", "t1")]


@pytest.mark.extended
@pytest.mark.parametrize("grace", [True, False])
def test_a_preempted_trial_goes_on_from_its_checkpoint(cloud, grace):
    """A trial continues after a preemption with or without warning, on both clouds."""
    a_plan = launching.plan(("steps = 40", "seconds = 0.1"))
    process = clouds.start(cloud, a_plan)
    wait_until(lambda: b"\n" in cloud.store.objects.get(METRICS, b""), 60)
    [name] = cloud.machines.running()
    cloud.machines.take_away(name, grace)
    out, err = process.communicate(timeout=200)
    assert (0, "\n") == (process.returncode, out), err
    assert {"t0": "finished"} == clouds.statuses(a_plan)
    assert 2 == clouds.starts(cloud, "t0")
    steps = [json.loads(it)["step"] for it in cloud.store.objects[METRICS].splitlines()]
    assert [*range(1, 41)] == sorted(set(steps))
    # With a warning nothing is done twice.
    assert not grace or 40 == len(steps)


@pytest.mark.extended
def test_jobs_outlive_their_launcher_and_the_next_one_takes_them_up(cloud):
    """Jobs of a killed launcher continue, and the next launcher follows them without a restart."""
    a_plan = launching.plan(("steps = 60", "seconds = 0.1"), ())
    process = clouds.start(cloud, a_plan, max_parallel=1)
    wait_until(lambda: b"\n" in cloud.store.objects.get(METRICS, b""), 60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert {"t0": "running", "t1": "new"} == clouds.statuses(a_plan)
    # Its lock would hold for a minute and a half.
    del cloud.store.objects["bucket/w/launcher.lock"]
    clouds.launch(cloud.executor, a_plan)
    assert {"t0": "finished", "t1": "finished"} == clouds.statuses(a_plan)
    assert [1, 1] == [clouds.starts(cloud, it) for it in ("t0", "t1")]


@pytest.mark.extended
def test_a_sweep_is_stopped_from_anywhere_and_goes_on_later(cloud):
    """`stop` lets jobs save and end, and the launcher starts no more."""
    a_plan = launching.plan(("steps = 60", "seconds = 0.1"), ())
    process = clouds.start(cloud, a_plan, max_parallel=1)
    wait_until(lambda: b"\n" in cloud.store.objects.get(METRICS, b""), 60)
    workdir = SweepWorkdir(clouds.WORKDIR)
    assert f"A launcher is running: process {process.pid} on" in stop.describe_launcher(workdir)
    assert "Stopped 1 job. Launch again to resume." == stop.stop_sweep(workdir)
    out, err = process.communicate(timeout=60)
    assert out.strip(), err
    assert [] == cloud.machines.running()
    assert {"t0": "interrupted", "t1": "new"} == clouds.statuses(a_plan)
    assert "No job is running." == stop.stop_sweep(workdir)
    clouds.launch(cloud.executor, a_plan)
    assert {"t0": "finished", "t1": "finished"} == clouds.statuses(a_plan)
    assert [2, 1] == [clouds.starts(cloud, it) for it in ("t0", "t1")]


@pytest.mark.extended
def test_an_evaluation_job_runs_on_a_device_of_its_own(cloud):
    """A trial has two jobs in one work unit, and the evaluator is cancelled if training fails."""
    a_plan = launching.plan((), ("end = fail no more memory",))
    job = clouds.launch(cloud.executor, a_plan, eval_job=True)
    assert ["finished", "failed"] == [row.status for row in job.status_reader.read_rows()]
    assert [] == cloud.machines.running()
    noted = json.loads(cloud.store.objects["bucket/w/trials/t1/submission-eval.json"])
    assert ("v5e-1", True) == (noted["device"], noted["state"] in ("cancelled", "gone"))
    assert clouds.units(cloud) == [("fakes", 2, 4)]


def test_what_is_sent_is_what_a_dry_run_prints_and_a_key_is_in_none_of_it(cloud):
    """Requests equal those of the dry run, and the key reaches the trainer only."""
    a_plan = launching.plan(("steps = 2",), ("steps = 2", "name = 'it''s $(HOME)'"))
    dry_run = clouds.dry_run(cloud.executor, a_plan)
    shown = sorted(clouds.canonical(cloud, it["body"]) for it in dry_run.requests())
    clouds.launch(cloud.executor, a_plan)
    assert shown == clouds.sent(cloud)
    assert "Runtime.strategy = 'tpu'" in shown[0]
    assert b"the key is ***" in cloud.store.objects["bucket/w/trials/t0/logs/train-1.log"]
    everything = "".join(clouds.sent(cloud)).encode() + b"".join(cloud.store.objects.values())
    assert clouds.SECRET.encode() not in everything


def test_a_refusal_is_reported_and_stops_the_launch(cloud):
    """A refusal is reported in the cloud's own words with the trial, and ends the launch."""
    clouds.refuse(cloud, 403, "quota of tpus exceeded for you")
    job = clouds.launch(cloud.executor, launching.plan((), ()))
    assert job.stop_reason.startswith("Trial t0 could not be started: ")
    assert "quota of tpus exceeded for you" in job.stop_reason
    assert {"t0": "queued", "t1": "new"} == clouds.statuses(launching.plan((), ()))


@pytest.mark.extended
def test_a_second_launcher_is_refused(cloud):
    """A second launcher waits for a sign of life of the first, and then names it."""
    a_plan = launching.plan(("steps = 400", "seconds = 0.1"))
    process = clouds.start(cloud, a_plan)
    wait_until(lambda: b"\n" in cloud.store.objects.get(METRICS, b""), 60)
    named = rf"in use by a launcher of jobs on \S+ \(pid {process.pid} of"
    with pytest.raises(UserError, match=named):
        clouds.launch(cloud.executor, a_plan)
    stop.stop_sweep(SweepWorkdir(clouds.WORKDIR))
    process.communicate(timeout=60)


@pytest.mark.extended
def test_a_network_that_fails_for_a_while_ends_nothing(cloud):
    """Launcher and trainer survive failures of the network, and the trial is started once."""
    a_plan = launching.plan(("steps = 30", "seconds = 0.1"))
    process = clouds.start(cloud, a_plan)
    wait_until(lambda: b"\n" in cloud.store.objects.get(METRICS, b""), 60)
    clouds.disturb(cloud)
    out, err = process.communicate(timeout=200)
    assert (0, "\n") == (process.returncode, out), err
    assert ({"t0": "finished"}, 1) == (clouds.statuses(a_plan), clouds.starts(cloud, "t0"))


def test_a_dry_run_needs_no_rights(cloud):
    """A dry run without access to the workdir prints the requests of all trials, with a note."""
    a_plan = launching.plan((), ())
    cloud.store.fail(401, times=1000)
    shown = clouds.dry_run(cloud.executor, a_plan)
    assert shown.note.startswith("The workdir cannot be read, so these are the requests of")
    assert ["t0", "t1"] == [it["trial"] for it in json.loads(shown.as_json())["requests"]]
    assert [it["body"] for it in shown.requests()] == list(yaml.safe_load_all(shown.as_text()))

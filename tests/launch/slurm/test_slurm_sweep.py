"""Sweeps as jobs of a real Slurm of two nodes on this machine; only the trainer is a fake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import logs, stop
from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.cloud_jobs.dry_run import DryRun
from deepmac_ablate.launch.slurm import client, programs
from deepmac_ablate.launch.status_rows import status_summary
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from tests.helpers import launching, slurm_cluster, slurm_launching
from tests.helpers.supervised import wait_until

pytestmark = pytest.mark.slow  # Each job imports a worker.

SECRET = "5f0c1d2e3b4a59687786a5b4c3d2e1f00f1e2d3c"


# Writes what it was told; the chief waits for the other node before it finishes the trial.
TELLING_TRAINER = """
import json, os, sys, time
from pathlib import Path
folder, node = Path(sys.argv[1]), os.environ["SLURMD_NODENAME"]
told = [os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "TF_CONFIG")]
(folder / f"{node}.tmp").write_text(json.dumps([*told, *sys.argv[4:]]))
(folder / f"{node}.tmp").rename(folder / node)
while not all((folder / each).exists() for each in ("n1", "n2")):
    time.sleep(0.05)
if os.environ["SLURM_PROCID"] == "0":
    (folder / "result.json").write_text(json.dumps({"step": 1}))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that this process finds, too."""
    with (slurm_cluster.serving(tmp_path_factory.mktemp("slurm") / "c") as served,
          pytest.MonkeyPatch.context() as patch):
        patch.setenv("SLURM_CONF", served.variables["SLURM_CONF"])
        patch.setenv("PYTHONPATH", str(launching.ROOT))
        programs.read_cluster_name.cache_clear()
        yield served


def steps(workdir: Path, trial: str = "t0") -> list[int]:
    """Steps in the order of a trial's metrics."""
    path = workdir / "trials" / trial / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines]


def submission(workdir: Path, trial: str = "t0") -> active_jobs.Submission:
    """The last submission of a trial."""
    return active_jobs.read_submission(workdir / "trials" / trial, "train")


def test_trials_finish_or_fail_and_a_second_launch_submits_only_what_is_missing(cluster, tmp_path):
    """The folder tells each outcome and cause, in a workdir whose name needs quoting."""
    workdir, mended = tmp_path / "a 'sweep' of 50% $(touch x)", tmp_path / "mended"
    a_plan = launching.plan((), ("end = fail shapes (3, 4) do not fit", f"unless = {mended}"))
    job = slurm_launching.launch(a_plan, workdir)
    rows = {row.id: row for row in job.status_reader.read_rows()}
    assert ["finished", "failed"] == [rows[trial].status for trial in ("t0", "t1")]
    assert "ValueError: shapes (3, 4) do not fit" == rows["t1"].cause
    # What the job itself printed is kept as well.
    assert "do not fit" in (workdir / "trials/t1/logs/slurm-train-1.out").read_text()

    assert [] == slurm_launching.launch(a_plan, workdir).pending
    mended.touch()
    slurm_launching.launch(a_plan, workdir, retry_failed=True)
    assert {"t0": "finished", "t1": "finished"} == launching.statuses(a_plan, workdir)
    assert [1, 2] == [launching.starts(workdir, trial) for trial in ("t0", "t1")]
    assert [] == cluster.processes()


def test_a_preempted_trial_goes_on_in_the_same_job(cluster, tmp_path):
    """It saves, the job requeues itself, and no step is done twice."""
    a_plan = launching.plan(("steps = 80", "seconds = 0.1"))
    launcher = slurm_launching.start(cluster, a_plan, tmp_path, gpus=2)
    wait_until(lambda: steps(tmp_path), 60)
    cluster.ask("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null",
                "--wrap=sleep 1")
    wait_until(lambda: launching.statuses(a_plan, tmp_path) == {"t0": "queued"}, 30)
    reader = StatusReader(SweepWorkdir(tmp_path), a_plan)
    wait_until(lambda: "is pending: BeginTime" in reader.read_rows()[0].cause, 30)
    assert "1 queued: Slurm job " in status_summary(reader.read_rows())
    out, err = launcher.communicate(timeout=120)
    assert (0, "\n") == (launcher.returncode, out), err
    assert ([*range(1, 81)], 2) == (steps(tmp_path), launching.starts(tmp_path, "t0"))
    assert 1 == submission(tmp_path).number


@pytest.mark.extended
def test_where_jobs_may_not_be_requeued_the_launcher_submits_another(cluster, tmp_path):
    """No step is done twice there, either."""
    a_plan = launching.plan(("steps = 80", "seconds = 0.1"))
    launcher = slurm_launching.start(cluster, a_plan, tmp_path, gpus=2, slurm=["no-requeue"])
    wait_until(lambda: steps(tmp_path), 60)
    cluster.ask("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null",
                "--wrap=sleep 1")
    out, err = launcher.communicate(timeout=120)
    assert (0, "\n") == (launcher.returncode, out), err
    assert ([*range(1, 81)], 2) == (steps(tmp_path), submission(tmp_path).number)


def test_jobs_outlive_their_launcher_and_none_is_submitted_twice(cluster, tmp_path):
    """The next launcher takes a job up, by its name if the first was killed before it knew more."""
    a_plan = launching.plan(("steps = 50", "seconds = 0.1"), ())
    launcher = slurm_launching.start(cluster, a_plan, tmp_path, max_parallel=1)
    wait_until(lambda: steps(tmp_path), 60)
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.communicate()
    assert {"t0": "running", "t1": "new"} == launching.statuses(a_plan, tmp_path)
    path = tmp_path / "trials/t0/submission-train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "resource": None}))
    slurm_launching.launch(a_plan, tmp_path)
    assert {"t0": "finished", "t1": "finished"} == launching.statuses(a_plan, tmp_path)
    assert [1, 1] == [launching.starts(tmp_path, trial) for trial in ("t0", "t1")]
    assert 1 == submission(tmp_path).number


def test_a_sweep_is_stopped_from_anywhere_and_goes_on_later(cluster, tmp_path):
    """`stop` lets jobs save; a cancelled job does not come back by itself."""
    a_plan = launching.plan(("steps = 40", "seconds = 0.1"), ())
    launcher = slurm_launching.start(cluster, a_plan, tmp_path, max_parallel=1)
    wait_until(lambda: steps(tmp_path), 60)
    workdir = SweepWorkdir(tmp_path)
    assert f"A launcher is running: process {launcher.pid} on" in stop.describe_launcher(workdir)
    assert "Stopped 1 job. Launch again to resume." == stop.stop_sweep(workdir)
    launcher.communicate(timeout=60)
    assert {"t0": "interrupted", "t1": "new"} == launching.statuses(a_plan, tmp_path)
    assert [] == cluster.processes()
    assert stop.NO_LAUNCHER == stop.stop_sweep(workdir)
    slurm_launching.launch(a_plan, tmp_path)
    assert {"t0": "finished", "t1": "finished"} == launching.statuses(a_plan, tmp_path)
    assert ([*range(1, 41)], 2) == (steps(tmp_path), submission(tmp_path).number)


def test_what_slurm_runs_is_what_a_dry_run_prints_and_no_secret_is_in_it(
    cluster, tmp_path, monkeypatch
):
    """Neither in the script nor in the environment that Slurm stores nor in a log."""
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    a_plan = launching.plan(("steps = 2",))
    prologue = f"{slurm_launching.PROLOGUE}env > {tmp_path}/environment\n"
    options = {"slurm": ("comment=\"it's\" 50% # \\ x", "mem=100M"), "prologue": prologue}
    template = slurm_launching.template(tmp_path / "w", **options)
    [shown] = DryRun(a_plan, SweepWorkdir(tmp_path / "w"), template, False).requests()
    slurm_launching.launch(a_plan, tmp_path / "w", **options)
    number, _, name = submission(tmp_path / "w").resource.partition("/")
    sent = cluster.ask("scontrol", "write", "batch_script", number, "-")
    name_of_dry_run = name.replace(name.rpartition("-")[2], f"{template.launched:.0f}")
    assert shown["body"]["script"].replace(name_of_dry_run, name).strip() == sent.strip()
    record = cluster.ask("scontrol", "show", "job", number)
    assert "Comment=\"it's\" 50% # \\ x" in record
    environment = (tmp_path / "environment").read_text()
    assert "PYTHONPATH=" in environment
    assert "WANDB_API_KEY" not in environment
    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in text for text in [sent.encode(), *everything])
    assert SECRET.encode() not in b"".join(
        path.read_bytes() for path in cluster.root.rglob("*") if path.is_file())


def test_each_trial_has_its_gpus_and_several_nodes_know_one_another(cluster, tmp_path):
    """Slurm shares GPUs out; on two nodes TF_CONFIG names both, and the first one is the chief."""
    (tmp_path / "told.py").write_text(TELLING_TRAINER)
    prologue = (
        f"deepmac_ablate=({sys.executable} -c 'import sys; from tests.helpers import working; "
        f"sys.exit(working.main(open(\"{tmp_path}/told.py\").read(), *sys.argv[2:]))')\n")
    a_plan = launching.plan(())
    slurm_launching.launch(
        a_plan, tmp_path / "w", slurm=("nodes=2",), gpus=4, prologue=prologue)
    found = {}
    for node in slurm_cluster.NODES:
        devices, cluster_of, *runtime = json.loads((tmp_path / "w/trials/t0" / node).read_text())
        found[node] = json.loads(cluster_of)
        assert ("0,1", ["Runtime.strategy = 'multi_worker_mirrored'"]) == (devices, runtime)
    hosts = found["n1"]["cluster"]["worker"]
    assert found["n1"]["cluster"] == found["n2"]["cluster"]
    assert ["127.0.0.1", "127.0.0.1"] == [host.partition(":")[0] for host in hosts]
    assert 2 == len(set(hosts))
    assert [0, 1] == [found[node]["task"]["index"] for node in slurm_cluster.NODES]
    # Its folder has the log and the state of the chief alone.
    assert (tmp_path / "w/trials/t0/logs/train-1.log").exists()


@pytest.mark.extended
def test_a_trial_longer_than_the_time_limit_takes_several_jobs(cluster, tmp_path):
    """The trainer saves in time, and no step is lost."""
    a_plan = launching.plan(("steps = 160", "seconds = 0.5"))
    slurm_launching.launch(a_plan, tmp_path, slurm=("time=1",))
    assert {"t0": "finished"} == launching.statuses(a_plan, tmp_path)
    assert [*range(1, 161)] == steps(tmp_path)
    assert launching.starts(tmp_path, "t0") >= 2


@pytest.mark.extended
@pytest.mark.parametrize("seconds", [0.0, 8.0])
def test_a_controller_that_is_away_costs_nothing(cluster, tmp_path, seconds):
    """Killed right after the submission it loses what it knew; later it knows the job again."""
    a_plan = launching.plan(("steps = 120", "seconds = 0.1"), ())
    launcher = slurm_launching.start(cluster, a_plan, tmp_path)
    wait_until(lambda: steps(tmp_path), 60)
    time.sleep(seconds)
    cluster.kill("slurmctld")
    try:
        with pytest.raises(UserError, match="Slurm does not answer: "):
            client.Slurm().find_job("x")
    finally:
        cluster.start("slurmctld")
    out, err = launcher.communicate(timeout=180)
    cluster.resume_nodes()
    assert (0, "\n") == (launcher.returncode, out), err
    assert {"t0": "finished", "t1": "finished"} == launching.statuses(a_plan, tmp_path)
    assert set(range(1, 121)) == set(steps(tmp_path))
    assert launching.starts(tmp_path, "t0") == 1 or seconds == 0.0


@pytest.mark.extended
def test_a_node_that_crashes_loses_the_steps_since_its_checkpoint_at_most(cluster, tmp_path):
    """Its job goes on on the other node."""
    a_plan = launching.plan(("steps = 100", "seconds = 0.1"))
    launcher = slurm_launching.start(cluster, a_plan, tmp_path)
    wait_until(lambda: steps(tmp_path), 60)
    job = submission(tmp_path).resource.split("/")[0]
    [node] = cluster.ask("squeue", "--noheader", f"--jobs={job}", "--format=%N").split()
    cluster.crash(node)
    try:
        out, err = launcher.communicate(timeout=180)
        assert [node] != cluster.ask(
            "squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%N").split()
    finally:
        cluster.start(node)
    assert (0, "\n") == (launcher.returncode, out), err
    assert [*range(1, 101)] == sorted(set(steps(tmp_path)))
    assert len(steps(tmp_path)) <= 101
    assert 2 == launching.starts(tmp_path, "t0")


@pytest.mark.extended
def test_a_second_launcher_is_refused_and_a_cancelled_job_is_submitted_again(cluster, tmp_path):
    """The message names the first launcher; `scancel` by hand interrupts a trial like others."""
    a_plan = launching.plan(("steps = 100", "seconds = 0.1"))
    launcher = slurm_launching.start(cluster, a_plan, tmp_path)
    wait_until(lambda: steps(tmp_path), 60)
    named = rf"in use by a launcher of jobs on \S+ \(pid {launcher.pid} "
    with pytest.raises(UserError, match=named):
        slurm_launching.launch(a_plan, tmp_path)
    cluster.ask("scancel", submission(tmp_path).resource.split("/")[0])
    out, err = launcher.communicate(timeout=60)
    assert (0, "\n") == (launcher.returncode, out), err
    assert ([*range(1, 101)], 2) == (steps(tmp_path), submission(tmp_path).number)


@pytest.mark.extended
def test_an_evaluation_job_runs_beside_the_trainer(cluster, tmp_path):
    """It is a job of its own, which ends when training fails."""
    a_plan = launching.plan((), ("end = fail no more memory",))
    job = slurm_launching.launch(a_plan, tmp_path, eval_job=True)
    assert ["finished", "failed"] == [row.status for row in job.status_reader.read_rows()]
    modes = (tmp_path / "trials/t0/starts.jsonl").read_text()
    assert {"train", "continuous_eval"} == {json.loads(line)["mode"] for line in modes.splitlines()}
    assert [] == cluster.processes()


@pytest.mark.extended
def test_a_log_is_followed_over_an_interruption(cluster, tmp_path):
    """The log of each attempt comes after the other, also while the job waits."""
    a_plan = launching.plan(("steps = 60", "seconds = 0.1"))
    launcher = slurm_launching.start(cluster, a_plan, tmp_path)
    wait_until(lambda: steps(tmp_path), 60)
    follower = subprocess.Popen(
        [sys.executable, "-m", "deepmac_ablate.cli", "logs", str(tmp_path), "--follow"],
        stdout=subprocess.PIPE, text=True)
    wait_until(lambda: "t0" in follower.stdout.readline())
    cluster.ask("scontrol", "requeue", submission(tmp_path).resource.split("/")[0])
    out, _ = follower.communicate(timeout=120)
    assert f"==> {tmp_path}/trials/t0/logs/train-2.log <==\ntraining in t0\n" in out
    launcher.communicate(timeout=60)
    assert [f"==> {tmp_path}/trials/t0/logs/train-2.log <==\n", "training in t0\n"] == list(
        logs.read_log_lines(SweepWorkdir(tmp_path), "t0", follow=False))


def test_what_a_job_printed_before_its_worker_is_the_cause_of_a_failure(cluster, tmp_path):
    """A prologue that fails, such as for a missing module, fails the trial with its last line."""
    a_plan = launching.plan(())
    job = slurm_launching.launch(
        a_plan, tmp_path, prologue="echo 'no module cuda/99' >&2; exit 4\n")
    [row] = job.status_reader.read_rows()
    assert "failed" == row.status
    assert row.cause.endswith(
        "ended as FAILED with exit status 4; last line of its output: no module cuda/99")
    assert (tmp_path / "trials/t0/logs/slurm-train-1.out").exists()


def test_a_request_that_cannot_be_met_is_refused(cluster, tmp_path):
    """In Slurm's words, at the plan and at the launch; else it says when and where."""
    a_plan = launching.plan(())

    def request(**options):
        return slurm_launching.template(tmp_path, **options).request(
            a_plan, a_plan.trials[0], "train", 1)

    said = client.estimate_start(request(gpus=2))
    assert said.startswith("Slurm could start a trial at ")
    assert " in partition main." in said
    refusal = "Slurm refuses: Requested node configuration is not available."
    with pytest.raises(UserError) as refused:
        client.estimate_start(request(gpus=9))
    assert refusal == str(refused.value)
    job = slurm_launching.launch(a_plan, tmp_path, gpus=9)
    assert f"Trial t0 could not be started: {refusal}" == job.stop_reason
    with pytest.raises(UserError, match="invalid partition specified: no"):
        client.estimate_start(request(slurm=("partition=no",)))


def test_jobs_of_another_cluster_are_not_taken_for_gone(cluster):
    """The message names both clusters."""
    with pytest.raises(UserError) as refused:
        client.Slurm(cluster="elsewhere", user="me").status("1/x")
    assert ("The jobs were submitted to the Slurm cluster elsewhere, but this machine belongs to "
            "test; use a machine of elsewhere.") == str(refused.value)
    with pytest.raises(UserError, match="Slurm does not show this user the job 1 of me; ask as me"):
        client.Slurm(user="me").status("1/x")

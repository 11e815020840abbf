"""Launches with real XManager experiments and real processes; only the trainer is a fake."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.launcher import Launch, LaunchOptions
from deepmac_ablate.launch.local_executor import LocalExecutor
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.trial.code_fingerprint import code_fingerprint
from tests.helpers import launching, supervised
from tests.helpers.supervised import fill, small_disk, wait_until

pytestmark = pytest.mark.slow  # XManager takes a second or more to create its database.


def processes_of(workdir: Path) -> list[psutil.Process]:
    """Living supervisors and trainers of a workdir, by their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and any(word.startswith(f"{workdir}/trials") for word in words):
            found.append(process)
    return found


def test_trials_end_in_every_way_and_a_second_launch_runs_only_what_is_missing(tmp_path):
    """One finishes, one fails, one diverges, one hangs; then the causes are fixed."""
    fixed = tmp_path / "fixed"
    a_plan = launching.plan(
        (), ("end = fail shapes (3, 4) and (4, 3) do not fit", f"unless = {fixed}"),
        ("end = diverge", f"unless = {fixed}"), ("end = hang", f"unless = {fixed}"))
    job = launching.launch(a_plan, tmp_path / "w", max_parallel=4, silence_limit=2.0, grace=1.0)
    rows = {row.id: row for row in job.status_reader.read_rows()}
    assert ["finished", "failed", "failed", "failed"] == [rows[f"t{i}"].status for i in range(4)]
    assert "ValueError: shapes (3, 4) and (4, 3) do not fit" == rows["t1"].cause
    assert "The loss is nan" in rows["t2"].cause
    assert rows["t3"].cause.startswith("no sign of life for 2 s")
    assert (tmp_path / "w" / rows["t1"].log).read_text().endswith("do not fit\n")
    assert (3, 3) == (rows["t0"].step, rows["t0"].steps)

    again = launching.launch(a_plan, tmp_path / "w")
    assert [] == again.pending
    fixed.touch()
    retried = launching.launch(a_plan, tmp_path / "w", retry_failed=True, max_parallel=4)
    assert ["t1", "t2", "t3"] == [planned.id for planned in retried.pending]
    assert {"finished"} == {row.status for row in retried.status_reader.read_rows()}
    assert [1, 2, 2, 2] == [launching.starts(tmp_path / "w", f"t{i}") for i in range(4)]


def test_xmanager_has_one_experiment_a_launch_and_a_work_unit_a_trial(tmp_path):
    """Its database is in the workdir."""
    a_plan = launching.plan((), (), ())
    launching.launch(a_plan, tmp_path)
    database = sqlite3.connect(tmp_path / "xmanager" / "experiments.sqlite3")
    titles = database.execute("SELECT experiment_title FROM experiment").fetchall()
    units = database.execute("SELECT count(*) FROM work_unit").fetchall()
    assert ([("fakes",)], [(3,)]) == (titles, units)


def test_a_launch_records_the_code_of_the_user(tmp_path):
    """Modules that the trials' gin files import are part of the fingerprint."""
    (tmp_path / "mine.gin").write_text("import tests.helpers.toy_configurables\n")
    a_plan = launching.plan(())
    [planned] = a_plan.trials
    trial = planned.trial.__class__((str(tmp_path / "mine.gin"),), (), 0, "arm0")
    launching.launch(a_plan._replace(trials=(planned._replace(trial=trial),)), tmp_path / "w")
    [launch] = (tmp_path / "w" / "launches").iterdir()
    recorded = json.loads((launch / "provenance.json").read_text())
    assert ["tests.helpers.toy_configurables"] == recorded["modules"]
    code = code_fingerprint("tests.helpers.toy_configurables")
    assert recorded["code"] == code != code_fingerprint()


def test_a_trial_on_several_gpus_sees_them_and_shares_its_batch_among_them(tmp_path):
    """Its trainer gets all of them and the strategy; an evaluator beside it uses one."""
    files = SweepWorkdir(tmp_path)

    def command(folder, mode, tracking, runtime):
        return (*launching.fake_command(folder, mode, tracking), *runtime)

    executor = LocalExecutor(
        files, JobOptions(eval_job=True), gpus=["GPU-a", "GPU-b"], gpus_per_trial=2,
        build_command=command)
    Launch(launching.plan(()), files, executor, LaunchOptions()).run()
    assert {"t0": "finished"} == launching.statuses(launching.plan(()), tmp_path)
    for role, runtime in (("train", ["Runtime.strategy = 'mirrored'"]), ("eval", [])):
        job = json.loads((tmp_path / f"trials/t0/job-{role}.json").read_text())
        assert "GPU-a,GPU-b" == job["env"]["CUDA_VISIBLE_DEVICES"]
        assert runtime == job["command"][5:]


def test_no_more_than_max_parallel_trials_run_at_a_time(tmp_path):
    """Six trials run two at a time, by their statuses while the launch lasts."""
    a_plan = launching.plan(*[("steps = 4", "seconds = 0.05")] * 6)
    process = launching.start(a_plan, tmp_path, max_parallel=2)
    most = 0
    while process.poll() is None:
        running = [s for s in launching.statuses(a_plan, tmp_path).values() if s == "running"]
        most = max(most, len(running))
        time.sleep(0.02)
    process.stderr.close()
    assert (2, {"finished"}) == (most, set(launching.statuses(a_plan, tmp_path).values()))


def test_bindings_are_not_interpreted_by_a_shell(tmp_path):
    """XManager runs a shell command, which contains nothing of the trial but its folder."""
    awkward = (
        "a = 'two  words'", 'b = "it\'s"', "c = @scope/Head()", "d = %MACRO",
        "e = '$(touch x); `y`'",
        "f = '\\n*?[a]{b,c} > z & | #'", "g = 'ä€'")
    a_plan = launching.plan(awkward)
    launching.launch(a_plan, tmp_path / "a folder; with 'quotes' $(touch x)")
    folder = SweepWorkdir(tmp_path / "a folder; with 'quotes' $(touch x)").folder("t0")
    assert list(awkward) == json.loads((folder / "trial.json").read_text())["bindings"]
    assert {"step": 3} == json.loads((folder / "result.json").read_text())
    assert not list(Path.cwd().glob("x")) + list(folder.glob("x"))


def test_an_evaluation_job_runs_beside_the_trainer(tmp_path):
    """The evaluation job finishes the trial, and stops if the training job fails."""
    a_plan = launching.plan((), ("end = fail no more memory",))
    job = launching.launch(a_plan, tmp_path, eval_job=True)
    assert ["finished", "failed"] == [row.status for row in job.status_reader.read_rows()]
    modes = (tmp_path / "trials/t0/starts.jsonl").read_text()
    assert {"train", "continuous_eval"} == {json.loads(line)["mode"] for line in modes.splitlines()}
    state = json.loads((tmp_path / "trials/t1/state-eval.json").read_text())
    assert "interrupted" == state["state"]
    assert "the train job failed: ValueError: no more memory" == state["cause"]
    assert [] == processes_of(tmp_path)


def test_a_launch_stops_after_three_failures_with_the_same_cause(tmp_path):
    """Of ten trials that fail alike, at most one more fails, which ran beside the third."""
    a_plan = launching.plan(*[(f"end = fail no file /tmp/{i}/x",) for i in range(10)])
    job = launching.launch(a_plan, tmp_path, max_parallel=2)
    found = [row.status for row in job.status_reader.read_rows()]
    assert 3 <= found.count("failed") <= 4
    assert found.count("failed") + found.count("new") == 10
    assert "trials in a row failed with the same cause" in job.stop_reason


def test_a_second_launcher_is_refused_with_the_name_of_the_first(tmp_path):
    """The message names the process, and the first launcher is not disturbed."""
    a_plan = launching.plan(("seconds = 0.1", "steps = 1000"))
    process = launching.start(a_plan, tmp_path)
    wait_until(lambda: launching.starts(tmp_path, "t0"))
    with pytest.raises(UserError, match=rf"in use by a launcher on \S+ \(pid {process.pid} "):
        launching.launch(a_plan, tmp_path)
    process.terminate()
    process.communicate(timeout=30)
    assert {"t0": "interrupted"} == launching.statuses(a_plan, tmp_path)
    assert [] == processes_of(tmp_path)


def test_an_interrupted_launch_saves_and_the_next_one_resumes(tmp_path):
    """After SIGINT, as sent by control-C, the trial resumes from its checkpoint."""
    a_plan = launching.plan(("seconds = 0.02", "steps = 60"), ())
    process = launching.start(a_plan, tmp_path)
    checkpoint = tmp_path / "trials/t0/checkpoint.json"
    wait_until(lambda: checkpoint.exists() and json.loads(checkpoint.read_text()) >= 3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert {"t0": "interrupted", "t1": "new"} == launching.statuses(a_plan, tmp_path)
    launching.launch(a_plan, tmp_path)
    assert {"finished"} == set(launching.statuses(a_plan, tmp_path).values())
    lines = (tmp_path / "trials/t0/metrics.jsonl").read_text().splitlines()
    assert list(range(1, 61)) == [json.loads(line)["step"] for line in lines]


@pytest.mark.extended
def test_a_trial_that_finishes_before_it_is_started_is_not_started(tmp_path):
    """The trainer of a killed supervisor writes its result while the next launcher waits for it."""
    a_plan = launching.plan((), ())
    folder = SweepWorkdir(tmp_path).folder("t0")
    folder.mkdir(parents=True)
    code = supervised.OBEDIENT.replace('    pathlib.Path("asked")', """
    time.sleep(1)
    pathlib.Path("result.json").write_text('{"step": 7}')
    pathlib.Path("asked")""")
    with supervised.running(supervised.job(folder, code)) as supervisor:
        supervisor.kill()
        supervisor.wait()
        job = launching.launch(a_plan, tmp_path)
    assert ["t0", "t1"] == [planned.id for planned in job.pending]
    assert ["finished", "finished"] == [row.status for row in job.status_reader.read_rows()]
    assert (0, 1) == tuple(launching.starts(tmp_path, trial) for trial in ("t0", "t1"))
    assert {"step": 7} == json.loads((folder / "result.json").read_text())


def test_no_trial_is_lost_on_a_full_disk(tmp_path):
    """Once there is room again, a launch resumes the trials from where they were."""
    a_plan = launching.plan(*[("seconds = 0.05", "steps = 60")] * 3)
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        workdir = disk / "w"
        process = launching.start(a_plan, workdir, max_parallel=2)
        checkpoint = workdir / "trials/t1/checkpoint.json"
        wait_until(checkpoint.exists, 60)
        fill(disk / "filler")
        process.communicate(timeout=60)
        assert "finished" not in launching.statuses(a_plan, workdir).values()
        reached = json.loads(checkpoint.read_text())
        assert [] == processes_of(workdir)

        (disk / "filler").unlink()
        launching.launch(a_plan, workdir, max_parallel=2)
        assert {"finished"} == set(launching.statuses(a_plan, workdir).values())
        assert [2, 2, 1] == [launching.starts(workdir, f"t{i}") for i in range(3)]
        lines = (workdir / "trials/t1/metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert set(range(1, 61)) == set(steps)
        # It did not start over.
        assert reached >= 1
        assert 1 == steps.count(1)


@pytest.mark.extended
def test_after_random_kills_every_trial_is_finished_once(tmp_path):
    """Launcher, supervisors and trainers are killed at random moments, then relaunched."""
    chance = random.Random(4)
    a_plan = launching.plan(*[("seconds = 0.03", "steps = 40")] * 4)
    kills = 0
    for _ in range(12):
        launcher = launching.start(a_plan, tmp_path, max_parallel=2)
        time.sleep(chance.uniform(0.5, 3.5))
        for _ in range(chance.randrange(1, 4)):
            victims = [launcher.pid, *(process.pid for process in processes_of(tmp_path))]
            try:
                os.kill(chance.choice(victims), signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
            time.sleep(chance.uniform(0.0, 0.3))
        launcher.kill()
        launcher.communicate()
        wait_until(lambda: not processes_of(tmp_path))
        if set(launching.statuses(a_plan, tmp_path).values()) == {"finished"}:
            break
    launching.launch(a_plan, tmp_path, max_parallel=2, retry_failed=True)
    assert {"finished"} == set(launching.statuses(a_plan, tmp_path).values())
    before = [launching.starts(tmp_path, f"t{i}") for i in range(4)]
    launching.launch(a_plan, tmp_path)
    assert before == [launching.starts(tmp_path, f"t{i}") for i in range(4)]
    assert kills >= 5
    for i in range(4):
        folder = tmp_path / "trials" / f"t{i}"
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        assert set(range(1, 41)) == {json.loads(line)["step"] for line in lines}
        assert {"step": 40} == json.loads((folder / "result.json").read_text())
    assert not locks.is_held(tmp_path / "launcher.lock")

"""Seeds of one arm share a process, one after the other, and each stays a trial of its own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from deepmac_ablate.launch.supervision import attempt, locks
from tests.helpers import launching
from tests.helpers.supervised import wait_until

pytestmark = pytest.mark.slow  # XManager takes a second or more to create its database.


def starts_of(workdir: Path, trial: str) -> list[int]:
    """The process IDs of the trainers that ran a trial."""
    text = (workdir / "trials" / trial / "starts.jsonl").read_text()
    return [json.loads(line)["pid"] for line in text.splitlines()]


def trainers_of(workdir: Path, count: int) -> list[int]:
    """The process ID of the trainer of each of the trials t0, t1, ..., which ran once."""
    [*pids] = [starts_of(workdir, f"t{number}") for number in range(count)]
    assert [1] * count == list(map(len, pids))
    return [pid for [pid] in pids]


def test_seeds_of_an_arm_share_a_process(tmp_path):
    """Three seeds have one trainer, and each its own log, state and lock."""
    a_plan = launching.plan_of_seeds((), (), ())
    launching.launch(a_plan, tmp_path)
    assert 1 == len(set(trainers_of(tmp_path, 3)))
    for number in range(3):
        folder = tmp_path / "trials" / f"t{number}"
        assert f"training in t{number}\n" == (folder / "logs" / "train-1.log").read_text()
        state = attempt.read_attempt(folder, "train")
        assert ("finished", 1, 0) == (state.state, state.number, state.exit_code)
        assert not locks.is_held(attempt.lock_path(folder, "train"))
    ends = [attempt.read_attempt(tmp_path / "trials" / f"t{i}", "train") for i in range(3)]
    assert ends[0].ended <= ends[1].started <= ends[1].ended <= ends[2].started


def test_arms_do_not_share_a_process(tmp_path):
    """Trials of different arms have trainers of their own."""
    launching.launch(launching.plan((), ()), tmp_path)
    assert 2 == len(set(trainers_of(tmp_path, 2)))


def test_processes_share_the_seeds_of_an_arm(tmp_path):
    """With two processes at a time, four seeds are split between them."""
    settings = ("steps = 60", "seconds = 0.05")
    launching.launch(launching.plan_of_seeds(*[settings] * 4), tmp_path, max_parallel=2)
    assert 2 == len(set(trainers_of(tmp_path, 4)))


def test_a_failed_seed_does_not_keep_the_others_from_running(tmp_path):
    """The seed behind it gets a new process; the cause is in the log of the failed one alone."""
    a_plan = launching.plan_of_seeds((), ("end = fail no more memory",), ())
    job = launching.launch(a_plan, tmp_path)
    rows = job.status_reader.read_rows()
    assert ["finished", "failed", "finished"] == [row.status for row in rows]
    assert "ValueError: no more memory" == rows[1].cause
    first, second, third = trainers_of(tmp_path, 3)
    assert first == second != third
    logs = [(tmp_path / row.log).read_text() for row in rows]
    assert [False, True, False] == ["no more memory" in log for log in logs]


def test_seeds_that_fail_alike_stop_the_launch(tmp_path):
    """Of six seeds that fail with the same cause, three are run."""
    job = launching.launch(
        launching.plan_of_seeds(*[("end = fail no file",)] * 6), tmp_path)
    found = [row.status for row in job.status_reader.read_rows()]
    assert ["failed"] * 3 + ["new"] * 3 == found
    assert "3 trials in a row failed with the same cause" in job.stop_reason


@pytest.mark.parametrize("victim", [
    "trainer", "launcher",
    pytest.param("supervisor", marks=[pytest.mark.slow, pytest.mark.extended])])
def test_a_kill_loses_nothing_that_was_finished(tmp_path, victim):
    """While the second of three seeds runs, one process is killed; launching again finishes all."""
    slow = ("steps = 30", "seconds = 0.05")
    a_plan = launching.plan_of_seeds((), slow, ())
    launcher = launching.start(a_plan, tmp_path)
    metrics = tmp_path / "trials" / "t1" / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 2, 60.0)
    [trainer] = starts_of(tmp_path, "t1")
    supervisor = psutil.Process(trainer).ppid()
    os.kill(
        {"trainer": trainer, "supervisor": supervisor, "launcher": launcher.pid}[victim],
        signal.SIGKILL)
    launcher.wait()
    launcher.stderr.close()
    wait_until(lambda: not psutil.pid_exists(trainer))
    assert "finished" == launching.statuses(a_plan, tmp_path)["t0"]
    launching.launch(a_plan, tmp_path, retry_failed=True)
    assert {"finished"} == set(launching.statuses(a_plan, tmp_path).values())
    assert 1 == launching.starts(tmp_path, "t0")
    lines = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert list(range(1, 31)) == sorted(set(lines))


def test_a_stopped_launch_leaves_later_seeds_as_they_were(tmp_path):
    """The running seed is interrupted, and the one behind it has not begun."""
    slow = ("steps = 200", "seconds = 0.05")
    a_plan = launching.plan_of_seeds((), slow, ())
    launcher = launching.start(a_plan, tmp_path)
    wait_until(lambda: launching.starts(tmp_path, "t1"), 60.0)
    [trainer] = starts_of(tmp_path, "t1")
    launcher.terminate()
    launcher.wait()
    launcher.stderr.close()
    wait_until(lambda: not psutil.pid_exists(trainer))
    assert {"t0": "finished", "t1": "interrupted", "t2": "new"} == launching.statuses(
        a_plan, tmp_path)

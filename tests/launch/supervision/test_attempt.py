"""The state of a trial, also after the processes that record it were killed."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.supervision import attempt, locks, processes
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.trial_status import TrialStatus
from tests.helpers import supervised


def an_attempt(**fields) -> Attempt:
    """An attempt whose supervisor is this process."""
    now = time.time()
    return dataclasses.replace(
        Attempt(
            "train", 1, "running", os.uname().nodename, os.getpid(),
            processes.process_identity(os.getpid()), started=now, heartbeat=now),
        **fields)


@pytest.fixture
def locked(tmp_path):
    """The lock of the trial in `tmp_path` is held."""
    with locks.FileLock.acquire(attempt.lock_path(tmp_path, "train"), {}):
        yield


def status(folder):
    return trial_status.read_status(folder).status


def test_a_folder_without_attempts_is_new(tmp_path):
    """A trial folder without attempts is new, whether or not it exists."""
    assert TrialStatus("new") == trial_status.read_status(tmp_path)
    assert TrialStatus("new") == trial_status.read_status(tmp_path / "no")
    assert attempt.read_attempt(tmp_path, "train") is None


def test_an_attempt_is_read_as_it_was_written(tmp_path):
    """Every field comes back."""
    written = an_attempt(
        state="failed", process_group=7, group_started="x/1", ended=2.5, exit_code=-9,
        cause="größe")
    written.write(tmp_path)
    assert written == attempt.read_attempt(tmp_path, "train")
    assert TrialStatus("failed", written, "größe") == trial_status.read_status(tmp_path)
    assert attempt.read_attempt(tmp_path, "eval") is None


@pytest.mark.parametrize("state", ["running", "failed", "interrupted", "finished"])
@pytest.mark.usefixtures("locked")
def test_a_result_finishes_a_trial(tmp_path, state):
    """A trial with a result has finished, whatever state its attempt left."""
    an_attempt(state=state).write(tmp_path)
    (tmp_path / "result.json").write_text('{"step": 1}')
    found = trial_status.read_status(tmp_path)
    assert ("finished", state) == (found.status, found.attempt.state)


@pytest.mark.usefixtures("locked")
def test_a_trial_runs_while_its_supervisor_lives(tmp_path):
    """A trial runs while its supervisor lives, even if it cannot write its state."""
    an_attempt(heartbeat=time.time() - 1000).write(tmp_path)
    assert "running" == status(tmp_path)


def test_a_trial_with_a_free_lock_is_not_running(tmp_path):
    """A trial whose lock is free does not run, even if its state says so."""
    an_attempt().write(tmp_path)
    assert "interrupted" == status(tmp_path)


@pytest.mark.usefixtures("locked")
def test_a_number_used_again_is_another_process(tmp_path):
    """A reused process ID does not count as a live supervisor."""
    an_attempt(pid_started="boot/1").write(tmp_path)
    assert "interrupted" == status(tmp_path)


@pytest.mark.parametrize(("age", "expected"), [(50, "running"), (70, "interrupted")])
def test_another_machines_supervisor_lives_by_its_heartbeat(tmp_path, age, expected):
    """A supervisor on another machine counts as alive by its heartbeat, not its lock."""
    an_attempt(host="elsewhere", heartbeat=time.time() - age).write(tmp_path)
    assert expected == status(tmp_path)


@pytest.mark.parametrize(
    ("train", "evaluation", "expected", "role"),
    [
        ("failed", "running", "running", "eval"),
        ("failed", "interrupted", "failed", "train"),
        ("interrupted", "failed", "failed", "eval"),
        ("finished", "interrupted", "interrupted", "eval"),
        ("finished", None, "interrupted", "train"),
    ],
)  # fmt: skip
def test_two_jobs_of_a_trial_make_one_status(tmp_path, train, evaluation, expected, role):
    """Running while one runs, failed if one failed; the attempt is the one that says so."""
    an_attempt(state=train, started=1.0).write(tmp_path)
    if evaluation:
        an_attempt(role="eval", state=evaluation, started=2.0).write(tmp_path)
    with locks.FileLock.acquire(attempt.lock_path(tmp_path, "eval"), {}):
        found = trial_status.read_status(tmp_path)
    assert (expected, role) == (found.status, found.attempt.role)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "it is not valid JSON"), ("{}", "its 'role' must be one of train, eval, but is missing")])
def test_a_broken_state_is_named(tmp_path, content, message):
    """A broken state file is the cause of an interruption; the next attempt replaces it."""
    (tmp_path / "state-train.json").write_text(content)
    found = trial_status.read_status(tmp_path)
    assert "interrupted" == found.status
    assert f"state-train.json is broken: {message}" in found.cause
    assert attempt.read_attempt(tmp_path, "train") is None


def test_leftovers_of_a_killed_supervisor_are_ended(tmp_path):
    """A trainer that outlives its supervisor and ignores SIGTERM is killed."""
    work = supervised.job(tmp_path, supervised.STUBBORN)
    with supervised.running(work) as supervisor:
        supervisor.kill()
        supervisor.wait()
        assert locks.is_held(attempt.lock_path(tmp_path, "train"))
        assert "interrupted" == status(tmp_path)
        assert 1 == len(supervised.processes_in(tmp_path))
        attempt.stop_leftovers(tmp_path, "train", grace=0.2)
    assert [] == supervised.processes_in(tmp_path)
    assert not locks.is_held(attempt.lock_path(tmp_path, "train"))


def test_leftovers_may_write_their_checkpoint(tmp_path):
    """Leftover trainers get time to write their checkpoint."""
    code = supervised.OBEDIENT.replace('    pathlib.Path("asked")', """
    time.sleep(0.5)
    pathlib.Path("asked")""")
    with supervised.running(supervised.job(tmp_path, code)) as supervisor:
        supervisor.kill()
        supervisor.wait()
        attempt.stop_leftovers(tmp_path, "train", grace=10)
        assert (tmp_path / "asked").exists()


@pytest.mark.parametrize("forget", [False, True])
def test_what_a_dead_trainer_started_is_a_leftover_too(tmp_path, forget):
    """Children of a dead trainer are found even outside of its recorded process group."""
    code = f"""
import subprocess, time
subprocess.Popen({supervised.python(supervised.STUBBORN)!r}, start_new_session={forget})
time.sleep(60)
"""
    with supervised.running(supervised.job(tmp_path, code)) as supervisor:
        supervisor.kill()
        supervisor.wait()
        supervised.wait_until(lambda: 1 == len(supervised.processes_in(tmp_path)))
        if forget:
            noted = attempt.read_attempt(tmp_path, "train")
            dataclasses.replace(noted, process_group=None, group_started=None).write(tmp_path)
        attempt.stop_leftovers(tmp_path, "train", grace=0.2)
    assert [] == supervised.processes_in(tmp_path)


def test_a_group_that_lost_its_mark_is_a_leftover(tmp_path):
    """A trainer that overwrote its environment is found by its process group and start."""
    stubborn = supervised.python(supervised.STUBBORN)
    child = subprocess.Popen(stubborn, cwd=tmp_path, process_group=0)
    supervised.wait_until((tmp_path / "ready").exists)
    an_attempt(
        pid_started="boot/1", process_group=child.pid,
        group_started=processes.process_identity(child.pid)
    ).write(tmp_path)
    attempt.lock_path(tmp_path, "train").touch()
    attempt.stop_leftovers(tmp_path, "train", grace=0.1)
    assert -signal.SIGKILL == child.wait(5)


@pytest.mark.parametrize("change", [{"group_started": "boot/1"}, {"host": "elsewhere"}])
def test_a_stranger_is_never_killed(tmp_path, change):
    """A process that reuses the ID of a trainer, here or on another machine, is left alone."""
    stranger = subprocess.Popen(["sleep", "30"], process_group=0)
    an_attempt(**{
        "pid_started": "boot/1", "process_group": stranger.pid,
        "group_started": processes.process_identity(stranger.pid), **change,
    }).write(tmp_path)
    attempt.lock_path(tmp_path, "train").touch()
    attempt.stop_leftovers(tmp_path, "train", grace=0.1)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_supervisor_that_is_ending_is_waited_for(tmp_path):
    """A launcher waits for a supervisor that is still saving, and kills nothing."""
    lock = tmp_path / "lock"
    code = supervised.OBEDIENT.replace('    pathlib.Path("asked")', """
    time.sleep(1)
    pathlib.Path("asked")""")
    work = supervised.job(tmp_path, code, launcher_lock=lock)
    with supervised.launcher(lock) as launcher, supervised.running(work) as supervisor:
        launcher.kill()
        launcher.wait()
        assert "running" == status(tmp_path)
        attempt.stop_leftovers(tmp_path, "train", grace=10)
        assert (tmp_path / "asked").exists()
        assert 75 == supervisor.wait(5)
    assert "its launcher has ended" == attempt.read_attempt(tmp_path, "train").cause


def test_a_living_supervisor_has_no_leftovers(tmp_path, monkeypatch):
    """Trainers with a live supervisor, and those of other trials or roles, are left alone."""
    monkeypatch.setattr(attempt, "_SECONDS_TO_RELEASE", 0.1)
    with supervised.running(supervised.job(tmp_path, supervised.OBEDIENT)):
        with pytest.raises(UserError, match="is running; end its supervisor first"):
            attempt.stop_leftovers(tmp_path, "train", grace=0)
        attempt.stop_leftovers(tmp_path, "eval")
        (tmp_path / "other").mkdir()
        attempt.stop_leftovers(tmp_path / "other", "train")
        assert "running" == status(tmp_path)
        # Not yet noted, or never, as on a full disk.
        (tmp_path / "state-train.json").unlink()
        with pytest.raises(UserError, match="is running; end its supervisor first"):
            attempt.stop_leftovers(tmp_path, "train", grace=0)
        assert not (tmp_path / "asked").exists()


def test_an_unknown_holder_of_the_lock_is_named(tmp_path, monkeypatch):
    """A lock held by an unidentified process is reported with a way to find it."""
    monkeypatch.setattr(attempt, "_SECONDS_TO_RELEASE", 0.1)
    lock = attempt.lock_path(tmp_path, "train")
    code = (
        f"import fcntl; lock = open({str(lock)!r}, 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print(flush=True); input()")
    holder = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(UserError, match=f"^An unknown process holds {lock}; find it with `fuser"):
        attempt.stop_leftovers(tmp_path, "train", grace=0.1)
    assert holder.poll() is None
    holder.communicate(b"\n")

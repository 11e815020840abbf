"""A command of a trial is run to its end, or ended, and what became of it is noted."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.supervision.job import Job
from tests.helpers import supervised

pytestmark = pytest.mark.slow  # Supervisors are processes that are waited for.

INTERRUPTED = "deepmac-ablate: Stopped at step 4 of 8; run the trial again to go on."


@pytest.mark.parametrize(
    ("code", "status", "state", "exit_code", "cause"),
    [
        ("print('done')", 0, "finished", 0, None),
        (f"import sys; print({INTERRUPTED!r}); sys.exit(75)", 75, "interrupted", 75,
         "Stopped at step 4 of 8; run the trial again to go on."),
        ("import sys; print('deepmac-ablate: A is no B.'); sys.exit(2)", 2, "failed", 2,
         "A is no B."),
        ("import sys; print('deepmac-ablate: The loss is nan.'); sys.exit(3)", 3, "failed", 3,
         "The loss is nan."),
        ("raise RuntimeError('no luck')", 1, "failed", 1, "RuntimeError: no luck"),
        ("import sys; sys.exit(7)", 7, "failed", 7, "exit status 7"),
        ("import os; os.kill(os.getpid(), 9)", 1, "failed", -9,
         "killed by SIGKILL (out of memory?)"),
        ("import os; print('Check failed', flush=True); os.kill(os.getpid(), 6)", 1, "failed", -6,
         "killed by SIGABRT; last line of the log: Check failed"),
    ],
)  # fmt: skip
def test_the_end_of_the_command_is_noted(tmp_path, code, status, state, exit_code, cause):
    """The state records outcome, exit status and cause, and the supervisor exits alike."""
    before = time.time()
    assert status == supervised.run(supervised.job(tmp_path, code))
    noted = attempt.read_attempt(tmp_path, "train")
    assert (state, exit_code, cause) == (noted.state, noted.exit_code, noted.cause)
    assert before <= noted.started <= noted.ended <= time.time()
    assert (1, os.uname().nodename) == (noted.number, noted.host)


def test_strings_arrive_as_they_are(tmp_path):
    """No shell, no gin and no encoding changes an argument or a variable."""
    awkward = (
        "a b", "", "it's \"quoted\"", "; touch hurt", "$(touch hurt)", "`touch hurt`", "*",
        "@ref()", "%MACRO", "A.x = 'größe'", "two\nlines", "\\n", "-c", b"\xff\xfe".decode(
            errors="surrogateescape"),
    )  # fmt: skip
    code = (
        "import os, sys; print(sys.argv[1:]); print(repr(os.environ['ODD'])); print(os.getcwd());"
        "print(repr(sys.stdin.read())); print('to stderr', file=sys.stderr)")
    folder = tmp_path / "a $HOME; b"
    folder.mkdir()
    work = Job(
        folder, "train", supervised.python(code, *awkward), folder,
        env={"ODD": awkward[10], "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"})
    typed = {"input": "typed by a person", "text": True, "env": supervised.ENVIRONMENT}
    subprocess.run(supervised.command_of(work), check=True, **typed)
    log = (folder / "logs" / "train-1.log").read_text().splitlines()
    assert [str(list(awkward)), repr(awkward[10]), str(folder), "''", "to stderr"] == log
    assert not (folder / "hurt").exists()


def test_secrets_are_in_no_file(tmp_path):
    """Neither in the log nor in the state, whether of a variable, a URL or an option."""
    code = (
        "import os, sys; print('key', os.environ['WANDB_API_KEY'], 'DB_PASS=marker', flush=True);"
        "sys.exit('Error: 401 for https://me:marker@host with key ' + os.environ['WANDB_API_KEY'])")
    work = supervised.job(tmp_path, code)
    command = {"env": {**supervised.ENVIRONMENT, "WANDB_API_KEY": "marker-0123456789"}}
    assert 1 == subprocess.run(supervised.command_of(work), check=False, **command).returncode
    assert ["key *** DB_PASS=***", "Error: 401 for https://***@host with key ***"] == (
        tmp_path / "logs/train-1.log").read_text().splitlines()
    assert "with key ***" in attempt.read_attempt(tmp_path, "train").cause
    assert [] == [
        path for path in tmp_path.rglob("*") if path.is_file() and b"marker-" in path.read_bytes()]


def test_a_killed_supervisor_leaves_no_secret(tmp_path):
    """Its trainer's last output is in no file."""
    code = "import os; print(os.environ['WANDB_API_KEY'], flush=True);" + supervised.OBEDIENT
    environment = {**supervised.ENVIRONMENT, "WANDB_API_KEY": "marker-0123456789"}
    with supervised.running(supervised.job(tmp_path, code), env=environment) as supervisor:
        supervised.wait_until((tmp_path / "ready").exists)
        supervisor.kill()
        supervisor.wait()
    supervised.wait_until(lambda: not supervised.processes_in(tmp_path))
    assert (tmp_path / "logs/train-1.log").exists()
    assert [] == [
        path for path in tmp_path.rglob("*") if path.is_file() and b"marker" in path.read_bytes()]


def test_a_job_is_read_as_it_was_written(tmp_path):
    """Every field comes back."""
    work = Job(
        tmp_path, "eval", ("a", "b c"), tmp_path / "cwd", {"X": "1"}, tmp_path / "lock", 3.0, 2.0,
        1.0, "train")
    assert work == Job.read(work.write())
    with pytest.raises(ValueError, match="has no command"):
        Job(tmp_path, "train", (), tmp_path)
    with pytest.raises(ValueError, match="Roles must be one of"):
        Job(tmp_path, "trian", ("a",), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "Cannot read the job"), ("{", "is not valid JSON"), ('{"a": 1}', "is not a valid job")])
def test_an_invalid_job_file_is_refused(tmp_path, content, message):
    """An invalid job file exits with status 2 and a one-sentence message."""
    path = tmp_path / "job-train.json"
    if content is not None:
        path.write_text(content)
    run = subprocess.run(
        [sys.executable, "-m", "deepmac_ablate.launch.supervision.supervisor", path],
        env=supervised.ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (2, 1) == (run.returncode, len(run.stderr.splitlines()))
    assert message in run.stderr
    assert str(path) in run.stderr


@pytest.mark.parametrize("command", [("no-such-program",), ("echo", "a\0b")])
def test_a_command_that_cannot_be_started_has_failed(tmp_path, command):
    """A missing program makes a failed attempt with the reason as its cause."""
    assert 1 == supervised.run(Job(tmp_path, "train", command, tmp_path))
    noted = attempt.read_attempt(tmp_path, "train")
    assert ("failed", None) == (noted.state, noted.exit_code)
    assert noted.cause.startswith("cannot start the command: ")


def test_each_attempt_has_its_number_and_its_log(tmp_path):
    """Attempts are numbered in order even if the previous state was lost."""
    for number in (1, 2):
        supervised.run(supervised.job(tmp_path, f"print('attempt', {number})"))
    (tmp_path / "state-train.json").unlink()
    supervised.run(supervised.job(tmp_path, "print('attempt', 3)"))
    assert 3 == attempt.read_attempt(tmp_path, "train").number
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert {f"train-{n}.log": f"attempt {n}\n" for n in (1, 2, 3)} == logs


def test_the_state_beats_while_the_command_runs(tmp_path):
    """The state identifies the running processes and is rewritten at every heartbeat."""
    with supervised.running(supervised.job(tmp_path, supervised.OBEDIENT)) as supervisor:
        first = attempt.read_attempt(tmp_path, "train")
        supervised.wait_until(
            lambda: attempt.read_attempt(tmp_path, "train").heartbeat > first.heartbeat + 0.2)
        noted = attempt.read_attempt(tmp_path, "train")
        assert ("running", supervisor.pid, None) == (noted.state, noted.pid, noted.ended)
        trainer, = supervised.processes_in(tmp_path)
        assert noted.process_group == trainer.pid == os.getpgid(trainer.pid)
        assert "running" == trial_status.read_status(tmp_path).status
        assert noted.started == attempt.read_attempt(tmp_path, "train").started


def test_a_trial_has_one_supervisor(tmp_path):
    """A second supervisor reports who has the trial, and changes nothing."""
    work = supervised.job(tmp_path, supervised.OBEDIENT)
    with supervised.running(work) as first:
        second = subprocess.run(
            supervised.command_of(work), env=supervised.ENVIRONMENT, capture_output=True, text=True,
            check=False)
        assert (69, "") == (second.returncode, second.stdout)
        assert f"{tmp_path} is in use by a supervisor of its train job on " in second.stderr
        assert f"(pid {first.pid} of user " in second.stderr
        assert (1, "running") == (
            attempt.read_attempt(tmp_path, "train").number,
            trial_status.read_status(tmp_path).status)


def test_a_killed_trainer_has_failed(tmp_path):
    """A trainer killed by somebody else counts as failed although it printed nothing."""
    with supervised.running(supervised.job(tmp_path, supervised.OBEDIENT)) as supervisor:
        os.kill(attempt.read_attempt(tmp_path, "train").process_group, signal.SIGKILL)
        assert 1 == supervisor.wait(10)
    assert "failed" == trial_status.read_status(tmp_path).status


def test_a_killed_supervisor_leaves_no_process(tmp_path):
    """The kernel sends SIGTERM to the trainer, and the trial is interrupted."""
    with supervised.running(supervised.job(tmp_path, supervised.OBEDIENT)) as supervisor:
        supervisor.kill()
        supervised.wait_until(lambda: not supervised.processes_in(tmp_path))
    assert (tmp_path / "asked").exists()
    assert "running" == attempt.read_attempt(tmp_path, "train").state
    assert "interrupted" == trial_status.read_status(tmp_path).status


def test_a_supervisor_killed_before_its_command_began_leaves_none():
    """A child whose parent died before it asked for a death signal ends by itself."""
    code = """
import os
from deepmac_ablate.launch.supervision import child_process
bind = child_process._make_death_signal_setter()

def fork(then):
    pid = os.fork()
    if pid == 0:
        os._exit(then())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

print(fork(lambda: bind() or 7), fork(lambda: fork(lambda: bind() or 7)))
"""
    printed = subprocess.check_output(
        [sys.executable, "-c", code], env=supervised.ENVIRONMENT, text=True)
    assert "7 75" == printed.strip()


def test_a_killed_launcher_leaves_no_process(tmp_path):
    """Supervisors of a killed launcher stop their trainers and record the reason."""
    lock = tmp_path / "lock"
    work = supervised.job(tmp_path, supervised.OBEDIENT, launcher_lock=lock)
    with supervised.launcher(lock) as launcher, supervised.running(work) as supervisor:
        time.sleep(0.5)
        assert supervisor.poll() is None
        launcher.kill()
        assert 75 == supervisor.wait(10)
        assert [] == supervised.processes_in(tmp_path)
    status, noted, *_ = trial_status.read_status(tmp_path)
    assert ("interrupted", "its launcher has ended") == (status, noted.cause)
    assert (tmp_path / "asked").exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_supervisor_passes_on_that_it_shall_end(tmp_path, signum):
    """A supervisor that receives a signal lets the trainer write its checkpoint first."""
    # Tests that run under nohup would pass on that SIGHUP is ignored.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}
    with supervised.running(supervised.job(tmp_path, supervised.OBEDIENT), **heed) as supervisor:
        supervisor.send_signal(signum)
        assert 75 == supervisor.wait(10)
    assert (tmp_path / "asked").exists()
    noted = attempt.read_attempt(tmp_path, "train")
    assert ("interrupted", f"asked to end by {signum.name}") == (noted.state, noted.cause)


def test_nohup_keeps_a_supervisor_running(tmp_path):
    """A supervisor that starts with SIGHUP ignored keeps ignoring it."""
    work = supervised.job(tmp_path, supervised.OBEDIENT)
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with supervised.running(work, **ignore) as supervisor:
        supervisor.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert supervisor.poll() is None


@pytest.mark.parametrize(
    ("end", "state"),
    [("sys.exit(0)", "finished"), ("sys.exit(1)", "interrupted"), ("sys.exit(3)", "failed")])
def test_what_a_trainer_makes_of_being_asked_counts(tmp_path, end, state):
    """After SIGTERM, a finished or diverged trainer keeps its outcome; a crash is interrupted."""
    code = supervised.OBEDIENT.replace("sys.exit(75)", end)
    with supervised.running(supervised.job(tmp_path, code)) as supervisor:
        supervisor.terminate()
        supervisor.wait(10)
    assert state == attempt.read_attempt(tmp_path, "train").state


def test_a_trainer_that_does_not_listen_is_killed(tmp_path):
    """A trainer that ignores SIGTERM is killed after the grace period, not before."""
    work = supervised.job(tmp_path, supervised.STUBBORN, grace=0.6)
    with supervised.running(work) as supervisor:
        asked = time.monotonic()
        supervisor.terminate()
        assert 75 == supervisor.wait(10)
        assert time.monotonic() - asked > 0.6
    assert [] == supervised.processes_in(tmp_path)
    noted = attempt.read_attempt(tmp_path, "train")
    assert ("interrupted", -9) == (noted.state, noted.exit_code)
    assert "asked to end by SIGTERM; it ignored SIGTERM and was killed" == noted.cause


@pytest.mark.parametrize("child", ["OBEDIENT", "STUBBORN"])
def test_what_a_trainer_started_ends_with_it(tmp_path, child):
    """Processes that a finished trainer leaves behind are ended, and the trial has finished."""
    start = supervised.python(getattr(supervised, child))
    code = f"""
import pathlib, subprocess, time
subprocess.Popen({start!r})
while not pathlib.Path("ready").exists():
    time.sleep(0.01)
"""
    assert 0 == supervised.run(supervised.job(tmp_path, code, grace=0.3))
    assert [] == supervised.processes_in(tmp_path)
    assert (child == "OBEDIENT") == (tmp_path / "asked").exists()


def test_a_silent_trainer_has_failed(tmp_path):
    """A trainer whose files do not change within the limit is ended and has failed."""
    work = supervised.job(tmp_path, supervised.OBEDIENT, silence_limit=0.5)
    assert 1 == supervised.run(work)
    noted = attempt.read_attempt(tmp_path, "train")
    assert ("failed", "no sign of life for 0.5 s") == (noted.state, noted.cause)
    assert [] == supervised.processes_in(tmp_path)


def test_a_growing_file_is_a_sign_of_life(tmp_path):
    """A change of any one of the trial's files keeps a trainer running."""
    supervisors = []
    for file in ("logs/train-1.log", "metrics.jsonl", "evaluations.jsonl", "checkpoints/7.index"):
        code = f"""
import pathlib, time
path = pathlib.Path({file!r})
path.parent.mkdir(exist_ok=True)
for _ in range(15):
    with path.open("a") as file:
        file.write("x")
    time.sleep(0.1)
"""
        folder = tmp_path / file.replace("/", "-")
        folder.mkdir()
        supervisors.append(supervised.start(supervised.job(folder, code, silence_limit=0.9)))
    assert [0, 0, 0, 0] == [supervisor.wait(20) for supervisor in supervisors]


def test_a_companions_failure_ends_a_job(tmp_path):
    """An evaluator does not wait for checkpoints that no trainer will write."""
    evaluator = supervised.job(tmp_path, supervised.OBEDIENT, role="eval", companion="train")
    with supervised.running(evaluator) as supervisor:
        trainer = supervised.job(tmp_path, "raise RuntimeError('no luck')", companion="eval")
        assert 1 == supervised.run(trainer)
        assert 75 == supervisor.wait(10)
    noted = attempt.read_attempt(tmp_path, "eval")
    assert ("interrupted", "the train job failed: RuntimeError: no luck") == (
        noted.state, noted.cause)
    found = trial_status.read_status(tmp_path)
    assert ("failed", "train") == (found.status, found.attempt.role)


def test_an_earlier_failure_of_a_companion_does_not_count(tmp_path):
    """A companion's failure in an earlier launch is ignored."""
    supervised.run(supervised.job(tmp_path, "raise RuntimeError('no luck')"))
    code = "import time; time.sleep(0.5)"
    assert 0 == supervised.run(supervised.job(tmp_path, code, role="eval", companion="train"))


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 1 MB."""
    with supervised.small_disk(tmp_path / "disk", megabytes=1) as folder:
        yield folder


@pytest.mark.parametrize("ends_first", [False, True])
def test_a_full_disk_ends_nothing(small_disk, ends_first):
    """On a full disk the supervisor continues, and records the outcome once there is room."""
    code = """
import pathlib, time
with open("filler", "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)) == 4096:
            pass
    except OSError:
        pass
pathlib.Path("../ready").write_text("yes")
while not pathlib.Path("../go").exists():
    time.sleep(0.01)
"""
    supervisor = supervised.start(supervised.job(small_disk, code, heartbeat=0.4))
    supervised.wait_until((small_disk.parent / "ready").exists)
    # A state that was half written when the disk became full may still come.
    time.sleep(0.3)
    stale = attempt.read_attempt(small_disk, "train").heartbeat
    time.sleep(0.6)
    assert (stale, None) == (attempt.read_attempt(small_disk, "train").heartbeat, supervisor.poll())
    assert "running" == trial_status.read_status(small_disk).status
    if ends_first:
        (small_disk.parent / "go").write_text("yes")
        supervised.wait_until(lambda: not supervised.processes_in(small_disk))
        (small_disk / "filler").unlink()
    else:
        (small_disk / "filler").unlink()
        supervised.wait_until(lambda: attempt.read_attempt(small_disk, "train").heartbeat > stale)
        assert "running" == attempt.read_attempt(small_disk, "train").state
        (small_disk.parent / "go").write_text("yes")
    assert 0 == supervisor.wait(10)
    assert "finished" == attempt.read_attempt(small_disk, "train").state


def test_a_log_that_cannot_be_written_is_a_failure(tmp_path):
    """A command is not started if its log cannot be written."""
    (tmp_path / "logs").write_text("no folder")
    assert 1 == supervised.run(supervised.job(tmp_path, "print('never')"))
    noted = attempt.read_attempt(tmp_path, "train")
    assert "failed" == noted.state
    assert f"{tmp_path}/logs" in noted.cause


def test_a_trainer_without_room_has_failed(tmp_path):
    """A trainer that fails for lack of disk space has that error as its cause."""
    limit = (1 << 14, 1 << 14)
    supervisor = supervised.start(
        supervised.job(tmp_path, "open('checkpoint', 'wb').write(bytes(1 << 15))"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert 1 == supervisor.wait(10)
    noted = attempt.read_attempt(tmp_path, "train")
    assert ("failed", "OSError: [Errno 27] File too large") == (noted.state, noted.cause)


def test_a_supervisor_imports_little():
    """A supervisor imports no heavy package, as one runs beside each trainer for days."""
    code = "import sys, deepmac_ablate.launch.supervision.supervisor; print(*sys.modules)"
    loaded = subprocess.check_output(
        [sys.executable, "-c", code], env=supervised.ENVIRONMENT, text=True).split()
    heavy = {"tensorflow", "pandas", "wandb", "xmanager", "numpy", "etils", "gin", "rich"}
    assert set() == heavy & set(loaded)


def test_states_that_were_never_finished_are_removed(tmp_path):
    """Temporary files of a supervisor that was killed while writing are removed."""
    (tmp_path / ".state-train.json.123.tmp").write_text("{")
    supervised.run(supervised.job(tmp_path, ""))
    assert [".train.lock", "job-train.json", "logs", "state-train.json"] == sorted(
        path.name for path in tmp_path.iterdir())

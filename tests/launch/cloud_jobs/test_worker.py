"""A job in a cloud trains its trial once, whatever happens to machines and networks."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest

from deepmac_ablate import errors
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import worker
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.fakes import secret_server
from tests.helpers import supervised, working

pytestmark = pytest.mark.slow  # Each worker is a process that others wait for.


@pytest.fixture
def folder(tmp_path):
    """A trial's folder on a disk."""
    folder = tmp_path / "trials" / "t0"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def cwd(tmp_path):
    """The working directory of workers and their trainers."""
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


def describe(folder, *bindings):
    """Write the trial that the counting trainer runs."""
    TrialWorkdir(folder).write_trial(Trial((), bindings, 0, "arm"), "t0")


def submit(folder, at, number=1, role="train"):
    """Write that a job was handed to a cloud."""
    Submission(
        role, number, "gke", {}, "a-trial", None, "v5e-4", "an/image:1", submitted=at).write(folder)


def test_a_worker_runs_the_trial_in_its_folder(folder, cwd):
    """A worker trains a trial to its result, and a later worker has nothing to do."""
    describe(folder, "steps = 3")
    assert 0 == working.run(working.COUNTING, "--workdir", str(folder), cwd=cwd)[0]
    assert {"step": 3} == TrialWorkdir(folder).read_result()
    noted = attempt.read_attempt(folder, "train")
    assert ("finished", 1, os.uname().nodename) == (noted.state, noted.number, noted.host)
    started = "raise RuntimeError('started again')"
    assert (0, "", "") == working.run(started, "--workdir", str(folder), cwd=cwd)


def test_the_trainer_receives_its_options(folder, cwd):
    """The trainer receives folder, mode, tracking and the bindings of `Runtime`."""
    assert (
        sys.executable, "-m", "deepmac_ablate.cli", "train", "--workdir", "gs://b/x/trials/t0",
        "--mode", "train", "--tracking", "online", "--runtime", "Runtime.strategy = 'tpu'",
        "--runtime", "Runtime.tpu = 'grpc://h0:8470'",
    ) == worker.train_command(
        "gs://b/x/trials/t0", "train", "online",
        ("Runtime.strategy = 'tpu'", "Runtime.tpu = 'grpc://h0:8470'"))
    told = "import sys; print(sys.argv[1:])"
    options = ("--role", "eval", "--mode", "continuous_eval", "--tracking", "offline",
               "--runtime", "Runtime.strategy = 'tpu'")
    _, out, _ = working.run(told, "--workdir", str(folder), *options, cwd=cwd)
    assert f"{[str(folder), 'continuous_eval', 'offline', options[-1]]}\n" == out
    assert "finished" == attempt.read_attempt(folder, "eval").state


def test_what_the_trainer_prints_is_in_its_log_and_in_that_of_the_machine(folder, cwd):
    """Output reaches both logs at once and in full, including progress bars."""
    code = supervised.OBEDIENT.replace(
        "time.sleep(60)", "print('10 %', end='\\r', flush=True); time.sleep(60)")
    with working.running(code, "--workdir", str(folder), cwd=cwd) as process:
        assert "10 %\r" == process.stdout.buffer.read1().decode()
        log = folder / "logs" / "train-1.log"
        supervised.wait_until(log.exists)
        assert b"10 %\r" == log.read_bytes()
        process.terminate()
        assert 75 == process.wait(20)


def test_a_preempted_trial_goes_on(folder, cwd):
    """A preempted trainer saves a checkpoint, and the next worker continues from there."""
    describe(folder, "steps = 200", "seconds = 0.01")
    process = working.start(working.COUNTING, "--workdir", str(folder), cwd=cwd)
    supervised.wait_until((folder / "checkpoint.json").exists)
    process.terminate()
    process.communicate(timeout=20)
    assert 75 == process.returncode
    noted = attempt.read_attempt(folder, "train")
    assert ("interrupted", "asked to end by SIGTERM") == (noted.state, noted.cause)
    done = json.loads((folder / "checkpoint.json").read_text())
    assert 0 < done < 200
    assert 0 == working.run(working.COUNTING, "--workdir", str(folder), cwd=cwd)[0]
    steps = [line["step"] for line in TrialWorkdir(folder).read_metrics()]
    assert list(range(1, 201)) == steps
    assert 2 == attempt.read_attempt(folder, "train").number


def test_a_killed_worker_leaves_no_trainer(folder, cwd):
    """The kernel ends the trainer of a killed worker, and the next worker finishes the trial."""
    with working.running(supervised.OBEDIENT, "--workdir", str(folder), cwd=cwd) as process:
        process.kill()
        process.wait()
        supervised.wait_until((cwd / "asked").exists)
        supervised.wait_until(lambda: not supervised.processes_in(cwd))
    assert 0 == working.run("print('again')", "--workdir", str(folder), cwd=cwd)[0]
    assert ("finished", 2) == (
        attempt.read_attempt(folder, "train").state, attempt.read_attempt(folder, "train").number)


def test_of_two_workers_one_trains(folder, cwd):
    """A second worker reports who has the trial, with the status for "try again later"."""
    with working.running(supervised.OBEDIENT, "--workdir", str(folder), cwd=cwd) as first:
        status, out, err = working.run("print('me too')", "--workdir", str(folder), cwd=cwd)
        assert (errors.TAKEN, "") == (status, out)
        assert f"is in use by a worker of its train job on {os.uname().nodename} (pid " in err
        assert f"(pid {first.pid} " in err
        assert 1 == attempt.read_attempt(folder, "train").number


@pytest.mark.parametrize(
    ("code", "status", "cause"),
    [("import sys; print('deepmac-ablate: A is no B.'); sys.exit(2)", 2, "A is no B."),
     ("import os; os.kill(os.getpid(), 9)", 1, "killed by SIGKILL (out of memory?)")])
def test_a_failure_is_noted(folder, cwd, code, status, cause):
    """A failure is recorded with its cause, and the exit status tells whether a retry can help."""
    assert status == working.run(code, "--workdir", str(folder), cwd=cwd)[0]
    noted = attempt.read_attempt(folder, "train")
    assert ("failed", cause) == (noted.state, noted.cause)


def test_a_failure_is_not_repeated_by_the_same_job(folder, cwd):
    """A restarted job returns the status of its failure; a new submission tries again."""
    submit(folder, time.time() - 60)
    failing = "import sys; print('deepmac-ablate: The loss is nan.'); sys.exit(3)"
    assert 3 == working.run(failing, "--workdir", str(folder), cwd=cwd)[0]
    again = ("print('again')", "--workdir", str(folder))
    assert (3, "", "") == working.run(*again, cwd=cwd)
    assert ("failed", 1) == (
        attempt.read_attempt(folder, "train").state, attempt.read_attempt(folder, "train").number)
    submit(folder, time.time(), 2)
    assert (0, "again\n", "") == working.run(*again, cwd=cwd)
    assert ("finished", 2) == (
        attempt.read_attempt(folder, "train").state, attempt.read_attempt(folder, "train").number)


def test_a_mistake_before_training_is_the_trials_state(folder, cwd):
    """A missing code snapshot is reported in the trial's state and in the machine's log."""
    status, _, err = working.run(
        "print('never')", "--workdir", str(folder), "--code", str(cwd / "gone"), cwd=cwd)
    sentence = (
        f"{cwd}/gone has no snapshot.json, so it is not a complete code snapshot; launch the sweep "
        "again.")
    assert (2, f"deepmac-ablate: {sentence}\n") == (status, err)
    noted = attempt.read_attempt(folder, "train")
    assert ("failed", sentence, None) == (noted.state, noted.cause, noted.exit_code)


def test_a_silent_trainer_is_ended(folder, cwd):
    """A trainer without a sign of life within the given limit is ended."""
    assert 1 == working.run(
        supervised.OBEDIENT, "--workdir", str(folder), "--silence-limit", "0.5", cwd=cwd)[0]
    assert "no sign of life for 0.5 s" == attempt.read_attempt(folder, "train").cause
    assert (cwd / "asked").exists()


def test_an_evaluator_ends_with_its_trainer(folder, cwd):
    """An evaluator ends once the train job of the same launch has failed."""
    submit(folder, time.time() - 1, role="eval")
    options = ("--workdir", str(folder), "--role", "eval", "--mode", "continuous_eval")
    with working.running(supervised.OBEDIENT, *options, cwd=cwd) as evaluator:
        working.run("raise RuntimeError('no luck')", "--workdir", str(folder), cwd=cwd)
        assert 75 == evaluator.wait(20)
    cause = attempt.read_attempt(folder, "eval").cause
    assert "the train job failed: RuntimeError: no luck" == cause


def test_a_stubborn_trainer_leaves_time_to_note_it(folder, cwd):
    """A trainer that ignores SIGTERM is killed early enough to record the final state."""
    options = ("--workdir", str(folder), "--grace", "1.2")
    with working.running(supervised.STUBBORN, *options, cwd=cwd) as process:
        asked = time.monotonic()
        process.terminate()
        assert 75 == process.wait(20)
    # Of the test's own machine, which may be busy, only the trainer's time is certain.
    assert time.monotonic() - asked >= 0.9
    cause = attempt.read_attempt(folder, "train").cause
    assert "asked to end by SIGTERM; it ignored SIGTERM and was killed" == cause
    assert [] == supervised.processes_in(cwd)


SECRET = "marker-0123456789abcdef"


def test_secrets_are_in_no_log(folder, cwd):
    """Secrets of the environment appear neither in the log nor in the cause of a failure."""
    code = """
import os, sys
sys.stdout.write("the key is " + os.environ["WANDB_API_KEY"][:9])
sys.stdout.flush()
print(os.environ["WANDB_API_KEY"][9:] + "!")
raise RuntimeError("refused: " + os.environ["WANDB_API_KEY"])
"""
    environ = {"WANDB_API_KEY": SECRET, "SHORT_TOKEN": "he", "PLAIN": "there"}
    status, out, _ = working.run(code, "--workdir", str(folder), cwd=cwd, environ=environ)
    assert 1 == status
    assert "the key is ***!" in out
    assert out == (folder / "logs" / "train-1.log").read_text()
    assert "RuntimeError: refused: ***" == attempt.read_attempt(folder, "train").cause
    found = [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert [] == found


def test_a_secret_is_fetched_for_the_trainer_alone(folder, cwd, monkeypatch):
    """A fetched secret is in the trainer's environment, and in no file and no log."""
    code = """
import os, urllib.parse
print(os.environ["WANDB_API_KEY"], "and", urllib.parse.quote(os.environ["TWO_LINES"]))
print(os.environ["TWO_LINES"])
open("seen", "w").write(os.environ["WANDB_API_KEY"])
"""
    with secret_server.serving() as server:
        server.add("projects/p/secrets/wandb", SECRET.encode())
        server.add("projects/p/secrets/lines", b"marker-line-1\nmarker-line-2")
        status, out, err = working.run(
            code, "--workdir", str(folder),
            "--secret", "WANDB_API_KEY=projects/p/secrets/wandb/versions/1",
            "--secret", "TWO_LINES=projects/p/secrets/lines/versions/latest",
            cwd=cwd, environ={secret_server.VARIABLE: server.url})
    assert (0, "") == (status, err)
    assert SECRET == (cwd / "seen").read_text()
    assert ["*** and ***%0A***", "***", "***"] == out.splitlines()
    assert [] == [
        path for path in folder.rglob("*") if path.is_file() and "marker" in path.read_text()]


def test_a_secret_that_is_not_given_is_the_trials_state(folder, cwd):
    """A secret that may not be read fails the trial and names the missing role."""
    reference = "projects/p/secrets/wandb/versions/1"
    with secret_server.serving() as server:
        server.denied.add("projects/p/secrets/wandb")
        status, out, err = working.run(
            "print('never')", "--workdir", str(folder), "--secret", f"WANDB_API_KEY={reference}",
            cwd=cwd, environ={secret_server.VARIABLE: server.url})
    assert (2, "", 1) == (status, out, len(err.splitlines()))
    noted = attempt.read_attempt(folder, "train")
    assert ("failed", err) == (noted.state, f"deepmac-ablate: {noted.cause}\n")
    assert reference in noted.cause
    assert "roles/secretmanager.secretAccessor" in noted.cause


def test_an_option_that_holds_the_secret_itself_is_not_repeated(folder, cwd):
    """The error for a --secret option without a variable does not show its value."""
    status, out, err = working.run(
        "", "--workdir", str(folder), "--secret", SECRET, cwd=cwd)
    assert (2, "", 0) == (status, out, err.count(SECRET))
    assert "such as 'WANDB_API_KEY=projects/...'" in err


PRINT_CLUSTER = "import os; print(os.environ.get('TF_CONFIG'))"


def test_each_machine_of_a_job_has_its_task(folder, cwd):
    """The first machine writes for all; the others print their output and write no file."""
    options = ("--workdir", str(folder), "--hosts", "h0,h1", "--tracking", "online")
    code = PRINT_CLUSTER + "; import sys; print(sys.argv[3]); sys.exit(3)"
    for index, tracking in ((1, "off"), (0, "online")):
        there = sorted(folder.rglob("*"))
        status, out, _ = working.run(
            code, *options, cwd=cwd, environ={"JOB_COMPLETION_INDEX": str(index)})
        config, said = out.splitlines()
        assert (3, tracking) == (status, said)
        assert {
            "cluster": {"worker": ["h0:2222", "h1:2222"]},
            "task": {"type": "worker", "index": index}} == json.loads(config)
        assert (index == 1) == (there == sorted(folder.rglob("*")))
    assert "failed" == attempt.read_attempt(folder, "train").state


@pytest.mark.parametrize(
    ("clustered", "task", "is_chief"),
    [({"chief": ["a:1"], "worker": ["b:1"]}, ("chief", 0), True),
     ({"chief": ["a:1"], "worker": ["b:1"]}, ("worker", 0), False),
     ({"worker": ["a:1", "b:1"]}, ("worker", 0), True),
     ({"worker": ["a:1", "b:1"]}, ("worker", 1), False),
     ({"chief": ["a:1"], "ps": ["b:1"]}, ("ps", 0), False),
     ({}, ("worker", 0), True)])
def test_the_chief_of_a_platforms_own_cluster_is_found(clustered, task, is_chief):
    """The chief is the task that TF_CONFIG calls so, or else the first worker."""
    given = json.dumps({"cluster": clustered, "task": {"type": task[0], "index": task[1]}})
    assert (is_chief, {}) == worker.find_cluster_member(["h0", "h1"], {"TF_CONFIG": given})


def test_a_platforms_own_cluster_stays(folder, cwd):
    """The trainer receives the platform's TF_CONFIG unchanged, and only the chief writes."""
    given = json.dumps({
        "cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}})
    _, out, _ = working.run(
        PRINT_CLUSTER, "--workdir", str(folder), cwd=cwd, environ={"TF_CONFIG": given})
    assert (f"{given}\n", []) == (out, list(folder.iterdir()))


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [({},
      "JOB_COMPLETION_INDEX must be a number from 0 to 1, as --hosts names 2 machines; got ''"),
     ({"JOB_COMPLETION_INDEX": "2"}, "as --hosts names 2 machines; got '2'."),
     ({"TF_CONFIG": "{"}, "TF_CONFIG does not name a task of a cluster"),
     ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "TF_CONFIG does not name a task")])
def test_a_machine_without_a_number_is_refused(environ, sentence):
    """A missing or wrong machine number is reported with its variable."""
    with pytest.raises(UserError) as refused:
        worker.find_cluster_member(["h0", "h1"], environ)
    assert sentence in str(refused.value)


def test_another_machine_ends_when_asked(folder, cwd):
    """A machine that is not the chief passes on SIGTERM and returns the same status."""
    options = ("--workdir", str(folder), "--hosts", "h0,h1")
    environ = {"JOB_COMPLETION_INDEX": "1"}
    with working.running(supervised.OBEDIENT, *options, cwd=cwd, environ=environ) as process:
        process.terminate()
        assert 75 == process.wait(20)
    assert (cwd / "asked").exists()
    assert [] == list(folder.iterdir())

"""A job trains a trial whose folder is on gs://, however its machine and the network behave."""

from __future__ import annotations

import dataclasses
import json
import time
import urllib.parse
import urllib.request

import pytest

from deepmac_ablate import errors
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.launch.cloud_jobs.code_snapshot import CodeSnapshot
from deepmac_ablate.launch.supervision import attempt
from tests.fakes.gcs_server import GcsServer
from tests.helpers import supervised, working

pytestmark = pytest.mark.slow

FOLDER = "gs://bucket/x/trials/t0"
HERE = "bucket/x/trials/t0"
STATE = f"{HERE}/state-train.json"
LOG = f"{HERE}/logs/train-1.log"
LOCK = f"{HERE}/.train.lock"
NOTICE = f"{HERE}/.train-end.tmp"

# Prints and waits until somebody touches "go", then leaves a result as the real one does.
WAITING = f"""
import os, pathlib, signal, sys, time, urllib.request
def end(*_):
    print("deepmac-ablate: Stopped at step 4 of 8; run the trial again to go on.", flush=True)
    pathlib.Path("asked").write_text("yes")
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
print("step 1", os.environ.get("WANDB_API_KEY"), flush=True)
pathlib.Path("ready").write_text("yes")
while not pathlib.Path("go").exists():
    time.sleep(0.02)
print("the end", flush=True)
urllib.request.urlopen(urllib.request.Request(
    os.environ["STORAGE_EMULATOR_HOST"] + "/upload/storage/v1/b/bucket/o?uploadType=media&name="
    + {urllib.parse.quote(HERE.removeprefix("bucket/") + "/result.json", safe="")!r},
    b'{{"step": 8}}', method="POST"))
"""


@pytest.fixture
def server():
    """The object store."""
    with GcsServer("bucket") as server:
        yield server


@pytest.fixture
def cwd(tmp_path):
    """The working directory of workers and their trainers."""
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


def state(server) -> attempt.Attempt | None:
    """Return the recorded state of the trial."""
    content = server.objects.get(STATE)
    return None if content is None else attempt.parse_attempt(content, STATE)


def start(server, cwd, trainer=WAITING, *options, **environ):
    return working.running(
        trainer, "--workdir", FOLDER, *options, cwd=cwd,
        environ={**server.environment(), **environ})


def run(server, cwd, trainer, *options, **environ):
    return working.run(
        trainer, "--workdir", FOLDER, *options, cwd=cwd,
        environ={**server.environment(), **environ})


def test_a_trial_is_run_and_noted(server, cwd):
    """State and log are there while it runs, without secrets; nothing else is left behind."""
    with start(server, cwd, WANDB_API_KEY="marker-0123456789") as process:
        supervised.wait_until(lambda: LOG in server.objects and STATE in server.objects)
        assert b"step 1 ***\n" == server.objects[LOG]
        first = state(server)
        assert ("running", None) == (first.state, first.ended)
        supervised.wait_until(lambda: state(server).heartbeat > first.heartbeat)
        assert LOCK in server.objects
        (cwd / "go").touch()
        assert 0 == process.wait(20)
    assert b"step 1 ***\nthe end\n" == server.objects[LOG]
    assert ("finished", 0, 1) == (
        state(server).state, state(server).exit_code, state(server).number)
    assert {STATE, LOG, f"{HERE}/result.json"} == set(server.objects)
    assert [] == [name for name, content in server.objects.items() if b"marker" in content]
    assert (0, "", "") == run(server, cwd, "raise RuntimeError('started again')")


def test_the_log_is_there_before_the_last_state(server, cwd):
    """The final log is uploaded before the final state."""
    status, _, _ = run(server, cwd, "raise RuntimeError('no luck')")
    assert (1, "RuntimeError: no luck") == (status, state(server).cause)
    written = server.buckets["bucket"].objects
    log, last = (written[name.removeprefix("bucket/")].generation for name in (LOG, STATE))
    assert log < last


def test_a_preempted_trial_is_interrupted(server, cwd):
    """A preempted trainer is asked to stop, and its output is uploaded before the machine goes."""
    with start(server, cwd) as process:
        process.terminate()
        assert 75 == process.wait(20)
    assert (cwd / "asked").exists()
    assert ("interrupted", "asked to end by SIGTERM") == (state(server).state, state(server).cause)
    assert server.objects[LOG].endswith(b"Stopped at step 4 of 8; run the trial again to go on.\n")
    assert LOCK not in server.objects
    assert 0 == run(server, cwd, "print('again')")[0]
    assert ("finished", 2) == (state(server).state, state(server).number)
    assert b"again\n" == server.objects[f"{HERE}/logs/train-2.log"]


def test_a_notice_of_a_host_ends_the_trainer(server, cwd):
    """It counts as a request to end, and is gone once the state is written; an old one is not."""
    server.objects[NOTICE] = b"The host of an earlier job was asked to end.\n"
    with start(server, cwd, WAITING, "--end-notice", f"gs://{NOTICE}") as process:
        supervised.wait_until(lambda: STATE in server.objects)
        assert NOTICE not in server.objects
        server.objects[NOTICE] = b"The host h1 was asked to end.\n"
        assert 75 == process.wait(20)
        assert "deepmac-ablate: The host h1 was asked to end.\n" == process.stderr.read()
    assert (cwd / "asked").exists()
    assert "interrupted" == state(server).state
    assert NOTICE not in server.objects


def test_a_machine_that_vanishes_is_waited_for(server, cwd):
    """The next worker takes the lock of a vanished machine once it expires."""
    with start(server, cwd) as process:
        supervised.wait_until(lambda: STATE in server.objects)
        process.kill()
        process.wait()
        supervised.wait_until((cwd / "asked").exists)
    assert LOCK in server.objects
    status, out, err = run(server, cwd, "print('again')")
    assert (0, "again\n", "") == (status, out, err)
    assert ("finished", 2) == (state(server).state, state(server).number)


def test_of_two_workers_one_trains(server, cwd):
    """A second worker sees signs of life and exits with the status for "try again later"."""
    with start(server, cwd) as process:
        status, out, err = run(server, cwd, "print('me too')")
        assert (errors.TAKEN, "", 1) == (status, out, len(err.splitlines()))
        assert f"{FOLDER} is in use by a worker of its train job on " in err
        assert f"(pid {process.pid} " in err
        assert ("running", 1) == (state(server).state, state(server).number)


def test_a_worker_that_was_given_up_ends_its_trainer(server, cwd):
    """A worker that lost its lock kills its trainer and writes neither state nor log."""
    with start(server, cwd) as process:
        supervised.wait_until(lambda: STATE in server.objects)
        other = dataclasses.replace(state(server), number=2, host="another")
        server.objects[LOCK] = b"another's"
        assert errors.TAKEN == process.wait(20)
        server.objects[STATE] = json.dumps(dataclasses.asdict(other)).encode()
    assert not (cwd / "asked").exists()
    assert [] == supervised.processes_in(cwd)
    assert other == state(server)


@pytest.mark.extended
@pytest.mark.parametrize("how", [503, "drop"])
def test_a_network_that_is_down_harms_nothing(server, cwd, how):
    """A trainer continues offline beyond the expiry of the lock, and is recorded afterwards."""
    with start(server, cwd) as process:
        supervised.wait_until(lambda: LOG in server.objects and STATE in server.objects)
        server.fail(how, 100_000)
        seen = len(server.requests)
        began = time.monotonic()
        supervised.wait_until(lambda: time.monotonic() > began + 2 * working.TTL)
        assert len(server.requests) > seen
        before = state(server)
        assert process.poll() is None
        server.heal()
        supervised.wait_until(lambda: state(server).heartbeat > before.heartbeat, 60)
        (cwd / "go").touch()
        assert 0 == process.wait(60)
    assert b"step 1 None\nthe end\n" == server.objects[LOG]
    assert "finished" == state(server).state


def test_a_store_that_refuses_is_tried_again(server, cwd):
    """Missing rights exit with the status on which the cluster tries again."""
    server.fail(403, 100)
    status, out, err = run(server, cwd, "print('never')")
    assert (errors.TAKEN, "", 1) == (status, out, len(err.splitlines()))
    assert f"Access to {FOLDER}/" in err


def test_a_failure_is_not_repeated_by_the_same_job(server, cwd, monkeypatch):
    """A restarted job returns the status of its failure; a new submission tries again."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    submission = Submission(
        "train", 1, "gke", {}, "a-trial", None, "v5e-4", "an/image:1", time.time() - 60)
    submission.write(FOLDER)
    mistake = "import sys; print('deepmac-ablate: A is no B.'); sys.exit(2)"
    assert 2 == run(server, cwd, mistake)[0]
    assert (2, "", "") == run(server, cwd, "print('again')")
    assert ("failed", "A is no B.", 1) == (
        state(server).state, state(server).cause, state(server).number)
    dataclasses.replace(submission, number=2, submitted=time.time()).write(FOLDER)
    assert 0 == run(server, cwd, "print('again')")[0]


def test_code_is_fetched_from_the_store(server, cwd, tmp_path, monkeypatch):
    """The trainer's working directory contains the code snapshot of the launch."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gin").mkdir()
    (tmp_path / "gin/question.gin").write_text("Training.steps = 7\n")
    uri = CodeSnapshot(["gin/question.gin"]).write("gs://bucket/x")
    assert uri.startswith("gs://bucket/x/code/")
    assert b"Training.steps = 7\n" == server.objects[f"{uri.removeprefix('gs://')}/gin/question.gin"]
    before = len(server.requests)
    assert uri == CodeSnapshot(["gin/question.gin"]).write("gs://bucket/x")
    assert not [it for it in server.requests[before:] if it.method != "GET"]
    code = "print(open('gin/question.gin').read(), end='')"
    assert (0, "Training.steps = 7\n", "") == run(server, cwd, code, "--code", uri)


def test_an_evaluator_hears_of_its_trainer(server, cwd):
    """An evaluator ends once the train job has failed."""
    failed = attempt.Attempt(
        "train", 1, "failed", "h", 1, None, time.time(), time.time(), ended=time.time() + 60,
        exit_code=1, cause="no luck")
    with start(server, cwd, WAITING, "--role", "eval", "--mode", "continuous_eval") as process:
        server.objects[STATE] = json.dumps(dataclasses.asdict(failed)).encode()
        assert 75 == process.wait(20)
    noted = attempt.parse_attempt(server.objects[f"{HERE}/state-eval.json"], "")
    assert ("interrupted", "the train job failed: no luck") == (noted.state, noted.cause)

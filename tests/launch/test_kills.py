"""After any process is killed at any moment, relaunching finishes each trial exactly once."""

from __future__ import annotations

import collections
import concurrent.futures
import random
import time

import pytest

from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.supervision import attempt, locks
from tests.helpers import supervised

STEPS = 20
TRIALS = 20

# Checkpoints a counter, drops later metrics when it resumes, and detects a second trainer.
TRAINER = f"""
import fcntl, os, signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
alone = open("alone", "w")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    open("company", "w")
    sys.exit(1)

def write(path, text):
    with open(path + ".tmp", "w") as file:
        file.write(text)
    os.replace(path + ".tmp", path)

def lines(path):
    return open(path).read().splitlines() if os.path.exists(path) else []

step = int((lines("checkpoint") or ["0"])[0])
write("metrics.jsonl", "".join(line + "\\n" for line in lines("metrics.jsonl")[:step]))
while step < {STEPS}:
    step += 1
    time.sleep(0.02)
    with open("metrics.jsonl", "a") as file:
        file.write(str(step) + "\\n")
    write("checkpoint", str(step))
    if asked and step < {STEPS}:
        print("deepmac-ablate: Stopped at step", step)
        sys.exit(75)
with open("result.tmp", "w") as file:
    file.write('{{"step": {STEPS}}}')
# The link fails if there is a result already.
os.rename("result.tmp", "result.new"); os.link("result.new", "result.json")
"""


def _kill(victim, folder, supervisor, launcher):
    if victim == "launcher":
        launcher.kill()
    elif victim == "stop":
        supervisor.terminate()
    elif victim == "supervisor":
        supervisor.kill()
    else:
        for process in supervised.processes_in(folder):
            process.kill()


def _launch_until_finished(folder, seed):
    """Launch until the trial is finished, kill something thrice; returns the statuses between."""
    draw = random.Random(seed)
    folder.mkdir()
    lease = folder / "lease"
    statuses = []
    while (status := trial_status.read_status(folder).status) != "finished":
        statuses.append(status)
        assert len(statuses) < 20, statuses
        attempt.stop_leftovers(folder, "train")
        with supervised.launcher(lease) as launcher:
            supervisor = supervised.start(supervised.job(folder, TRAINER, launcher_lock=lease))
            if len(statuses) <= 3:
                time.sleep(draw.uniform(0.05, 0.8))
                _kill(
                    draw.choice(["launcher", "stop", "supervisor", "trainer"]), folder, supervisor,
                    launcher)
            supervisor.wait(30)
    return statuses


@pytest.mark.slow
def test_killed_trials_are_finished_once(tmp_path):
    """Each step is logged once, no two trainers overlap, and no process or lock is left."""
    folders = [tmp_path / str(number) for number in range(TRIALS)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(_launch_until_finished, folders, range(TRIALS)))
    for folder in folders:
        assert not (folder / "company").exists()
        steps = [int(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert list(range(1, STEPS + 1)) == steps
        assert [] == supervised.processes_in(folder)
        assert not locks.is_held(attempt.lock_path(folder, "train"))
        assert "finished" == trial_status.read_status(folder).status
    # The kills took effect: trials were interrupted or failed, and were resumed.
    seen = collections.Counter(status for each in statuses for status in each)
    assert seen["interrupted"] >= TRIALS / 2
    assert seen["failed"] >= 2

"""Two processes that train one trial together over loopback, as hosts of GPUs do.

They must be told apart from one process by nothing but time. What is compared here differs by
rounding alone, as sums are taken in another order. Rounding grows with the steps, until it decides
which of two equally good proposals is a region; so there are few steps, at a low rate.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate import errors as exit_status
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.tiny_trial import CHECKPOINT_EVERY, DURATIONS, Recipe

ROOT = Path(__file__).resolve().parents[2]
STEPS = CHECKPOINT_EVERY + 2
TOGETHER = "Runtime.strategy = 'multi_worker_mirrored'"

pytestmark = [
    pytest.mark.slow, pytest.mark.extended, pytest.mark.usefixtures("clean_tensorflow")]


def trial_of(recipe: Recipe, *changes: str) -> Trial:
    """Statistics are taken over the whole batch, wherever its images are."""
    return recipe.trial(
        f"STEPS = {STEPS}", "LEARNING_RATE = 0.001", "Norm.synchronized = True",
        "Evaluation.every = 5", *changes)


class Cluster(NamedTuple):
    """Processes that train a trial together, the chief first."""

    processes: list[subprocess.Popen]
    folders: list[Path]

    def wait(self) -> list[int]:
        """Return their exit statuses."""
        return [process.wait(timeout=600) for process in self.processes]

    def said(self, index: int) -> str:
        """The stderr of one of them."""
        return (self.folders[index] / "stderr").read_text()


def start(trial: Trial, folder: Path, workdirs: list[Path], *options: str) -> Cluster:
    """Start a process for each workdir, each with folders of its own for temporary files."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in workdirs]
    hosts = [f"127.0.0.1:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()
    command = [sys.executable, "-m", "deepmac_ablate.cli", "train", "--runtime", TOGETHER]
    command += [x for file in trial.gin_files for x in ("--gin_file", file)]
    command += [x for binding in trial.bindings for x in ("--gin_bindings", binding)]
    processes, folders = [], []
    for index, workdir in enumerate(workdirs):
        own = folder / f"worker-{index}"
        (own / "tmp").mkdir(parents=True)
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        with (own / "stderr").open("w") as errors:
            processes.append(subprocess.Popen(
                [*command, "--workdir", str(workdir), *options], cwd=ROOT, stderr=errors,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "TF_CONFIG": json.dumps(config), "TMPDIR": str(own / "tmp")}))
        folders.append(own)
    return Cluster(processes, folders)


def wait_for_step(workdir: TrialWorkdir, step: int, cluster: Cluster) -> None:
    """Wait until a step is noted."""
    deadline = time.monotonic() + 500
    while not (lines := workdir.read_metrics()) or lines[-1]["step"] < step:
        assert time.monotonic() < deadline
        assert [None, None] == [process.poll() for process in cluster.processes], cluster.said(0)
        time.sleep(0.005)


def variables(workdir: TrialWorkdir) -> dict[str, np.ndarray]:
    """The variables of the last checkpoint by name."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(workdir.checkpoints)))
    return {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH" and "save_counter" not in name}


def assert_same(expected: TrialWorkdir, actual: TrialWorkdir) -> None:
    """Step, metrics, evaluations, every variable and the result agree to 1e-5."""
    for kind in ("read_metrics", "read_evaluations"):
        lines = [
            [{k: v for k, v in line.items() if k not in ("wall_time", "train/steps_per_second")}
             for line in getattr(workdir, kind)()]
            for workdir in (expected, actual)]
        assert len(lines[0]) == len(lines[1])
        for one, other in zip(*lines, strict=True):
            assert_close(one, other, 1e-6)
    ours, theirs = variables(expected), variables(actual)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        # Biases before a normalisation have no gradient but rounding: some 1e-8.
        np.testing.assert_allclose(theirs[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    one, other = (
        {name: value for name, value in workdir.read_result().items() if name not in DURATIONS}
        for workdir in (expected, actual))
    assert_close(one, other, 1e-9)


def assert_close(expected: dict[str, Any], actual: dict[str, Any], least: float) -> None:
    """Numbers agree to 1e-5 or to `least`, everything else exactly."""
    numbers, others = (
        [{k: v for k, v in fields.items() if isinstance(v, float) == wanted}
         for fields in (expected, actual)] for wanted in (True, False))
    assert others[0] == others[1]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, abs=least)


@pytest.fixture(scope="module")
def alone(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> TrialWorkdir:
    """A workdir that one process trained without interruption."""
    from tests.conftest import _clean_tensorflow

    workdir = TrialWorkdir(tmp_path_factory.mktemp("alone") / "w")
    with _clean_tensorflow():
        run_trial(trial_of(tiny_recipe), workdir)
    return workdir


def test_two_processes_compute_what_one_does(
    tiny_recipe: Recipe, alone: TrialWorkdir, tmp_path: Path
) -> None:
    """Metrics, evaluations, weights and result are the same; only the chief writes and tracks."""
    workdir = TrialWorkdir(tmp_path / "w")
    cluster = start(
        trial_of(tiny_recipe), tmp_path, [tmp_path / "w"] * 2, "--tracking", "offline")
    assert [0, 0] == cluster.wait(), cluster.said(1)
    assert_same(alone, workdir)
    assert 2 == len(workdir.read_evaluations())
    (attempt,) = workdir.read_attempts()
    assert [TOGETHER] == attempt["runtime"]
    assert 1 == len(list(tmp_path.glob("w/wandb/offline-run-*")))
    for folder in cluster.folders:
        assert [] == list((folder / "tmp").glob("deepmac-ablate-*"))


def test_what_happens_to_one_happens_to_all(
    tiny_recipe: Recipe, alone: TrialWorkdir, tmp_path: Path
) -> None:
    """A signal to one stops both at the same step; if one is killed, the other ends, too.

    In the end there is what one process computes in one go.
    """
    trial, workdir = trial_of(tiny_recipe), TrialWorkdir(tmp_path / "w")
    cluster = start(trial, tmp_path / "first", [tmp_path / "w"] * 2)
    wait_for_step(workdir, 2, cluster)
    cluster.processes[1].send_signal(signal.SIGTERM)
    assert [exit_status.INTERRUPTED] * 2 == cluster.wait(), cluster.said(0)
    stopped = workdir.read_metrics()[-1]["step"]
    assert 2 <= stopped < STEPS
    for index in range(2):
        assert f"Stopped at step {stopped} of {STEPS}; run the" in cluster.said(index)
    assert [f"ckpt-{stopped}.index"] == [
        path.name for path in (tmp_path / "w/checkpoints").glob("*.index")]

    cluster = start(trial, tmp_path / "second", [tmp_path / "w"] * 2)
    wait_for_step(workdir, stopped + 1, cluster)
    cluster.processes[1].kill()
    assert [exit_status.WORKER_LOST, -signal.SIGKILL] == cluster.wait()
    said = [line for line in cluster.said(0).splitlines() if line.startswith("deepmac-ablate: ")]
    assert 1 == len(said)
    assert "Another worker of the cluster is gone or cannot be reached; start all" in said[0]
    assert "Traceback" not in cluster.said(0)

    run_trial(trial, workdir)
    assert_same(alone, workdir)
    assert [0, stopped] == [attempt["step"] for attempt in workdir.read_attempts()][:2]


def test_all_see_a_divergence(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Each ends by itself, with the exit status for divergence."""
    trial = tiny_recipe.trial(
        "STEPS = 20", "LEARNING_RATE = 1000", "MaskRCNN.l2_weight_decay = 1.0")
    cluster = start(trial, tmp_path, [tmp_path / "w"] * 2)
    assert [exit_status.DIVERGED] * 2 == cluster.wait(), cluster.said(0)


def test_all_must_see_the_same_workdir(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Different checkpoints, as on disks of separate machines, are refused."""
    trial = trial_of(tiny_recipe)
    run_trial(trial, TrialWorkdir(tmp_path / "one"), "train")
    cluster = start(trial, tmp_path, [tmp_path / "one", tmp_path / "other"])
    assert [exit_status.USER_ERROR] * 2 == cluster.wait(), cluster.said(0)
    for index in range(2):
        assert "The workers of the cluster find different checkpoints in " in cluster.said(index)

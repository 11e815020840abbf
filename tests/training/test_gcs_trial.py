"""A trial whose records, workdir and initial weights are on ``gs://``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate import errors as exit_status
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.fakes.gcs_server import GcsServer
from tests.helpers.supervised import wait_until
from tests.helpers.tiny_trial import DURATIONS, Recipe

ROOT = Path(__file__).resolve().parents[2]
BINDINGS = ("STEPS = 8", "Runtime.checkpoint_every = 2")

pytestmark = [
    pytest.mark.slow, pytest.mark.extended, pytest.mark.usefixtures("clean_tensorflow")]


def train(recipe: Recipe, server: GcsServer, *options: str) -> subprocess.Popen:
    """Start a real process that trains in gs://bucket/w."""
    command = [sys.executable, "-m", "deepmac_ablate.cli", "train", "--workdir", "gs://bucket/w"]
    return subprocess.Popen(
        [*command, *options], cwd=ROOT, env={**os.environ, **server.tensorflow_environment()},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_trial_on_gs_is_stopped_and_goes_on(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Its id and numbers equal those of an uninterrupted trial on a disk."""
    first = TrialWorkdir(tmp_path / "first")
    run_trial(tiny_recipe.trial("STEPS = 1", seed=1), first, "train")
    here = TrialWorkdir(tmp_path / "w")
    run_trial(tiny_recipe.trial(
        *BINDINGS, f"Training.init_checkpoint = '{first.checkpoints}'"), here)

    with GcsServer("bucket") as server:
        for name, folder in (("data", tiny_recipe.data), ("first", first.checkpoints)):
            server.objects.update({
                f"bucket/{name}/{path.name}": path.read_bytes()
                for path in map(Path, folder.iterdir()) if path.is_file()})
        bindings = (
            *BINDINGS, "TRAIN = 'gs://bucket/data/train'", "VAL = 'gs://bucket/data/val'",
            "Training.init_checkpoint = 'gs://bucket/first'")
        asked = [option for binding in bindings for option in ("--gin_bindings", binding)]
        process = train(
            tiny_recipe, server, "--gin_file", str(tiny_recipe.gin_file), *asked)
        metrics = "bucket/w/metrics.jsonl"
        wait_until(
            lambda: process.poll() is not None or metrics in server.objects, seconds=300)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
        assert exit_status.INTERRUPTED == process.returncode, errors
        stopped = json.loads(server.objects[metrics].splitlines()[-1])["step"]
        assert 1 <= stopped < 8
        assert f"bucket/w/checkpoints/ckpt-{stopped}.index" in server.objects

        process = train(tiny_recipe, server)
        _, errors = process.communicate(timeout=500)
        assert 0 == process.returncode, errors
        there = {
            name.removeprefix("bucket/w/"): content for name, content in server.objects.items()
            if name.startswith("bucket/w/")}

    files = {
        str(path.relative_to(here.path))
        for path in Path(here.path).rglob("*") if path.is_file()}
    checkpoint = {path for path in files if path.startswith("checkpoints/ckpt-8.")}
    assert 2 == len(checkpoint)
    assert checkpoint <= there.keys()
    assert {path for path in files if "checkpoints/" not in path} == {
        path for path in there if "checkpoints/" not in path}
    lines = [json.loads(line) for line in there["metrics.jsonl"].splitlines()]
    for one, other in zip(here.read_metrics(), lines, strict=True):
        assert one["train/total_loss"] == pytest.approx(other["train/total_loss"], rel=1e-5)
    result = json.loads(there["result.json"])
    for name, value in here.read_result().items():
        if name not in (*DURATIONS, "data_prefix"):
            assert result[name] == (
                pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name
    assert "gs://bucket/data/val" == result["data_prefix"]

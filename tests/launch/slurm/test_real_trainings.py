"""Real trainings as jobs of a real Slurm: from the launch to the table, and on two nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import slurm_cluster
from tests.helpers.launching import ROOT
from tests.helpers.tiny_trial import DURATIONS

pytestmark = [pytest.mark.slow, pytest.mark.extended]

_SWEEP = '''\
"""Do the boxes matter?"""

from deepmac_ablate.sweep import Sweep, axis

BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep({recipe!r}, "own.gin", "STEPS = 3", arms=BOX_SOURCE, seeds=3)
'''


@pytest.fixture(scope="module")
def run(tiny_recipe, tmp_path_factory):
    """Run a command in a folder with a sweep and a module of its own, on a cluster."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "boxes.py").write_text(_SWEEP.format(recipe=str(tiny_recipe.gin_file)))
    (folder / "own.py").write_text("")
    (folder / "own.gin").write_text("import own\n")
    with slurm_cluster.serving(folder / "slurm") as cluster:
        environment = {
            **os.environ, **cluster.variables, "HOME": str(folder), "PYTHONPATH": str(ROOT)}

        def command(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "deepmac_ablate.cli", *words], cwd=folder, env=environment,
                capture_output=True, text=True, timeout=900, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        yield command, folder


def results(workdir: Path) -> dict[str, dict]:
    """The result of each trial by id, without its durations and its place in a process."""
    found = {}
    for path in workdir.glob("trials/*/result.json"):
        fields = json.loads(path.read_text())
        found[path.parent.name] = {
            "table": (path.parent / "per_class.csv").read_text(),
            **{name: value for name, value in fields.items() if name not in DURATIONS}}
    return found


def test_a_sweep_has_the_ids_and_numbers_that_it_has_on_this_machine(run):
    """Six trials, each as a job; the tables are the same."""
    command, folder = run
    command("launch", "boxes.py", "--executor", "slurm", "--partition", "main", "--time", "30:00",
            "--workdir", "there", "--max-parallel", "2")
    command("launch", "boxes.py", "--workdir", "here")
    there, here = results(folder / "there"), results(folder / "here")
    assert 6 == len(there)
    assert there == here
    tables = [command("table", name).partition("trials and cost")[0] for name in ("there", "here")]
    assert tables[0] == tables[1]
    assert "groundtruth" in tables[0]


def test_two_nodes_train_a_trial_together(run):
    """TensorFlow connects them by the addresses that Slurm knows; the result names the strategy."""
    command, folder = run
    command("launch", "boxes.py", "--executor", "slurm", "--slurm", "nodes=2", "--seeds", "1",
            "--only", "box_source=groundtruth", "--workdir", "both")
    [result] = results(folder / "both").values()
    assert 3 == result["step"]
    [start] = (folder / "both").glob("trials/*/attempts.jsonl")
    assert "multi_worker_mirrored" in json.loads(start.read_text().splitlines()[0])["platform"]

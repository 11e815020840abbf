"""A sweep on ``gs://`` from launch to table: real commands, clients, workers and trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fakes import clouds
from tests.helpers.tiny_trial import DURATIONS

pytestmark = [pytest.mark.slow, pytest.mark.extended]

# A question of somebody's, beside whose file lie his gin file and his module.
_SWEEP = '''\
"""Do the boxes matter?"""

from deepmac_ablate.sweep import Sweep, axis

BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep("mine.gin", "STEPS = 6", arms=BOX_SOURCE)
'''
_GIN = """\
import my_heads
include '{recipe}'
TRAIN = 'gs://bucket/data/train'
VAL = 'gs://bucket/data/val'
MaskRCNN.mask_head = @WiderMaskHead()
WiderMaskHead.num_convs = 1
WiderMaskHead.width = 4
WiderMaskHead.crop_size = 8
"""
_MODULE = '''\
import gin

from deepmac_ablate.modeling.mask_heads import ConvMaskHead


@gin.register
class WiderMaskHead(ConvMaskHead):
    """Another name for the same."""
'''


class Swept(NamedTuple):
    """A sweep that was launched into a cloud."""

    cloud: clouds.Cloud
    folder: Path
    run: subprocess.CompletedProcess

    def command(self, *words: str) -> subprocess.CompletedProcess:
        """Run a command where the sweep was launched from."""
        # With as many threads as a trainer in the cloud, on which the order of sums depends.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TF_NUM_")}
        return subprocess.run(
            [str(Path(sys.executable).parent / "deepmac-ablate"), *words], cwd=self.folder,
            env={**environment, **self.cloud.environment}, capture_output=True, text=True,
            timeout=580, check=False)


@pytest.fixture(scope="module", params=["gke", "vertex"])
def swept(request, tiny_recipe, tmp_path_factory) -> Swept:
    """Launch two trials on CPUs of a cloud, whose trainers have TensorFlow's own gs://."""
    folder = tmp_path_factory.mktemp("project")
    recipe = tiny_recipe.gin_file.read_text()
    (folder / "recipe.gin").write_text(recipe)
    (folder / "mine.gin").write_text(_GIN.format(recipe="recipe.gin"))
    (folder / "my_heads.py").write_text(_MODULE)
    (folder / "boxes.py").write_text(_SWEEP)
    with clouds.serving(request.param, tmp_path_factory.mktemp("cloud"), real=True) as cloud:
        for path in filter(Path.is_file, tiny_recipe.data.iterdir()):
            cloud.store.objects[f"bucket/data/{path.name}"] = path.read_bytes()
        made = Swept(cloud, folder, None)
        place = {"gke": ["--context", "here"], "vertex": ["--project", "p"]}[request.param]
        yield made._replace(run=made.command(
            "launch", "boxes.py", "--executor", request.param, "--device", "cpu-4", "--image",
            "example/ablate:1", "--workdir", clouds.WORKDIR, "--max-parallel", "2", *place))


def test_it_runs_from_launch_to_table(swept):
    """Both trials finish in the cloud, and the table is printed from gs://."""
    assert 0 == swept.run.returncode, swept.run.stderr
    assert "### mask IoU in ground-truth boxes\n" in swept.run.stdout
    assert swept.run.stdout.rstrip().endswith("2 finished, 0 failed, 0 interrupted, 0 missing")
    assert "cpu-4 on " in swept.run.stderr
    assert "Traceback" not in swept.run.stderr
    names = {name.removeprefix("bucket/w/") for name in swept.cloud.store.objects}
    trials = {name.split("/")[1] for name in names if name.startswith("trials/")}
    for trial in trials:
        assert {f"trials/{trial}/{it}" for it in (
            "config.gin", "metrics.jsonl", "per_class.csv", "result.json", "logs/train-1.log",
            "checkpoints/checkpoint", "submission-train.json", "state-train.json")} <= names


def test_the_verbs_read_gs(swept):
    """`status`, `logs` and `table` read gs:// without TensorFlow's environment variables."""
    status = swept.command("status", clouds.WORKDIR)
    assert "2 finished" in status.stdout
    assert status.stdout.endswith("No launcher is running.\n")
    logs = swept.command("logs", clouds.WORKDIR, "proposals")
    assert "/result.json" in logs.stdout
    table = swept.command("table", clouds.WORKDIR, "--format", "json")
    assert ["proposals", "groundtruth"] == [row["arm"] for row in json.loads(table.stdout)]


def test_the_numbers_are_those_of_this_machine(swept, tmp_path):
    """The same trials run on this machine have the same ids and the same results."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in swept.cloud.store.objects.items():
        if name.startswith("bucket/data/"):
            (folder / name.rpartition("/")[2]).write_bytes(content)
    run = swept.command(
        "launch", "boxes.py", "--workdir", str(tmp_path / "w"), "--gin_bindings",
        f"TRAIN = '{folder}/train'", "--gin_bindings", f"VAL = '{folder}/val'")
    assert 0 == run.returncode, run.stderr
    trials = sorted(it.name for it in (tmp_path / "w" / "trials").iterdir())
    assert 2 == len(trials)
    for trial in trials:
        here = json.loads((tmp_path / "w/trials" / trial / "result.json").read_text())
        there = json.loads(swept.cloud.store.objects[f"bucket/w/trials/{trial}/result.json"])
        numbers = {name for name, value in here.items() if isinstance(value, float)}
        for name in numbers - set(DURATIONS):
            assert here[name] == pytest.approx(there[name], abs=1e-6), name

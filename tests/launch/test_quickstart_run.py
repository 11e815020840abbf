"""A sweep from ``xmanager launch`` to results: real trials and W&B's real offline files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from deepmac_ablate import cli
from deepmac_ablate.commands import xmanager_script
from tests.fakes import wandb_server

pytestmark = [pytest.mark.slow, pytest.mark.extended]

ROOT = Path(__file__).resolve().parents[2]

_SWEEP = '''\
"""Do the boxes matter?

On next to nothing.
"""

from deepmac_ablate.sweep import Sweep, axis

BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep({recipe!r}, "STEPS = 4", arms=BOX_SOURCE)
'''


class Swept(NamedTuple):
    """A sweep of two trials that ``xmanager launch`` has run."""

    file: Path
    workdir: Path
    run: subprocess.CompletedProcess

    @property
    def trials(self) -> list[dict]:
        """The trials of plan.json."""
        return json.loads((self.workdir / "plan.json").read_text())["trials"]

    def folder(self, trial: dict) -> Path:
        """A trial's folder."""
        return self.workdir / "trials" / trial["id"]


@pytest.fixture(scope="module")
def swept(tiny_recipe, tmp_path_factory) -> Swept:
    """Run ``xmanager launch`` in a process of its own, with an empty home directory."""
    home = tmp_path_factory.mktemp("home")
    file = tmp_path_factory.mktemp("sweeps") / "boxes.py"
    file.write_text(_SWEEP.format(recipe=str(tiny_recipe.gin_file)))
    workdir = tmp_path_factory.mktemp("runs") / "a sweep"
    environment = {n: v for n, v in os.environ.items() if not n.startswith("WANDB")}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT), "WANDB_API_KEY": "marker" * 8}
    run = subprocess.run(
        [str(Path(sys.executable).parent / "xmanager"), "launch", xmanager_script.__file__, "--",
         f"--sweep={file}", "--executor=local", f"--workdir={workdir}", "--tracking=offline",
         "--max-parallel=2", "--gin_bindings=Losses.mask_weight = 1.25"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580, check=False)
    return Swept(file, workdir, run)


def test_xmanagers_command_runs_a_sweep(swept):
    """Both trials finish; a table and a line of counts are printed."""
    assert 0 == swept.run.returncode, swept.run.stderr
    assert swept.run.stdout.rstrip().endswith("2 finished, 0 failed, 0 interrupted, 0 missing")
    assert "### mask IoU in ground-truth boxes\n" in swept.run.stdout
    assert "- One seed per arm: differences may be noise." in swept.run.stdout
    assert "boxes: Do the boxes matter?\n" in swept.run.stderr
    assert "Traceback" not in swept.run.stderr
    assert ["proposals", "groundtruth"] == [trial["arm"] for trial in swept.trials]


def test_each_trial_trained_with_the_bindings_of_its_arm(swept):
    """The operative configuration has them, and the command line's binding."""
    for trial in swept.trials:
        operative = (swept.folder(trial) / "operative_config.gin").read_text()
        head = {"proposals": "@ProposalBoxes()", "groundtruth": "@GroundTruthBoxes()"}
        assert f"MaskRCNN.mask_boxes = {head[trial['arm']]}" in operative
        assert "Losses.mask_weight = 1.25" in operative
        assert 4 == json.loads((swept.folder(trial) / "result.json").read_text())["step"]


def test_wandb_has_what_the_workdir_has(swept):
    """The uploaded run has the trial's identity, configuration, steps and final metrics."""
    for trial in swept.trials:
        folder = swept.folder(trial)
        [((project, run_id), found)] = wandb_server.upload_copy(folder).items()
        assert (trial["id"], "boxes", trial["arm"]) == (
            run_id, project, found.fields["groupName"])
        assert f"box_source={trial['arm']}" in found.fields["tags"]
        assert 1.25 == found.config["Losses.mask_weight"]
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        loss = {row["global_step"]: row["train/total_loss"] for row in found.rows
                if "train/total_loss" in row}
        assert {row["step"]: row["train/total_loss"] for row in metrics} == loss
        result = json.loads((folder / "result.json").read_text())
        expected = {name: value for name, value in result.items() if value is not None}
        assert expected == {name: found.summary.get(name) for name in expected}


def test_secrets_stay_out_of_the_workdir(swept):
    """No file contains the API key of the environment."""
    files = [path for path in swept.workdir.rglob("*") if path.is_file()]
    assert [] == [path for path in files if b"marker" * 8 in path.read_bytes()]


def test_provenance_is_saved_with_the_launch(swept):
    """The launch has recorded the commit of this checkout."""
    [launch] = (swept.workdir / "launches").iterdir()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    saved = json.loads((launch / "provenance.json").read_text())
    assert saved["commit"] == (commit.stdout.strip() or None)


def test_launching_again_does_nothing(swept, capsys):
    """``deepmac-ablate launch`` of the same sweep changes no file of a trial."""
    before = {path: path.stat().st_mtime_ns for path in swept.workdir.glob("trials/*/*")}
    bound = ["--gin_bindings", "Losses.mask_weight = 1.25"]
    then = swept.workdir / "then"
    status = cli.main([
        "launch", str(swept.file), "--workdir", str(swept.workdir), *bound,
        "--then", f"echo $DEEPMAC_ABLATE_STATUS > '{then}'"])
    assert 0 == status
    assert "2 finished, 0 failed" in capsys.readouterr().out
    assert "0\n" == then.read_text()
    assert before == {path: path.stat().st_mtime_ns for path in swept.workdir.glob("trials/*/*")}


def test_plan_reports_finished_trials_and_costs(swept, capsys):
    """With another binding the sweep has two other trials, which are new."""
    for binding, expected in (("1.25", "finished"), ("1.5", "new")):
        assert 0 == cli.main([
            "plan", str(swept.file), "--json", "--workdir", str(swept.workdir),
            "--gin_bindings", f"Losses.mask_weight = {binding}"])
        trials = json.loads(capsys.readouterr().out)["trials"]
        assert {expected} == {trial["status"] for trial in trials}
        assert [True, False] == [trial["baseline"] for trial in trials]
    # Both box sources have the same model, whose parameters fit into the checkpoint.
    parameters = {trial["cost"]["parameters"] for trial in trials}
    assert len(parameters) == 1
    [data] = swept.folder(swept.trials[0]).glob("checkpoints/ckpt-4.data*")
    assert 4 * parameters.pop() < data.stat().st_size


def test_status_logs_and_diff(swept, capsys):
    """They find the trials by id and arm, and print logs and differing bindings."""
    workdir = str(swept.workdir)
    assert 0 == cli.main(["status", workdir])
    assert "No launcher is running." in capsys.readouterr().out
    assert 0 == cli.main(["logs", workdir, "groundtruth"])
    printed = capsys.readouterr().out
    assert f"trials/{swept.trials[1]['id']}/logs/train-1.log" in printed
    assert "groundtruth  iou" in printed
    assert 0 == cli.main(["diff", "--workdir", workdir, "proposals", "groundtruth"])
    printed = capsys.readouterr().out
    assert "@ProposalBoxes()" in printed
    assert "@GroundTruthBoxes()" in printed
    assert "mask_weight" not in printed
    assert 2 == cli.main(["logs", workdir, "grundtruth"])
    assert "Did you mean 'groundtruth'?" in capsys.readouterr().err


def test_a_wrong_binding_is_found_before_anything_runs(swept, tmp_path, capsys):
    """A misspelt name gives one sentence and exit status 2, and no workdir is created."""
    status = cli.main([
        "launch", str(swept.file), "--workdir", str(tmp_path / "w"),
        "--gin_bindings", "Losses.mask_wieght = 2.0"])
    assert 2 == status
    assert "Did you mean 'mask_weight'?" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_missing_dataset_is_noted_by_plan_and_refused_by_launch(swept, tmp_path, capsys):
    """A plan can be made on another machine than the data's; a launch cannot."""
    elsewhere = ["--gin_bindings", "TRAIN = 'nowhere/train'", "--workdir", str(tmp_path / "w")]
    assert 0 == cli.main(["plan", str(swept.file), *elsewhere])
    assert "Dataset nowhere/train was not checked" in capsys.readouterr().out
    assert 2 == cli.main(["launch", str(swept.file), *elsewhere])
    assert "nowhere/train" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()

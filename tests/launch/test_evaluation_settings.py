"""Finished trials that were evaluated with other settings than the sweep has now."""

import json
import shutil
from pathlib import Path

import pytest

from deepmac_ablate import cli
from deepmac_ablate.launch.evaluation_settings import describe_changes
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.plan import resolve_sweep
from deepmac_ablate.sweep.sweep_file import load_sweep

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NEW = "Evaluation.box_sources = ['detections', 'jittered0.1']"


@pytest.fixture
def workdir(tmp_path):
    """A copy of a recorded sweep of 18 finished trials."""
    shutil.copytree(GOLDEN / "sweeps/recorded_a", tmp_path / "a")
    return tmp_path / "a"


def described(workdir, *bindings):
    sweep = load_sweep(str(GOLDEN / "recorded_a.py")).edited(list(bindings), None, [], None)
    plan, _ = resolve_sweep(sweep)
    files = SweepWorkdir(workdir)
    return describe_changes(files, plan, StatusReader(files, plan).read_rows())


@pytest.mark.parametrize("bindings", [
    [],
    ["Evaluation.overlays = 9", "EvaluationData.batch_size = 2", "Runtime.log_every = 7",
     "Evaluation.images_during_training = 5"],
    # What the trials were evaluated in without a binding.
    ["Evaluation.box_sources = ('groundtruth', 'detections')"],
])
def test_settings_that_leave_the_numbers_are_no_change(workdir, bindings):
    """Neither the pictures drawn, nor the batch size, nor a default that is bound, count."""
    assert [] == described(workdir, *bindings)


def test_other_box_sources_are_one_sentence_with_the_command_for_the_new_ones(workdir):
    """All finished trials are counted; the command is complete for the first of them."""
    [line] = described(workdir, NEW)
    assert line.startswith(
        "18 finished trials were evaluated with other settings: Evaluation.box_sources = "
        "['detections', 'groundtruth'] (now ['detections', 'jittered0.1']); evaluate them again")
    assert (
        f"`deepmac-ablate evaluate --workdir {workdir} "
        "--box-source detections --box-source jittered0.1`") in line
    assert "and 13 more" in line


def test_another_number_of_images_is_a_change(workdir):
    """Unless the trial was evaluated on as many; the command has the option for it."""
    result = workdir / "trials/6d15d950e63a/result.json"
    [line] = described(workdir, "Evaluation.images = 50")
    assert "Evaluation.images = its default (now 50); evaluate them again" in line
    assert f"`deepmac-ablate evaluate --workdir {workdir} --images 50`" in line
    fields = json.loads(result.read_text()) | {"images": 50, "dataset_images": 300}
    result.write_text(json.dumps(fields))
    [line] = described(workdir, "Evaluation.images = 50")
    assert line.startswith("17 finished trials")
    config = workdir / "trials/6d15d950e63a/config.gin"
    config.write_text(config.read_text().replace(
        "Evaluation.overlays = 0", "Evaluation.overlays = 0\nEvaluation.images = 50"))
    [line] = described(workdir)
    assert line.startswith("1 finished trial was")
    assert "--images all`" in line


def test_each_change_has_a_sentence_and_unfinished_trials_none(workdir):
    """A trial whose config.gin has other settings is named on its own; others are not counted."""
    trials = workdir / "trials"
    config = trials / "6d15d950e63a/config.gin"
    config.write_text(config.read_text().replace(
        "Evaluation.overlays = 0", "Evaluation.overlays = 0\nEvaluation.noise_seed = 5"))
    (trials / "a070dbad5aee/result.json").unlink()
    [one] = described(workdir)
    assert "1 finished trial was evaluated" in one
    assert "Evaluation.noise_seed = 5 (now its default)" in one
    # `evaluate` has no option for the seed.
    assert "`deepmac-ablate evaluate" not in one
    counts = [line.split()[0] for line in described(workdir, NEW)]
    assert ["1", "16"] == counts


def test_a_moved_dataset_is_no_change_and_another_one_is(workdir, tmp_path):
    """The identity of the dataset counts, not its path."""
    result = json.loads((workdir / "trials/6d15d950e63a/result.json").read_text())
    name, _, fingerprint = result["dataset"].partition("@")
    prefix = tmp_path / "moved" / name
    prefix.parent.mkdir()
    info = {
        "name": name, "fingerprint": fingerprint, "num_images": 1, "num_instances": 1,
        "num_crowds": 0, "num_shards": 0, "categories": [{"id": 1, "name": "a", "label": 1}]}
    Path(f"{prefix}-annotations.json").write_text("{}")
    Path(f"{prefix}-info.json").write_text(json.dumps(info))
    assert [] == described(workdir, f"VAL = {str(prefix)!r}")
    Path(f"{prefix}-info.json").write_text(json.dumps(info | {"fingerprint": "0" * 12}))
    [line] = described(workdir, f"VAL = {str(prefix)!r}")
    assert f"--data {prefix}`" in line


@pytest.mark.parametrize("content", [b"", b"\xff", b"# Parameters for x:\n(", b"no gin"])
def test_a_broken_config_is_passed_over(workdir, content):
    """The other trials are described; broken files are named by other lines."""
    (workdir / "trials/6d15d950e63a/config.gin").write_bytes(content)
    [line] = described(workdir, NEW)
    assert line.startswith("17 finished trials")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "launch"])
def test_plan_and_launch_say_it(workdir, capsys, command):
    """Launching finished trials again says that their numbers have other settings."""
    status = cli.main([
        command, str(GOLDEN / "recorded_a.py"), "--workdir", str(workdir), "--seeds", "1",
        "--only", "mask_head=default", "--only", "box_source=proposals", "--gin-bindings", NEW])
    assert 0 == status
    assert "1 finished trial was evaluated with other settings" in capsys.readouterr().out

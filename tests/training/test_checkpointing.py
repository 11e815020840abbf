"""Lost and damaged checkpoints: training continues from what is whole, and says so."""

from __future__ import annotations

import re
import shutil

import pytest

from deepmac_ablate import cli
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.tiny_trial import CHECKPOINT_EVERY, STEPS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_tensorflow")]

LAST, OLDER = f"ckpt-{STEPS}", f"ckpt-{STEPS - CHECKPOINT_EVERY}"
INDEX, DATA = "index", "data-00000-of-00001"


def cut(path):
    """Leave the first half of a file, as a full disk does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path):
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def empty(path):
    """Leave nothing in a file."""
    path.write_bytes(b"")


def remove(path):
    """Delete a file."""
    path.unlink()


@pytest.fixture
def unfinished(finished, tmp_path):
    """A copy of the finished trial that has no result yet."""
    shutil.copytree(finished.workdir.path, tmp_path / "w")
    (tmp_path / "w/result.json").unlink()
    return TrialWorkdir(tmp_path / "w")


def assert_same_end(finished, workdir):
    """The trial ends with the numbers and the metrics of the one that was left alone."""
    expected, result = finished.workdir.read_result(), workdir.read_result()
    for name, value in expected.items():
        if "/" in name:
            assert (value is None) == (result[name] is None), name
            assert (value or 0) == pytest.approx(result[name] or 0, rel=1e-5, abs=1e-9), name
    losses = [[line["train/total_loss"] for line in w.read_metrics()]
              for w in (finished.workdir, workdir)]
    assert len(losses[1]) == STEPS
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def first_steps(workdir):
    """Return the steps from which the attempts continued."""
    return [attempt["step"] for attempt in workdir.read_attempts() if attempt["mode"] != "eval"]


@pytest.mark.usefixtures("op_by_op")
def test_the_list_of_checkpoints_may_be_lost(finished, unfinished, capsys):
    """Nothing is trained again, and nothing needs to be said."""
    (unfinished.checkpoints / "checkpoint").unlink()
    run_trial(finished.trial, unfinished)
    assert first_steps(unfinished)[-1] == STEPS
    assert_same_end(finished, unfinished)
    assert "deepmac-ablate:" not in capsys.readouterr().err


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.parametrize(("damage", "file", "reason"), [
    (cut, DATA, "Read less bytes than requested"),
    *(pytest.param(*case, marks=[pytest.mark.slow, pytest.mark.extended]) for case in (
        (flip, DATA, ".*hecksum does not match"),
        (empty, INDEX, "file is too short to be an sstable"),
        (remove, DATA, ".*No such file or directory"))),
])
def test_training_continues_from_an_older_checkpoint(
        finished, unfinished, capsys, damage, file, reason):
    """A damaged checkpoint is named and not used."""
    damage(unfinished.checkpoints / f"{LAST}.{file}")
    run_trial(finished.trial, unfinished)
    assert first_steps(unfinished)[-1] == STEPS - CHECKPOINT_EVERY
    assert_same_end(finished, unfinished)
    printed = capsys.readouterr().err
    assert re.search(
        rf"The checkpoint \S*/{LAST} is damaged: {reason}.*\. It is not used\.", printed), printed
    assert {f"{LAST}.{INDEX}", f"{LAST}.{DATA}", f"{OLDER}.{INDEX}", f"{OLDER}.{DATA}",
            "checkpoint"} == {path.name for path in unfinished.checkpoints.iterdir()}


def test_without_a_whole_checkpoint_training_begins_anew(finished, unfinished, capsys):
    """The number of steps that were done is said, and their metrics are kept."""
    metrics = (unfinished.path / "metrics.jsonl").read_text()
    remove(unfinished.checkpoints / f"{LAST}.{INDEX}")
    cut(unfinished.checkpoints / f"{OLDER}.{DATA}")
    run_trial(finished.trial, unfinished)
    assert first_steps(unfinished)[-1] == 0
    assert_same_end(finished, unfinished)
    printed = capsys.readouterr().err
    assert f"{OLDER} is damaged" in printed
    kept = unfinished.path / f"metrics-until-{STEPS}.jsonl"
    assert metrics == kept.read_text()
    assert re.search(
        rf"{STEPS} steps of this trial were done, but \S*/checkpoints has no whole checkpoint "
        rf"after step 0; training continues from there\. The metrics so far are kept in {kept}\.",
        printed), printed


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_a_damaged_last_checkpoint_is_not_replaced_in_silence(
        finished, unfinished, capsys, command):
    """Numbers of an older one would pass for those of the last."""
    cut(unfinished.checkpoints / f"{LAST}.{DATA}")
    options = ["--images", str(finished.recipe.data / "images/val")] if command == "predict" else []
    assert cli.main([command, "--workdir", str(unfinished.path), *options]) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert re.search(
        rf"The checkpoint \S*/{LAST} is damaged: .*\. `deepmac-ablate train --workdir \S*` makes "
        r"it again, from an older one if there is one\.$", printed), printed

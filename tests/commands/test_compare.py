"""`deepmac-ablate compare`, on a sweep's workdir."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepmac_ablate import cli
from tests.helpers import compared_trials, result_workdirs


@pytest.fixture
def workdir(tmp_path):
    """A sweep of two arms and two seeds, whose second arm is .1 better on every object."""
    plan = result_workdirs.plan({"thin": {"head": "thin"}, "deep": {"head": "deep"}}, seeds=2)
    sweep = result_workdirs.write(tmp_path / "W", plan)
    for planned in plan.trials:
        result_workdirs.finish(sweep, plan, planned.id, {})
        table = compared_trials.objects()
        table["iou"] += 0.1 * planned.id.startswith("deep")
        compared_trials.write(tmp_path / "W/trials" / planned.id, table)
    return tmp_path / "W"


def test_two_arms_are_compared(workdir, capsys):
    """The command prints tables for people, and how far it is on stderr only."""
    args = ["compare", str(workdir), "thin", "deep", "--resamples", "100", "--images", "1"]
    assert 0 == cli.main(args)
    printed = capsys.readouterr()
    assert printed.out.startswith("### deep (B) against thin (A): mask IoU in ground-truth boxes\n")
    (row,) = [line for line in printed.out.splitlines() if line.startswith("| all ")]
    assert "| +10.0 | +10.0 to +10.0 * |" in row
    assert 1 == printed.out.count(" of mask IoU in ground-truth boxes")
    assert "" == printed.err


def test_the_output_may_be_a_file(workdir, tmp_path, capsys):
    """Numbers go to the file, and what is to be said of them to stderr."""
    file = tmp_path / "deep.json"
    args = ["compare", str(workdir), "thin", "deep", "--resamples", "100", "--format", "json",
            "--metric", "groundtruth/boundary_iou", "--output", str(file)]
    assert 0 == cli.main(args)
    printed = capsys.readouterr()
    assert f"{file}\n" == printed.out
    assert "positive if deep is better" in printed.err
    kinds = [row["kind"] for row in json.loads(file.read_text())]
    assert ["group"] * 3 + ["class"] * 3 + ["gain"] * 10 == kinds


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["thin", "depe"], "There is no arm or trial 'depe'. Did you mean 'deep'?"),
        (["thin", "deep", "--metric", "iou"], "Arms cannot be compared by 'iou'."),
        (["thin", "deep", "--metric", "detections/mask_ap"],
         "4 of 4 trials have no matches/detections_mask.npz"),
    ])
def test_mistakes_are_one_sentence(workdir, capsys, args, message):
    """The exit status is 2, and nothing is computed."""
    assert 2 == cli.main(["compare", str(workdir), *args])
    printed = capsys.readouterr()
    assert printed.err.startswith(f"deepmac-ablate: {message}")
    assert "" == printed.out


RECORDED = Path(__file__).parents[1] / "golden/sweeps"


def compare_recorded(capsys, first, second, *options, arms=("default", "hourglass20")):
    """Compare two arms of two copies of recorded sweeps; returns the records and the notes."""
    status = cli.main([
        "compare", str(first), *arms, "--with", str(second), "--resamples", "100", "--format",
        "json", *options])
    printed = capsys.readouterr()
    return status, json.loads(printed.out) if printed.out else [], " ".join(printed.err.split())


def test_arms_of_two_workdirs_are_compared(capsys):
    """The sides are named with their workdirs, and the means are those of the files."""
    arms = "default+groundtruth+shapes_a", "hourglass20"
    status, records, notes = compare_recorded(
        capsys, RECORDED / "recorded_a", RECORDED / "recorded_b", arms=arms)
    assert 0 == status
    assert {("default+groundtruth+shapes_a (recorded_a)", "hourglass20 (recorded_b)")} == {
        (record["arm_a"], record["arm_b"]) for record in records}
    assert "images and seeds (0, 1, 2), paired by seed" in notes
    found = {record["name"]: record for record in records if record["kind"] == "class"}
    for side, name, arm in zip("ab", ("recorded_a", "recorded_b"), arms, strict=True):
        folders = [
            path.parent for path in (RECORDED / name).glob("trials/*/sweep.json")
            if json.loads(path.read_text())["arm"] == arm]
        stars = [
            table[(table["reading"] == "groundtruth") & (table["name"] == "star")]["iou"].item()
            for table in (pd.read_csv(folder / "per_class.csv") for folder in folders)]
        assert (3, pytest.approx(np.mean(stars))) == (len(stars), found["star"][side])


def test_seeds_of_other_training_data_are_not_paired(tmp_path, capsys):
    """The same number then draws other images, which the notes say."""
    shutil.copytree(RECORDED / "recorded_b", tmp_path / "c")
    for path in tmp_path.glob("c/trials/*/config.gin"):
        path.write_text(path.read_text().replace("train@38b7d8ae0df8", "train@1"))
    _, _, notes = compare_recorded(capsys, RECORDED / "recorded_b", tmp_path / "c")
    assert (
        "(default (recorded_b): 0, 1, 2; hourglass20 (c): 0, 1, 2), unpaired as they were trained "
        "on different datasets (train@38b7d8ae0df8 and train@1)") in notes
    next(tmp_path.glob("c/trials/417e7eee90f7/config.gin")).unlink()
    _, _, notes = compare_recorded(capsys, RECORDED / "recorded_b", tmp_path / "c")
    assert "unpaired as it is unknown whether both were trained on the same dataset" in notes


def test_other_images_are_refused(tmp_path, capsys):
    """Two workdirs that were evaluated on different datasets are one sentence; so are twins."""
    shutil.copytree(RECORDED / "recorded_b", tmp_path / "c")
    status, _, notes = compare_recorded(
        capsys, RECORDED / "recorded_b", tmp_path / "c", arms=("default", "default"))
    assert 2 == status
    assert notes.endswith("have the same trials; pass two different arms or trials.")
    for path in tmp_path.glob("c/trials/*/result.json"):
        path.write_text(path.read_text().replace("val@78ebbf6b4c8a", "val@1"))
    status, _, notes = compare_recorded(capsys, RECORDED / "recorded_b", tmp_path / "c")
    assert 2 == status
    assert (
        "'default (recorded_b)' and 'hourglass20 (c)' were evaluated on different datasets "
        "(val@78ebbf6b4c8a, val@1); only metrics on the same images can be compared.") in notes

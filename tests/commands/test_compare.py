"""`deepmac-ablate compare`, on a sweep's workdir."""

from __future__ import annotations

import json

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

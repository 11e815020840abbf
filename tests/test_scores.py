"""The table at the end of a launch: means over finished seeds, and nothing averaged away."""

from __future__ import annotations

import json

from deepmac_ablate.sweep import scores
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.rows import TrialRow
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir
from deepmac_ablate.trial import Trial


def swept(folder, results: dict[str, list[dict | None]], baseline: str) -> tuple:
    """A sweep of arms with the results of their seeds; None: not finished."""
    workdir = SweepWorkdir(folder)
    trials = []
    for arm, of_seeds in results.items():
        for seed, result in enumerate(of_seeds):
            planned = PlannedTrial(f"{arm}{seed}", Trial((), (), seed, arm), {"axis": arm}, 1)
            trials.append(planned)
            workdir.folder(planned.id).mkdir(parents=True)
            if result is not None:
                path = workdir.folder(planned.id) / "result.json"
                path.write_text(json.dumps({"step": 1, **result}))
    return workdir, Plan("x", "?", {"axis": tuple(results)}, baseline, tuple(trials))


def test_means_over_the_seeds_that_are_finished(tmp_path):
    """By hand; of a metric that one of the seeds lacks there is no mean."""
    iou = [{"groundtruth/iou/seen": 0.5, "groundtruth/iou/novel": 0.25},
           {"groundtruth/iou/seen": 0.6, "groundtruth/iou/novel": None}, None]
    text = scores.text(*swept(tmp_path, {"deep": iou, "none": [None]}, "deep"), [])
    lines = text.splitlines()
    assert ["deep", "*", "2/3", "55.0", "-", "-", "-", "-", "-", "-", "-"] == lines[3].split()
    assert ["none", "0/1"] + ["-"] * 8 == lines[4].split()
    assert "* baseline; in percent" == lines[5]


def test_one_seed_is_said(tmp_path):
    """And no baseline is pointed out where it was left out."""
    result = {"detections/box_ap/novel": 0.123}
    text = scores.text(*swept(tmp_path, {"deep": [result]}, "another"), [])
    assert ["deep", "1"] + ["-"] * 7 + ["12.3"] == text.splitlines()[3].split()
    assert text.endswith("\nIn percent; one seed an arm, so nobody knows how much is chance")


def test_other_code_is_flagged(tmp_path):
    """The arm's, and what the sign means."""
    rows = [TrialRow("a0", "a", 0, "finished", code_state="other code"),
            TrialRow("b0", "b", 0, "finished")]
    lines = scores.text(*swept(tmp_path, {"a": [{}], "b": [{}]}, "a"), rows).splitlines()
    assert ["a", "*!", "1"] == lines[3].split()[:3]
    assert ["b", "1"] == lines[4].split()[:2]
    assert "! with trials of other code than the present one, or of several" == lines[-1]

"""Finished trials of a sweep are evaluated again by one command, which resumes."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pandas as pd
import pytest
from PIL import Image

from deepmac_ablate import cli, results
from deepmac_ablate.errors import BrokenFileWarning, UserError
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.report.figures.noise_plot import draw_noise
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.training.reevaluate import EvaluationRequest
from deepmac_ablate.trial import code_fingerprint
from tests.helpers import result_workdirs
from tests.helpers.result_frames import arm, frame

NAME = "val-groundtruth-jittered0.2"


@pytest.fixture
def sweep(finished, tmp_path):
    """A sweep of two arms with one finished trial each, and one trial that has not started."""
    trials = []
    for number, label in enumerate(("a", "b", "c")):
        trial = dataclasses.replace(finished.trial, seed=number, arm=label)
        trials.append(PlannedTrial(f"t{number}", trial, {"axis": label}, 50))
    plan = Plan("again", "?", {"axis": ("a", "b", "c")}, "a", tuple(trials))
    workdir = SweepWorkdir(tmp_path / "w")
    workdir.write_plan(plan)
    for planned in trials[:2]:
        folder = workdir.folder(planned.id)
        shutil.copytree(finished.workdir.path, folder)
        (folder / "trial.json").write_text(json.dumps(
            {"id": planned.id, **json.loads(planned.trial.to_json())}))
    return workdir


def evaluate(workdir: SweepWorkdir, *options: str) -> int:
    return cli.main(["evaluate", "--workdir", str(workdir.path), *options])


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_all_finished_trials_are_evaluated_once(finished, sweep, capsys):
    """Their numbers are those of single trials; those that have them are left out."""
    assert 0 == evaluate(sweep, "--box-noise", "0.2")
    out, err = capsys.readouterr()
    assert "3 trials: 2 finished, of which 0 have this evaluation." in err
    assert "### mask IoU in boxes jittered0.2" in out
    assert f"deepmac-ablate table {sweep.path} --evaluation {NAME}" in out
    with Image.open(sweep.path / "evaluations" / f"{NAME}.png") as picture:
        assert picture.width > picture.height > 300
    written = {
        trial: sweep.folder(trial) / "evaluations" / NAME / "result.json"
        for trial in ("t0", "t1")}
    numbers = [json.loads(path.read_text()) for path in written.values()]
    assert numbers[0] == pytest.approx(numbers[1], nan_ok=True)
    assert numbers[0]["groundtruth/iou/novel"] == pytest.approx(
        finished.workdir.read_result()["groundtruth/iou/novel"], abs=1e-6)

    loaded = results.load(sweep.path, evaluation=NAME)
    assert ["finished", "finished", "new"] == list(loaded["status"])
    assert loaded["jittered0.2/iou/novel"][1] == pytest.approx(numbers[1]["jittered0.2/iou/novel"])
    assert not [name for name in loaded if name.startswith("detections/")]
    assert {"t0", "t1"} == set(results.per_class(loaded)["trial"])

    # Only what is missing or of another checkpoint is evaluated again.
    stamp = written["t1"].stat().st_mtime_ns
    written["t0"].write_text(json.dumps({**numbers[0], "step": 7}))
    assert 0 == evaluate(sweep, "--box-noise", "0.2")
    assert "3 trials: 2 finished, of which 1 have this evaluation." in capsys.readouterr().err
    assert numbers[0] == pytest.approx(json.loads(written["t0"].read_text()), nan_ok=True)
    assert stamp == written["t1"].stat().st_mtime_ns


METRIC = """
import gin
from deepmac_ablate.evaluation.metrics.further import ObjectMetric


@gin.register
class ShareOfSweep(ObjectMetric):
    name = "share"

    def __init__(self, factor: float = 1.0):
        self.factor = factor

    def score(self, predicted, annotated):
        return self.factor * FACTOR
"""
METRIC_GIN = """
import metric_of_a_sweep
Evaluation.metrics = [@ShareOfSweep()]
ShareOfSweep.factor = 0.5
"""


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_finished_trials_get_metrics_of_ones_own(sweep, tmp_path, monkeypatch, capsys):
    """They are computed once, and anew when their code or settings have changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    shutil.rmtree(sweep.folder("t1"))
    code, settings = tmp_path / "metric_of_a_sweep.py", tmp_path / "share.gin"
    code.write_text(METRIC.replace("FACTOR", "0.5"))
    settings.write_text(METRIC_GIN)
    options = "--box-source", "groundtruth", "--metrics", "share.gin"
    assert 0 == evaluate(sweep, *options)
    loaded = results.load(sweep.path, evaluation="val-groundtruth-share")
    assert 0.25 == loaded["groundtruth/share/novel"][0]
    assert (results.per_object(loaded)["share"] == 0.25).all()
    assert 0 == evaluate(sweep, *options)
    assert "1 finished, of which 1 have this evaluation." in capsys.readouterr().err
    settings.write_text(METRIC_GIN.replace("0.5", "0.2"))
    # As in a new process.
    code_fingerprint.code_fingerprint.cache_clear()
    assert 0 == evaluate(sweep, *options)
    assert "1 finished, of which 0 have this evaluation." in capsys.readouterr().err
    loaded = results.load(sweep.path, evaluation="val-groundtruth-share")
    assert pytest.approx(0.1) == loaded["groundtruth/share/novel"][0]
    code_then = EvaluationRequest(metrics=("share.gin",)).metrics_code()
    code.write_text(METRIC.replace("FACTOR", "0.1"))
    code_fingerprint.code_fingerprint.cache_clear()
    code_fingerprint._hash_of_sources.cache_clear()
    assert code_then != EvaluationRequest(metrics=("share.gin",)).metrics_code()


@pytest.mark.parametrize(("text", "message"), [
    ("Evaluation.noise_seed = 3\nEvaluation.metrics = []",
     "mine.gin:1 'Evaluation.noise_seed = 3' is not a setting of a metric"),
    ("Evaluation.metrics = [@A()]\nTraining.steps = 3", "mine.gin:2 'Training.steps = 3' is not"),
    ("STEPS = 3", "mine.gin must bind Evaluation.metrics, such as"),
])
def test_gin_files_of_metrics_set_nothing_else(tmp_path, monkeypatch, capsys, text, message):
    """A binding of the model or of the data would have no effect, or change the trial."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.gin").write_text(text)
    workdir = result_workdirs.write(tmp_path, result_workdirs.plan({"a": {}}))
    assert 2 == evaluate(workdir, "--metrics", "mine.gin")
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_fewer_images_have_a_folder_of_their_own_and_tables_say_so(sweep, capsys):
    """The name, the table, and the result tell that numbers are of a part of the data."""
    assert 0 == evaluate(sweep, "--box-source", "groundtruth", "--images", "3")
    out, _ = capsys.readouterr()
    assert "- Evaluated on a random part of the images: 3 of 7." in out
    name = "val-groundtruth-3_images"
    loaded = results.load(sweep.path, evaluation=name)
    assert [3, 3] == list(loaded["images"][:2])
    assert [7, 7] == list(loaded["dataset_images"][:2])
    assert 0 == cli.main(["effects", str(sweep.path), "--evaluation", name])
    assert "Evaluated on a random part of the images: 3 of 7." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate(sweep, "--images", "none")
    assert "--images must be an integer from 1 on or 'all', got 'none'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_a_trial_that_cannot_be_evaluated_is_named(sweep, capsys):
    """The others are evaluated, and the exit status tells."""
    shutil.rmtree(sweep.folder("t1") / "checkpoints")
    assert evaluate(sweep, "--box-source", "groundtruth") not in (0, 2)
    out, err = capsys.readouterr()
    assert "t1: There is no checkpoint to evaluate in " in err
    assert "1 finished trial without the evaluation 'val-groundtruth': t1." in err
    assert "mask IoU in ground-truth boxes" in out


def test_a_sweep_without_finished_trials_is_refused(tmp_path, capsys):
    """So is a folder for the results of one trial."""
    workdir = result_workdirs.write(tmp_path, result_workdirs.plan({"a": {}}))
    assert 2 == evaluate(workdir)
    assert "No trial in" in capsys.readouterr().err
    assert 2 == evaluate(workdir, "--output", "x")
    assert "--output is for one trial" in capsys.readouterr().err


@pytest.fixture
def evaluated(tmp_path):
    """A workdir in which one of two finished trials has another evaluation."""
    plan = result_workdirs.plan({"a": {}}, seeds=2)
    workdir = result_workdirs.write(tmp_path, plan)
    for seed in range(2):
        result_workdirs.finish(
            workdir, plan, f"a-{seed}", {"groundtruth/iou/novel": 0.5, "dataset": "val@1"})
    folder = workdir.folder("a-0") / "evaluations" / "test"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(
        {"step": 600, "dataset": "test@2", "groundtruth/iou/novel": 0.25}))
    return workdir


def test_numbers_of_an_evaluation_take_the_place_of_the_trials_own(evaluated):
    """They are missing where there are none, with a word; a wrong name is one sentence."""
    with pytest.warns(BrokenFileWarning, match="1 finished trial without .* 'test': a-1"):
        loaded = results.load(evaluated.path, evaluation="test")
    assert ["test@2", "val@1"] == list(loaded["dataset"])
    assert 0.25 == loaded["groundtruth/iou/novel"][0]
    assert pd.isna(loaded["groundtruth/iou/novel"][1])
    assert loaded["folder"][0].endswith("/trials/a-0/evaluations/test")
    assert [0.5, 0.5] == list(results.load(evaluated.path)["groundtruth/iou/novel"])
    broken = evaluated.folder("a-1") / "evaluations" / "test"
    broken.mkdir(parents=True)
    (broken / "result.json").write_text('{"groundtruth/iou/novel": 2}')
    with pytest.warns(BrokenFileWarning, match="result.json is broken: its .* from 0 to 1"):
        assert pd.isna(results.load(evaluated.path, evaluation="test")["groundtruth/iou/novel"][1])
    with pytest.raises(UserError, match=r"has .* 'tset'; there are test\. Did you mean"):
        results.load(evaluated.path, evaluation="tset")


def test_noise_is_drawn_for_each_arm():
    """Means over seeds at each ratio, ground-truth boxes being 0, and the floors."""
    def numbers(start: float) -> dict[str, list[float]]:
        return {
            f"{source}/{metric}/{role}": [share * value, share * value + 0.02]
            for source, share in (("groundtruth", 1.0), ("jittered0.5", 0.5))
            for role in ("novel", "seen")
            for metric, value in (("iou", start), ("iou_filled_box", 0.4))}

    arms = group_by_arm(frame(
        arm("a", numbers(0.6), seeds=(0, 1)), arm("b", numbers(0.8), seeds=(0, 1)))).arms
    figure = draw_noise(arms)
    for panel in figure.axes:
        drawn = {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}
        assert {
            "a": [[0.0, pytest.approx(61.0)], [0.5, pytest.approx(31.0)]],
            "b": [[0.0, pytest.approx(81.0)], [0.5, pytest.approx(41.0)]],
            "floor: filled box": [[0.0, pytest.approx(41.0)], [0.5, pytest.approx(21.0)]],
        } == drawn
    without = {name: values for name, values in numbers(0.6).items() if "jittered" not in name}
    assert draw_noise(group_by_arm(frame(arm("a", without, seeds=(0, 1)))).arms) is None

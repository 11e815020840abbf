"""One trial from end to end: its files, its numbers, and that stopping it changes neither."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from deepmac_ablate import bindings, cli
from deepmac_ablate import errors as exit_status
from deepmac_ablate.data.dataset_info import DatasetInfo, annotations_path
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics import summary
from deepmac_ablate.evaluation.metrics.matches import Matches, RankedMatches
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.multi_worker import Workers
from deepmac_ablate.training.run import Interrupted, run_trial, train_model
from deepmac_ablate.training.runtime import processor_name
from deepmac_ablate.training.session import prepare_session
from deepmac_ablate.training.trial_evaluation import evaluate_model
from deepmac_ablate.trial import provenance
from deepmac_ablate.trial.trial import trial_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.tiny_trial import CHECKPOINT_EVERY, DURATIONS, STEPS

ROOT = Path(__file__).resolve().parents[2]
# Numbers that depend on the machine, not on the trial.
OF_THE_MACHINE = ("wall_time", "train/steps_per_second", *DURATIONS)
CHECKPOINTS = {
    "checkpoints", "checkpoints/checkpoint",
    *(f"checkpoints/ckpt-{step}.{ending}" for step in (STEPS - CHECKPOINT_EVERY, STEPS)
      for ending in ("index", "data-00000-of-00001"))}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_tensorflow")]


def contents(workdir):
    """The bytes and the time of the last change of every file that a start does not write."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in Path(workdir.path).rglob("*")
        if path.is_file() and path.name not in ("trial.json", "config.gin", "classes.json")}


def variables(workdir):
    """The variables of the last checkpoint by name: weights, momenta, statistics, the step."""
    path = tf.train.latest_checkpoint(str(workdir.checkpoints))
    reader = tf.train.load_checkpoint(path)
    return {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH" and "save_counter" not in name}


def assert_same_run(expected, actual, steps=STEPS):
    """Every metric of every step and every variable at the end agree to 1e-5, relatively."""
    lines = [
        [{k: v for k, v in line.items() if k not in OF_THE_MACHINE} for line in w.read_metrics()]
        for w in (expected, actual)]
    assert list(range(1, steps + 1)) == [line["step"] for line in lines[1]]
    for one, other in zip(*lines, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-9)
    ours, theirs = variables(expected), variables(actual)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-5, atol=1e-9, err_msg=name)


def assert_same_numbers(expected, actual, tolerance=1e-6):
    """Two results have the same names and, undefined ones included, the same values."""
    # A trial that was resumed, or is the first of its process, has no entries for some durations.
    expected, actual = (
        {name: value for name, value in result.items() if name not in OF_THE_MACHINE}
        for result in (expected, actual))
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert (value is None) == (actual[name] is None), name
        if isinstance(value, str):
            assert value == actual[name]
        elif value is not None:
            assert value == pytest.approx(actual[name], rel=tolerance, abs=tolerance), name


def test_a_finished_trial_has_exactly_its_files(finished):
    """The folder holds the documented files, the last two checkpoints and four overlays."""
    files = {"trial.json", "config.gin", "attempts.jsonl", "operative_config.gin",
             "metrics.jsonl", "classes.json", "per_class.csv", "instances.csv.gz", "masks.json.gz",
             "matches",
             "matches/detections_mask.npz", "matches/detections_box.npz",
             "matches/groundtruth_mask.npz", "result.json"}
    pictures = {path for path in finished.workdir.files() if path.startswith("overlays/")}
    assert files | CHECKPOINTS | {"overlays"} | pictures == finished.workdir.files()
    assert 4 == len(pictures)


def test_the_configuration_is_written_before_the_first_step(finished):
    """The operative configuration is written after the first step."""
    before = {"trial.json", "config.gin", "classes.json", "attempts.jsonl", "checkpoints"}
    assert before == finished.workdir.before_first_step
    after = finished.workdir.after_first_step - finished.workdir.before_first_step
    assert {"operative_config.gin", "metrics.jsonl"} == after


def test_every_attempt_is_recorded(finished):
    """Each attempt has its mode, its first step, and the code that ran."""
    attempts = finished.workdir.read_attempts()
    assert [("train", 0, STEPS), ("eval", STEPS, STEPS)] == [
        (attempt["mode"], attempt["step"], attempt["steps"]) for attempt in attempts]
    for attempt in attempts:
        assert finished.trial.gin_files == tuple(attempt["gin_files"])
        assert provenance.code_fingerprint(gin_files=finished.trial.gin_files) == attempt["code"]
        assert tf.__version__ == attempt["versions"]["tensorflow"]
        assert provenance.describe_code().keys() == attempt.keys() - {
            "time", "mode", "step", "steps", "runtime", "platform"}
        assert attempt["platform"].startswith(processor_name())
        assert attempt["platform"].endswith(", 1 thread, deterministic")
        # Relative paths of its configuration begin there.
        assert str(Path.cwd()) == attempt["folder"]
    started = [attempt["time"] for attempt in attempts]
    noted = [line["wall_time"] for line in finished.workdir.read_metrics()]
    assert started[0] < noted[0] < noted[-1] < started[1] < time.time()
    assert "" == provenance.code_state(attempts, provenance.current_code(attempts))


@pytest.mark.extended
def test_user_modules_are_recorded(finished, tmp_path, monkeypatch):
    """A module that a gin file imports is part of the trial's code."""
    (tmp_path / "a_module_of_mine.py").write_text("X = 1\n")
    (tmp_path / "mine.gin").write_text("import a_module_of_mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    workdir = StopsAfterEachStep(tmp_path / "w")
    files = (*finished.trial.gin_files, str(tmp_path / "mine.gin"))
    with pytest.raises(Interrupted):
        run_trial(dataclasses.replace(finished.trial, gin_files=files), workdir)
    (attempt,) = workdir.read_attempts()
    assert ["a_module_of_mine"] == attempt["modules"]
    assert provenance.code_fingerprint("a_module_of_mine", gin_files=files) == attempt["code"]
    assert provenance.code_fingerprint(gin_files=files) != attempt["code"]


def test_training_alone_writes_no_result(finished):
    """Mode "train" returns nothing; "eval" returns what it writes."""
    trained, evaluated = finished.returned
    assert trained is None
    assert evaluated == json.loads((finished.workdir.path / "result.json").read_text())


def test_trial_json_says_which_trial_it_is(finished):
    """It is read back as the trial that was run, with an id of 12 digits."""
    assert finished.trial == finished.workdir.read_trial()
    assert re.fullmatch(r"[0-9a-f]{12}", finished.workdir.read_trial_id())


def test_config_means_the_same_trial(finished):
    """config.gin alone binds what the gin files and bindings of the trial bind."""
    asked = bindings.explicit_bindings(bindings.parse(finished.trial.gin_files, ()))
    written = bindings.parse([str(finished.workdir.path / "config.gin")], ())
    assert asked == bindings.explicit_bindings(written)


def test_operative_config_holds_what_took_effect(finished):
    """Bound values and defaults of what was used; what was not selected, as comments."""
    text = (finished.workdir.path / "operative_config.gin").read_text()
    unused = text.split("# Without effect, as their modules are not selected:\n")[1]
    assert "'HourglassMaskHead.depth = 20'" in unused
    assert "'ConvMaskHead." not in unused
    effect = bindings.explicit_bindings(
        bindings.parse([str(finished.workdir.path / "operative_config.gin")], ()))
    assert "4" == effect["ConvMaskHead.width"]
    assert str(STEPS) == effect["Training.steps"]
    assert "0.9" == effect["SGD.momentum"]
    assert f"checkpoint_every = {CHECKPOINT_EVERY}" in text
    assert "HourglassMaskHead" not in text.split("# Without effect")[0]
    assert "HourglassMaskHead" in (finished.workdir.path / "config.gin").read_text()


def test_metrics_have_a_line_for_each_interval(finished):
    """There is a line for every step, with finite losses and the scheduled learning rate."""
    lines = finished.workdir.read_metrics()
    assert list(range(1, STEPS + 1)) == [line["step"] for line in lines]
    assert all(np.isfinite(value) for line in lines for value in line.values())
    parts = ("rpn_score_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss",
             "regularization_loss")
    for line in lines:
        assert line["train/total_loss"] == pytest.approx(
            sum(line[f"train/{part}"] for part in parts), rel=1e-5)
    # The rate of the step that was taken, counted from 0; warm-up ends with the second.
    expected = 0.01 * 0.5 * (1 + np.cos(np.pi * np.arange(2, STEPS) / STEPS))
    np.testing.assert_allclose(
        [line["train/learning_rate"] for line in lines[2:]], expected, rtol=1e-4, atol=1e-8)
    assert lines[-1]["train/total_loss"] < lines[0]["train/total_loss"]


@pytest.mark.usefixtures("op_by_op")
def test_objects_beyond_the_limit_are_announced_and_counted(finished, tmp_path, capsys):
    """At the start with the counts of the dataset, then in every line as a share."""
    workdir = TrialWorkdir(tmp_path)
    run_trial(finished.trial_with("STEPS = 2", "TrainingData.max_instances = 1"), workdir, "train")
    assert "have more objects than TrainingData.max_instances = 1, up to" in capsys.readouterr().err
    assert all(0 < line["train/instances_dropped_share"] < 1 for line in workdir.read_metrics())
    for line in finished.workdir.read_metrics():
        assert 1 <= line["train/instances"]
        assert 0.0 == line["train/instances_dropped_share"]


def test_the_result_holds_named_numbers(finished):
    """Names are `<box source>/<metric>/<classes>`; values are in [0, 1], or null if undefined."""
    result = dict(finished.workdir.read_result())
    assert STEPS == result.pop("step")
    val = finished.recipe.data / "val"
    assert str(val) == result.pop("data_prefix")
    assert DatasetInfo.load(val).identity == result.pop("dataset")
    lines, step, seconds = finished.workdir.read_metrics(), 0, 0.0
    for line in lines:
        seconds += (line["step"] - step) / line["train/steps_per_second"]
        step = line["step"]
    assert seconds == pytest.approx(result.pop("train_seconds"))
    images = sum(len(info["images"]) for info in [json.loads(annotations_path(val).read_text())])
    assert images == result.pop("images") == result.pop("dataset_images")
    # Of the steps of an attempt, the first was traced.
    typical = np.median([1 / line["train/steps_per_second"] for line in lines[1:]])
    assert typical == pytest.approx(result.pop("step_seconds"))
    assert 0 < result.pop("evaluation_seconds")
    names = "|".join(["ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar100"])
    form = re.compile(
        rf"(detections/((mask|boundary|box)_({names})|mask_ar100_agnostic)"
        rf"|groundtruth/((mask|boundary)_({names})|iou(_s|_m|_l|_instances)?|boundary_iou"
        r"|iou_(filled_box|ellipse|ceiling)))"
        "/(seen|novel|all)")
    assert all(form.fullmatch(name) for name in result)
    assert 3 * (7 + 7 + 7 + 1 + 7 + 7 + 6 + 3) == len(result)
    # No shape of 64 pixels is large.
    assert {name for name in result if "_l/" in name} <= {n for n, v in result.items() if v is None}
    defined = [value for value in result.values() if value is not None]
    assert all(isinstance(value, float) and 0.0 <= value <= 1.0 for value in defined)
    assert 0.0 < result["groundtruth/iou/all"] < 1.0


def test_the_means_over_classes_are_the_result(finished):
    """The means of per_class.csv, with a row per class and box source, are those of result.json."""
    frame = pd.read_csv(finished.workdir.path / "per_class.csv")
    result = finished.workdir.read_result()
    assert {("detections", i) for i in range(1, 13)} | {("groundtruth", i) for i in range(1, 13)} \
        == set(zip(frame["reading"], frame["category_id"], strict=True))
    assert len(frame) == 24
    assert 6 * 2 == (frame["role"] == "seen").sum() == (frame["role"] == "novel").sum()
    checked = 0
    for name, value in result.items():
        reading, _, rest = name.partition("/")
        metric, _, classes = rest.partition("/")
        if metric in frame.columns and metric not in summary.OVER_INSTANCES:
            rows = frame[frame["reading"] == reading]
            rows = rows if classes == "all" else rows[rows["role"] == classes]
            assert rows[metric].mean() == pytest.approx(
                np.nan if value is None else value, abs=1e-12, nan_ok=True)
            checked += 1
    assert 3 * (7 + 7 + 7 + 7 + 7 + 5 + 3) == checked


@pytest.mark.usefixtures("op_by_op")
def test_the_result_equals_pycocotools_on_the_predictions(finished):
    """AP of masks and boxes, over all and over novel classes, agrees to 1e-6."""
    session = prepare_session(finished.trial)
    restore_latest(session, finished.workdir)
    numbers = evaluate_model(session)
    result = finished.workdir.read_result()
    truth = COCO(str(annotations_path(str(finished.recipe.data / "val"))))
    novel = pd.read_csv(finished.workdir.path / "per_class.csv").query("role == 'novel'")
    checked = []
    for reading, task in (("detections", "mask"), ("detections", "box"), ("groundtruth", "mask")):
        found = truth.loadRes([
            {k: v for k, v in d.items() if task == "mask" or k != "segmentation"}
            for d in numbers.predictions[reading]])
        for classes in ("all", "novel"):
            reference = COCOeval(truth, found, {"mask": "segm", "box": "bbox"}[task])
            if classes == "novel":
                reference.params.catIds = sorted(set(novel["category_id"]))
            reference.evaluate()
            reference.accumulate()
            reference.summarize()
            for metric, index in (("ap", 0), ("ap50", 1), ("ap75", 2), ("ar100", 8)):
                value = result[f"{reading}/{task}_{metric}/{classes}"]
                assert reference.stats[index] == pytest.approx(value, abs=1e-6)
                checked.append(value)
    assert any(value > 0.01 for value in checked)


def test_artifacts_reproduce_the_numbers(finished):
    """AP follows from matches, and IoU both from single instances and from the masks."""
    folder = finished.workdir.path
    per_class = pd.read_csv(folder / "per_class.csv")
    for reading, task in (("detections", "mask"), ("detections", "box"), ("groundtruth", "mask")):
        path = folder / f"matches/{reading}_{task}.npz"
        rows = per_class[per_class["reading"] == reading]
        matched = Matches.from_bytes(path.read_bytes(), str(path))
        found = RankedMatches(matched).average_precision()
        np.testing.assert_allclose(rows[f"{task}_ap"], found, atol=1e-12)
        assert list(rows["category_id"]) == list(matched.class_ids)
    instances = pd.read_csv(folder / "instances.csv.gz")
    rows = per_class[per_class["reading"] == "groundtruth"].set_index("category_id")
    of_class = instances.groupby("category_id")["iou"]
    np.testing.assert_allclose(rows["iou"].dropna(), of_class.mean(), atol=1e-12)
    truth = COCO(str(annotations_path(str(finished.recipe.data / "val"))))
    masks = json.loads(gzip.decompress((folder / "masks.json.gz").read_bytes()))
    ious = [
        rle.iou([m["segmentation"]], [truth.annToRLE(truth.anns[m["annotation_id"]])], [0])[0, 0]
        for m in masks]
    assert list(instances["annotation_id"]) == [mask["annotation_id"] for mask in masks]
    np.testing.assert_allclose(instances["iou"], ious, atol=1e-12)


@pytest.mark.extended
@pytest.mark.usefixtures("clean_tensorflow")
@pytest.mark.parametrize(
    "frozen",
    [("backbone", "decoder"), ("backbone",), ("rpn_head", "detection_head"), ("mask_head",), ()],
    ids=str)
def test_frozen_parts_stay_as_they_are(finished, tmp_path, frozen):
    """Neither weights nor statistics of frozen parts change; every other part learns."""
    session = prepare_session(finished.trial_with(f"Training.freeze = {list(frozen)}", "STEPS = 2"))
    parts = checkpoints.named_parts(session.model)
    before = {name: [v.numpy() for v in part.variables] for name, part in parts.items()}
    workdir = TrialWorkdir(tmp_path)
    workdir.checkpoints.mkdir()
    train_model(session, 0, workdir, Workers(session.strategy))
    stayed = {
        name for name, part in parts.items()
        if all((old == new.numpy()).all()
               for old, new in zip(before[name], part.variables, strict=True))}
    assert set(frozen) == stayed


def test_running_a_finished_trial_again_changes_nothing(finished):
    """It returns the result and touches no file but those that are written before step 0."""
    before = contents(finished.workdir)
    texts = [(finished.workdir.path / n).read_text() for n in ("trial.json", "config.gin")]
    assert finished.workdir.read_result() == run_trial(finished.trial, finished.workdir)
    assert before == contents(finished.workdir)
    assert texts == [(finished.workdir.path / n).read_text() for n in ("trial.json", "config.gin")]


def test_another_trial_is_refused(finished):
    """A workdir holds one trial; the message names the difference of the other one."""
    before = contents(finished.workdir)
    with pytest.raises(UserError, match=r"another trial: its seed has 0 where this one has 1;"):
        run_trial(finished.trial_with(seed=1), finished.workdir)
    with pytest.raises(UserError, match=r"bindings has 'nothing' where .* 'STEPS = 60'; choose"):
        run_trial(finished.trial_with("STEPS = 60"), finished.workdir)
    assert before == contents(finished.workdir)


@pytest.mark.usefixtures("op_by_op")
def test_a_finished_trial_keeps_the_settings_of_its_result(finished, tmp_path):
    """With other evaluation settings it is not evaluated again, and config.gin says with which."""
    workdir = TrialWorkdir(tmp_path / "w")
    shutil.copytree(finished.workdir.path, workdir.path)
    before = (workdir.path / "config.gin").read_text()
    run_trial(finished.trial_with("Evaluation.noise_seed = 5"), workdir)
    assert before == (workdir.path / "config.gin").read_text()
    # As `plan` and `launch` recommend for such trials.
    (workdir.path / "result.json").unlink()
    run_trial(finished.trial_with("Evaluation.box_sources = ('groundtruth',)"), workdir)
    assert "Evaluation.box_sources" in (workdir.path / "config.gin").read_text()
    assert {"groundtruth"} == {
        name.partition("/")[0] for name in workdir.read_result() if "/" in name}


def test_the_data_may_lie_elsewhere(finished, tmp_path):
    """Another path, other devices or another evaluation keep the id; other data changes it."""
    own = finished.workdir.read_trial_id()
    shutil.copytree(finished.recipe.data, tmp_path / "moved", ignore=lambda *_: ["images"])

    def identity(*changes):
        return prepare_session(finished.trial_with(*changes)).trial_id

    assert own == identity(
        f"TRAIN = '{tmp_path}/moved/train'", "Runtime.log_every = 7", "Evaluation.every = 5")
    val = DatasetInfo.load(finished.recipe.data / "val").fingerprint
    assert own != identity(
        f"TRAIN = '{finished.recipe.data}/val'", f"DATASET = 'any name@{val}'")


def test_the_id_is_known_without_the_records(finished):
    """The id in trial.json depends on the gin text alone."""
    text = bindings.read(finished.trial.gin_files, finished.trial.bindings)
    bound = bindings.explicit_bindings(text.bindings)
    assert finished.workdir.read_trial_id() == trial_id(bound, finished.trial.seed)


def test_data_that_is_not_declared_is_known_by_its_prefix(finished, tmp_path):
    """The same undeclared records in another place make another trial."""
    shutil.copytree(finished.recipe.data, tmp_path / "moved", ignore=lambda *_: ["images"])
    here, there = (
        prepare_session(finished.trial_with(f"TRAIN = '{data}/train'", "DATASET = None")).trial_id
        for data in (finished.recipe.data, tmp_path / "moved"))
    assert 3 == len({here, there, finished.workdir.read_trial_id()})


def test_other_data_than_declared_is_refused(finished):
    """The message names both datasets, the declaring line, and the right binding."""
    train, val = (DatasetInfo.load(finished.recipe.data / part) for part in ("train", "val"))
    line = finished.recipe.gin_file.read_text().splitlines().index(f"DATASET = {train.identity!r}")
    with pytest.raises(UserError) as caught:
        prepare_session(finished.trial_with(f"TRAIN = '{finished.recipe.data}/val'"))
    assert str(caught.value) == (
        f"{finished.recipe.data}/val is the dataset {val.identity}, but "
        f"{finished.recipe.gin_file}:{line + 1} 'DATASET = {train.identity!r}' declares another; "
        f"bind DATASET = {val.identity!r}, which makes another trial, or None.")


@pytest.mark.extended
def test_a_deterministic_trial_repeats_itself(finished, tmp_path):
    """Two runs agree in every metric of every step and in the final weights."""
    again = TrialWorkdir(tmp_path)
    run_trial(finished.trial, again, "train")
    assert_same_run(finished.workdir, again)


class StopsAfterEachStep(TrialWorkdir):
    """A workdir at which somebody asks to stop whenever a step is noted."""

    def append_metrics(self, step, scalars):
        """Training calls this after each step here."""
        super().append_metrics(step, scalars)
        os.kill(os.getpid(), signal.SIGTERM)


def start(trial, workdir):
    """Start a real process that trains."""
    command = [sys.executable, "-m", "deepmac_ablate.cli", "train", "--workdir", str(workdir.path),
               "--mode", "train", "--arm", trial.arm]
    command += [x for file in trial.gin_files for x in ("--gin_file", file)]
    command += [x for binding in trial.bindings for x in ("--gin_bindings", binding)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(process, workdir, done, seconds=300):
    """Wait until the last step noted in metrics.jsonl satisfies a condition; returns the step."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        lines = workdir.read_metrics()
        step = lines[-1]["step"] if lines else 0
        if done(step):
            return step
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    raise AssertionError(f"no such step within {seconds} s")


@pytest.mark.extended
def test_neither_kill_nor_stop_changes_what_is_computed(finished, tmp_path):
    """A run killed -9 at random, resumed, stopped by SIGTERM and resumed equals one that was not.

    SIGTERM leaves a checkpoint at the step that was reached and exit status 75.
    """
    workdir = TrialWorkdir(tmp_path)
    first = start(finished.trial, workdir)
    moment = random.uniform(CHECKPOINT_EVERY + 1, STEPS - 20)
    wait_for(first, workdir, lambda step: step >= int(moment))
    time.sleep(moment % 1 * 0.1)
    first.kill()
    assert -signal.SIGKILL == first.wait()
    first.stderr.close()
    saved = int(tf.train.latest_checkpoint(str(workdir.checkpoints)).rpartition("-")[2])
    assert saved % CHECKPOINT_EVERY == 0
    assert not workdir.is_finished()

    second = start(finished.trial, workdir)
    # Lines after the checkpoint are dropped before the first step.
    wait_for(second, workdir, lambda step: step == saved)
    wait_for(second, workdir, lambda step: step > saved)
    second.send_signal(signal.SIGTERM)
    _, errors = second.communicate(timeout=120)
    assert exit_status.INTERRUPTED == 75 == second.returncode
    stopped = workdir.read_metrics()[-1]["step"]
    assert saved < stopped < STEPS
    assert f"Stopped at step {stopped} of {STEPS}; run the trial again to continue." in errors
    assert "Traceback" not in errors
    assert (workdir.checkpoints / f"ckpt-{stopped}.index").exists()

    result = run_trial(finished.trial, workdir)
    assert_same_run(finished.workdir, workdir)
    assert_same_numbers(finished.workdir.read_result(), result, 1e-5)
    assert [("train", 0), ("train", saved), ("train_and_eval", stopped)] == [
        (attempt["mode"], attempt["step"]) for attempt in workdir.read_attempts()]


@pytest.mark.extended
def test_stochastic_depth_does_not_depend_on_a_stop(tiny_recipe, tmp_path):
    """With stochastic depth too, a run that was stopped and resumed equals one that was not."""
    trial = tiny_recipe.trial(
        "IMAGE_SIZE = (128, 128)", "STEPS = 6", "MaskRCNN.backbone = @SpineNet()",
        "SpineNet.width_multiplier = 0.125", "SpineNet.stochastic_depth_drop_rate = 0.8",
        "Anchors.min_level = 3", "Anchors.max_level = 7")
    straight = TrialWorkdir(tmp_path / "straight")
    stopped = StopsAfterEachStep(tmp_path / "stopped")
    run_trial(trial, straight, "train")
    with pytest.raises(Interrupted, match=r"^Stopped at step 1 of 6; "):
        run_trial(trial, stopped, "train")
    run_trial(trial, TrialWorkdir(stopped.path), "train")
    assert_same_run(straight, stopped, steps=6)


@pytest.mark.usefixtures("op_by_op")
def test_a_request_to_stop_is_heeded_at_the_next_step(finished, tmp_path):
    """It leaves a checkpoint of that step and no result; signals mean afterwards what they did."""
    workdir = StopsAfterEachStep(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=f"^Stopped at step 1 of {STEPS}; "):
        run_trial(finished.trial, workdir)
    assert before == signal.getsignal(signal.SIGTERM)
    assert (workdir.checkpoints / "ckpt-1.index").exists()
    assert not workdir.is_finished()


@pytest.mark.extended
def test_divergence_ends_the_trial(finished, tmp_path, capfd):
    """Exit status 3, one sentence, no checkpoint of nonsense, and the config is kept."""
    status = cli.main([
        "train", "--gin_file", str(finished.recipe.gin_file), "--workdir", str(tmp_path / "w"),
        # Each step multiplies the kernels by -999, whose squares are in the loss.
        "--gin_bindings", "LEARNING_RATE = 1000", "--gin_bindings", "STEPS = 20",
        "--gin_bindings", "MaskRCNN.l2_weight_decay = 1.0"])
    assert exit_status.DIVERGED == 3 == status
    assert re.search(
        r"^deepmac-ablate: The loss is (nan|inf) between steps \d+ and \d+; a lower learning rate",
        capfd.readouterr().err, re.MULTILINE)
    workdir = TrialWorkdir(tmp_path / "w")
    assert (workdir.path / "config.gin").exists()
    assert workdir.read_trial() is not None
    assert tf.train.latest_checkpoint(str(workdir.checkpoints)) is None


@pytest.mark.usefixtures("op_by_op")
def test_continuous_evaluation_ends_with_the_result(finished, tmp_path):
    """For a finished training, it evaluates the last checkpoint and writes the result."""
    workdir = TrialWorkdir(tmp_path)
    shutil.copytree(finished.workdir.checkpoints, workdir.checkpoints)
    result = run_trial(finished.trial, workdir, "continuous_eval")
    assert_same_numbers(finished.workdir.read_result(), result)
    assert workdir.is_finished()
    assert [] == workdir.read_metrics()
    assert ["continuous_eval"] == [attempt["mode"] for attempt in workdir.read_attempts()]


@pytest.mark.extended
def test_evaluations_during_training_are_recorded(finished, tmp_path):
    """There is one per interval, but none at the last step; training is not affected."""
    workdir = TrialWorkdir(tmp_path)
    run_trial(finished.trial_with(f"Evaluation.every = {STEPS // 2}"), workdir, "train")
    noted = workdir.read_evaluations()
    assert [STEPS // 2] == [line["step"] for line in noted]
    numbers = {name for name in finished.workdir.read_result() if "/" in name}
    assert numbers <= noted[0].keys()
    assert_same_run(finished.workdir, workdir)


def weights(part):
    return [variable.numpy() for variable in part.variables]


def initialised(finished, *changes):
    """A new model of another seed, initialised as its bindings say, and the finished one."""
    session = prepare_session(finished.trial)
    restore_latest(session, finished.workdir)
    path = f"{finished.workdir.checkpoints}"
    other = prepare_session(finished.trial_with(
        f"Training.init_checkpoint = '{path}'", *changes, seed=1))
    other.training.load_initial_weights(other.model)
    return session.model, other.model


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.extended
def test_initial_weights_come_from_a_checkpoint(finished):
    """By default the backbone is initialised; with "all" the whole model is."""
    trained, model = initialised(finished)
    assert same(trained.backbone, model.backbone)
    assert not same(trained.decoder, model.decoder)
    assert not same(trained.mask_head, model.mask_head)
    trained, model = initialised(finished, "Training.init_parts = ('all',)")
    assert same(trained, model)


def test_a_missing_first_checkpoint_is_named(finished, tmp_path):
    """It is refused before anything is computed."""
    trial = finished.trial_with(f"Training.init_checkpoint = '{tmp_path}/nowhere'")
    with pytest.raises(UserError, match=r"^Training.init_checkpoint = '.*/nowhere': there is no"):
        run_trial(trial, TrialWorkdir(tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_there_must_be_a_trial_to_evaluate(finished, tmp_path):
    """Mode "eval" on an empty folder says so and leaves it empty."""
    with pytest.raises(UserError, match=r"There is no trial to evaluate in .*/w: trial.json is"):
        run_trial(finished.trial, TrialWorkdir(tmp_path / "w"), "eval")
    assert not (tmp_path / "w").exists()


def test_a_checkpoint_of_another_model_is_refused(finished, tmp_path):
    """The message names the part that does not fit."""
    trial = finished.trial_with(
        f"Training.init_checkpoint = '{finished.workdir.checkpoints}'",
        "ResNetFPN.width_multiplier = 0.5")
    with pytest.raises(UserError, match="does not fit the model's backbone: "):
        run_trial(trial, TrialWorkdir(tmp_path / "w"))


def test_too_few_classes_are_refused(finished):
    """The message names the number that the dataset needs."""
    with pytest.raises(UserError, match=r"num_classes = 12 is too small .* up to 12: use 13\.$"):
        prepare_session(finished.trial_with("NUM_CLASSES = 12"))


@pytest.mark.extended
def test_mixed_precision_trains(finished, tmp_path):
    """In bfloat16 losses are finite and near those of float32; variables stay float32."""
    workdir = TrialWorkdir(tmp_path)
    trial = finished.trial_with("Training.precision = 'bfloat16'", "STEPS = 2")
    result = run_trial(trial, workdir)
    lines = workdir.read_metrics()
    assert [1, 2] == [line["step"] for line in lines]
    exact = finished.workdir.read_metrics()[0]
    assert exact["train/total_loss"] == pytest.approx(lines[0]["train/total_loss"], rel=0.05)
    assert exact["train/total_loss"] != lines[0]["train/total_loss"]
    assert {"float32", "int64"} == {str(value.dtype) for value in variables(workdir).values()}
    assert 0.0 < result["groundtruth/iou/all"] < 1.0


@pytest.mark.extended
def test_a_compiled_step_is_the_same_step(finished, tmp_path):
    """Under XLA the losses of the first step are those without it, and later ones stay near.

    The box head's are not compared: which of two equally good proposals is a region is rounding.
    """
    workdir = TrialWorkdir(tmp_path)
    trial = finished.trial_with("Runtime.jit_compile = True", "Runtime.deterministic = False")
    run_trial(trial, workdir, "train")
    first, compiled = finished.workdir.read_metrics(), workdir.read_metrics()
    for loss in ("rpn_score_loss", "rpn_box_loss", "mask_loss", "regularization_loss"):
        assert first[0][f"train/{loss}"] == pytest.approx(compiled[0][f"train/{loss}"], rel=1e-4)
    assert first[0]["train/mask_boxes"] == compiled[0]["train/mask_boxes"] > 0
    for one, other in zip(first[:3], compiled[:3], strict=True):
        assert one["train/total_loss"] == pytest.approx(other["train/total_loss"], rel=0.01)


_SEVERAL_DEVICES = """
import json, sys
import tensorflow as tf

number, gin_file, finished, workdir = int(sys.argv[1]), *sys.argv[2:]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)

from deepmac_ablate.training.run import train_model
from deepmac_ablate.training.trial_evaluation import evaluate_model
from deepmac_ablate.errors import UserError
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.session import prepare_session
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from deepmac_ablate.training.multi_worker import Workers

def session(*bindings):
    return prepare_session(Trial((gin_file,), bindings, 0, ""), ["Runtime.strategy = 'mirrored'"])

try:
    session(f"BATCH_SIZE = {number + 1}")
except UserError as error:
    print(error)
one = session(f"BATCH_SIZE = {number}", "Norm.synchronized = True", "STEPS = 3")
train_model(one, 0, TrialWorkdir(workdir), Workers(one.strategy))
step = restore_latest(one, TrialWorkdir(finished))
numbers = evaluate_model(one).scalars
print(json.dumps({"replicas": one.strategy.num_replicas_in_sync, "step": step, **numbers}))
"""


@pytest.mark.extended
@pytest.mark.parametrize("number", [3, 8])
def test_several_devices_train_and_evaluate_as_one(finished, tmp_path, number):
    """A batch shared by devices gives the same numbers as on one, and no image is left out.

    Neither number divides the 7 images.
    """
    alone, workdir = TrialWorkdir(tmp_path / "alone"), TrialWorkdir(tmp_path / "w")
    run_trial(finished.trial_with(
        f"BATCH_SIZE = {number}", "Norm.synchronized = True", "STEPS = 3"), alone, "train")
    workdir.checkpoints.mkdir(parents=True)
    run = subprocess.run(
        [sys.executable, "-c", _SEVERAL_DEVICES, str(number), str(finished.recipe.gin_file),
         str(finished.workdir.path), str(workdir.path)],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    refused, printed = run.stdout.splitlines()[-2:]
    assert f"TrainingData.batch_size = {number + 1} cannot be shared by {number} devices" in refused
    found = json.loads(printed)
    assert number == found.pop("replicas")
    expected = finished.workdir.read_result()
    assert {"step"} | {name for name in expected if "/" in name} == found.keys()
    assert_same_numbers({name: expected[name] for name in found}, found)
    for one, other in zip(alone.read_metrics(), workdir.read_metrics(), strict=True):
        for name, value in one.items():
            if name not in OF_THE_MACHINE:
                assert value == pytest.approx(other[name], rel=1e-5, abs=1e-6), name

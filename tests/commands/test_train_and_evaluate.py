"""The command line: mistakes in one sentence before anything is built, and evaluation again."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from deepmac_ablate import bindings, cli, errors
from deepmac_ablate.training.session import prepare_session
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.tiny_trial import DURATIONS

ROOT = Path(__file__).resolve().parents[2]

# What is wrong -> (bindings, gin files after the recipe, what the sentence says).
MISTAKES = {
    "misspelt parameter": (
        ["ConvMaskHead.widht = 4"], [],
        r"ConvMaskHead has no parameter 'widht'\. Did you mean 'width'\?"),
    "misspelt class": (
        ["ConvMaskHed.width = 4"], [],
        r"no configurable is called 'ConvMaskHed'\. Did you mean 'ConvMaskHead'\?"),
    "misspelt file": (
        [], ["gin/mask_heads/hourglas52.gin"],
        r"no gin file 'gin/mask_heads/hourglas52\.gin'\. Did you mean '.*hourglass52\.gin'\?"),
    "misspelt macro": (
        ["STEP = 5"], [], r"STEP = 5.* had no effect: .*Did you mean 'STEPS'\?"),
    "nothing bound": (
        ["Training.steps = %gin.REQUIRED"], [], r"Training\.steps must be set"),
    "wrong type": (
        ["ResNetFPN.depth = '18'"], [], r"depth must be int, not '18' \(str\)\."),
    "wrong choice": (
        ["Runtime.strategy = 'miror'"], [], r"not 'miror' \(str\)\. Did you mean 'mirrored'\?"),
    "bad crop": (
        ["HourglassMaskHead.crop_size = 30"], ["gin/mask_heads/hourglass52.gin"],
        r"HourglassMaskHead\.crop_size = 30 does not suit depth 52, .*: use a multiple of 32\."),
    "unknown depth": (
        ["ResNetFPN.depth = 19"], [], r"ResNetFPN\.depth = 19 is not a known depth: .*18.*34"),
    "unknown backbone": (
        ["SpineNet.model_id = '94'"], [], r"model_id must be '49S' .*, not '94' \(str\)\."),
    "image size of another backbone": (
        [], ["gin/backbones/spinenet49.gin"],
        r"\(64, 64\) does not suit a pyramid up to level 7: use multiples of 128\."),
    "image size": (
        ["IMAGE_SIZE = (64, 70)"], [], r"\(64, 70\) does not suit .* use multiples of 32\."),
    "unknown split": (
        ["Training.seen_classes = 'shapes_c'"], [],
        r"Unknown class split 'shapes_c'\. Did you mean 'shapes_[ab]'\?"),
    "split of other data": (
        [], ["gin/class_splits/voc.gin"], r"'voc' needs COCO's classes, but class 1 .* 'disc'"),
    "no data": (
        ["TRAIN = 'nowhere/train'"], [], r"nowhere/train"),
    "other data than declared": (
        ["DATASET = 'train@0123456789ab'"], [],
        r"is the dataset train@[0-9a-f]{12}, but binding 'DATASET = .* declares another; bind"),
    "data declared in another form": (
        ["DATASET = 'train'"], [],
        r"TrainingData\.dataset = 'train' is not of the form name@fingerprint;"),
    "no data to evaluate on": (
        ["VAL = 'nowhere/val'"], [], r"nowhere/val"),
    "binding without effect": (
        ["HourglassMaskHead.width = 8"], [],
        r"'?HourglassMaskHead\.width = 8'?.* had no effect: nothing uses HourglassMaskHead; .*"
        r"MaskRCNN\.mask_head = @ConvMaskHead\(\).* selects another"),
    "binding of another backbone": (
        ["MaskRCNN.backbone = @MobileNetFPN()", "ResNetFPN.depth = 10"], [],
        r"'?ResNetFPN\.depth = 10'?.* had no effect: nothing uses ResNetFPN; .*"
        r"MaskRCNN\.backbone = @MobileNetFPN\(\).* selects another"),
    "binding that a later one replaces": (
        ["STEPS = 5", "STEPS = 6"], [], r"STEPS = 5.* had no effect: the later .*STEPS = 6"),
    "no steps": (["STEPS = 0"], [], r"\(binding 'STEPS = 0'\): steps must be int from 1 to "),
    "no images in a batch": (
        ["BATCH_SIZE = 0"], [], r"\(binding 'BATCH_SIZE = 0'\): batch_size must be int from 1 to "),
    "no images in a batch of evaluation": (
        ["EvaluationData.batch_size = 0"], [], r"batch_size must be int from 1 to 10,000, not 0"),
    "log never": (["Runtime.log_every = 0"], [], r"log_every must be int from 1 to 10,000,000"),
    "save never": (["Runtime.checkpoint_every = 0"], [], r"checkpoint_every must be int from 1 "),
    "keep nothing": (["Runtime.keep_checkpoints = 0"], [], r"keep_checkpoints must be int from 1 "),
    "nothing to evaluate with": (
        ["Evaluation.box_sources = ()"], [], r"Evaluation\.box_sources must name at least one"),
    "unknown activation": (
        ["ConvMaskHead.activation = 'rellu'"], [], r"not 'rellu' \(str\)\. Did you mean 'relu'\?"),
}


def train(recipe, workdir, bindings=(), files=(), seed="0"):
    arguments = ["train", "--workdir", str(workdir), "--seed", seed]
    for file in (recipe.gin_file, *files):
        arguments += ["--gin_file", str(file)]
    for binding in bindings:
        arguments += ["--gin_bindings", binding]
    return cli.main(arguments)


def sentence(capsys):
    """The one line on stderr, without the program's name."""
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("deepmac-ablate: ")]
    assert 1 == len(said)
    assert "Traceback" not in "".join(lines)
    return said[0].removeprefix("deepmac-ablate: ")


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(tiny_recipe, tmp_path, capsys, mistake):
    """Exit status 2, no traceback, and no workdir is left behind."""
    bindings, files, message = MISTAKES[mistake]
    assert errors.USER_ERROR == 2 == train(tiny_recipe, tmp_path / "w", bindings, files)
    assert re.search(message, said := sentence(capsys)), said
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_base_alone_says_what_is_missing(tmp_path, capsys):
    """The first macro that a recipe has to set is named."""
    status = cli.main(["train", "--gin_file", "gin/base.gin", "--workdir", str(tmp_path / "w")])
    assert 2 == status
    assert re.search(r"base\.gin:\d+.* must be set", said := sentence(capsys)), said
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_a_negative_seed_is_refused(tiny_recipe, tmp_path, capsys):
    """Seeds count from 0."""
    assert 2 == train(tiny_recipe, tmp_path / "w", seed="-1")
    assert "The seed must be from 0 to 2147483647, got -1." == sentence(capsys)


@pytest.mark.slow
def test_a_process_ends_without_a_traceback(tiny_recipe, tmp_path):
    """The same of a real process: nothing but the sentence is on stderr, nothing on stdout."""
    run = subprocess.run(
        [sys.executable, "-m", "deepmac_ablate.cli", "train", "--gin_file",
         str(tiny_recipe.gin_file), "--gin_bindings", "MaskRCNN.mask_boxs = 4",
         "--workdir", str(tmp_path / "w")],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert (2, "") == (run.returncode, run.stdout)
    assert 1 == len(run.stderr.splitlines()), run.stderr
    assert "MaskRCNN has no parameter 'mask_boxs'. Did you mean 'mask_boxes'?" in run.stderr


@pytest.mark.slow
def test_the_folder_of_another_trial_is_refused_without_tensorflow(tmp_path):
    """It is read before the libraries, the data and the model, which take many seconds."""
    workdir, recipe = TrialWorkdir(tmp_path / "w"), "gin/experiments/shapes_small.gin"
    workdir.write_trial(Trial((recipe,), ("STEPS = 2",), 0, ""), "0123456789ab")
    code = f"""
import sys
from deepmac_ablate import cli
status = cli.main(["train", "--gin-file", {recipe!r}, "--gin-bindings", "STEPS = 3", "--workdir",
                   {str(workdir.path)!r}])
print(status, sorted({{"tensorflow", "tf_keras"}} & sys.modules.keys()))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "2 []\n" == run.stdout
    assert "holds another trial: its bindings has 'STEPS = 2' where this one has 'STEPS = 3'" in (
        run.stderr)


@pytest.mark.slow
def test_help_needs_no_tensorflow():
    """All help texts are printed in a moment."""
    code = """
import sys
from deepmac_ablate import cli
for command in ([], ["train"], ["evaluate"], ["data"], ["export"], ["predict"], ["import"]):
    try:
        cli.main([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0
print(sorted({"tensorflow", "tf_keras", "orbit", "official"} & sys.modules.keys()))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "[]" == run.stdout.splitlines()[-1]
    assert "--gin-bindings" in run.stdout
    assert "--box-source" in run.stdout
    assert "image_and_boxes_tensor" in run.stdout
    assert "--min-score" in run.stdout


def resume(workdir, *runtime):
    """Go on with the trial that is in a workdir, with bindings for the devices of this start."""
    options = [word for binding in runtime for word in ("--runtime", binding)]
    return cli.main(["train", "--workdir", str(workdir), "--mode", "eval", *options])


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
def test_a_start_brings_its_devices_along(finished, tmp_path):
    """Bindings of Runtime win over the trial's own, take effect, and leave the trial as it is."""
    shutil.copytree(finished.workdir.path, tmp_path / "w")
    workdir = TrialWorkdir(tmp_path / "w")
    trial = finished.trial_with("Runtime.strategy = 'mirrored'")
    workdir.write_trial(trial, workdir.read_trial_id())

    def written():
        result = workdir.read_result()
        return (workdir.path / "trial.json").read_bytes(), {
            name: value for name, value in result.items() if name not in DURATIONS}

    before = written()
    assert 0 == resume(workdir.path, "Runtime.strategy = 'one_device'", "Runtime.log_every = 7")
    assert before == written()
    asked, effective = (workdir.path / "config.gin").read_text(), bindings.operative_text()
    assert "Runtime.strategy = 'mirrored'" in asked
    assert "Runtime.log_every = 1" in asked
    assert "Runtime.strategy = 'one_device'" in effective
    assert "Runtime.log_every = 7" in effective
    assert ["Runtime.strategy = 'one_device'", "Runtime.log_every = 7"] == (
        workdir.read_attempts()[-1]["runtime"])


@pytest.mark.parametrize(("binding", "said"), [
    ("STEPS = 5", "got 'STEPS = 5'; bind what the trial computes with --gin-file or"),
    ("Training.steps = 5", "--runtime accepts only bindings of Runtime, got 'Training.steps"),
    ("here/Runtime.strategy = 'tpu'", "got 'here/Runtime.strategy = 'tpu''; bind"),
    ("import os", "--runtime accepts only bindings of Runtime, got 'import os'."),
    ("Runtime.strategy", "Runtime.strategy"),
])
@pytest.mark.slow
def test_runtime_options_accept_only_bindings_of_runtime(finished, capsys, binding, said):
    """Options cannot change the computation, so that the id of a trial stays true."""
    assert 2 == resume(finished.workdir.path, binding)
    assert said in sentence(capsys)


def evaluate(workdir, *options):
    return cli.main(["evaluate", "--workdir", str(workdir), *map(str, options)])


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished trial's workdir."""
    shutil.copytree(finished.workdir.path, tmp_path / "trial")
    return TrialWorkdir(tmp_path / "trial")


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_evaluating_again_gives_the_same_numbers(finished, copied, capsys):
    """With no option they are those of the trial, in their own folder; nothing else changes."""
    before = (copied.path / "result.json").read_bytes()
    assert 0 == evaluate(copied.path, "--draw", 2)
    folder = Path(copied.path) / "evaluations" / "val"
    result = json.loads((folder / "result.json").read_text())
    expected = finished.workdir.read_result()
    assert expected.keys() - set(DURATIONS) == result.keys()
    for name, value in result.items():
        if isinstance(value, str):
            assert value == expected[name]
        else:
            assert (value is None) == (expected[name] is None), name
            assert value is None or value == pytest.approx(expected[name], abs=1e-6), name
    pd.testing.assert_frame_equal(
        pd.read_csv(copied.path / "per_class.csv"), pd.read_csv(folder / "per_class.csv"),
        atol=1e-6)
    # Two images side by side with their annotations, detections, and masks in given boxes.
    with Image.open(folder / "predictions.png") as sheet:
        assert sheet.width > 3 * 64
        assert sheet.height > 2 * 64
    assert before == (copied.path / "result.json").read_bytes()
    printed = capsys.readouterr().out
    assert str(folder / "predictions.png") in printed
    assert re.search(r"^groundtruth +iou +\d+\.\d +\d+\.\d +\d+\.\d$", printed, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_the_other_split_swaps_the_roles(finished, tmp_path):
    """Another split makes seen classes novel, and --output receives the one box source."""
    status = evaluate(
        finished.workdir.path, "--split", "shapes_b", "--box_source", "groundtruth",
        "--output", tmp_path / "o")
    assert 0 == status
    assert {"result.json", "per_class.csv", "instances.csv.gz"} == {
        path.name for path in (tmp_path / "o").iterdir()}
    result = json.loads((tmp_path / "o" / "result.json").read_text())
    trained = finished.workdir.read_result()
    assert {"groundtruth"} == {name.partition("/")[0] for name in result if "/" in name}
    for one, other in (("seen", "novel"), ("novel", "seen"), ("all", "all")):
        assert trained[f"groundtruth/iou/{one}"] == pytest.approx(
            result[f"groundtruth/iou/{other}"], abs=1e-6)
    assert trained["groundtruth/iou/seen"] != trained["groundtruth/iou/novel"]
    assert not (finished.workdir.path / "evaluations").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_other_images_can_be_evaluated(finished, copied, tmp_path):
    """Also where the trial named what to evaluate on the command line, and its records are gone."""
    fields = json.loads((copied.path / "trial.json").read_text())
    bound = dataclasses.replace(finished.trial, bindings=(
        "TRAIN = 'nowhere/train'", "VAL = 'nowhere/val'",
        "Evaluation.box_sources = ('detections',)", "EvaluationData.batch_size = 3"))
    (copied.path / "trial.json").write_text(
        json.dumps({"id": fields["id"], **json.loads(bound.to_json())}))
    status = evaluate(
        copied.path, "--data", finished.recipe.data / "train", "--box_source", "groundtruth")
    assert 0 == status
    frame = pd.read_csv(copied.path / "evaluations" / "train-groundtruth" / "per_class.csv")
    info = json.loads((finished.recipe.data / "train-info.json").read_text())
    assert info["num_instances"] == frame["instances"].sum()


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_relative_data_are_found_from_another_folder(finished, tmp_path, monkeypatch):
    """The folder in which the trial was started is recorded, and its prefixes begin there."""
    workdir = TrialWorkdir(tmp_path / "scratch" / "w")
    shutil.copytree(finished.workdir.path, workdir.path)
    trial = dataclasses.replace(finished.trial, bindings=(
        "TRAIN = 'data/train'", "VAL = 'data/val'"))
    workdir.write_trial(trial, workdir.read_trial_id())
    workdir.append_attempt({"mode": "eval", "folder": str(finished.recipe.data.parent)})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    # As in trials of earlier versions, whose classes only their dataset tells.
    (workdir.path / "classes.json").unlink()
    assert 0 == evaluate(workdir.path, "--box-source", "groundtruth", "--output", tmp_path / "o")
    result, expected = json.loads((tmp_path / "o/result.json").read_text()), workdir.read_result()
    assert expected["groundtruth/iou/novel"] == pytest.approx(
        result["groundtruth/iou/novel"], abs=1e-6)
    assert "disc" in (tmp_path / "o/per_class.csv").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_a_sweep_of_box_noise_is_one_evaluation_and_a_picture(finished, copied, capsys):
    """Ground-truth boxes and each ratio are box sources; a picture shows mask IoU over both."""
    assert 0 == evaluate(copied.path, "--box_noise", 0.1, 0.4, "--jitter_mode", "shrink")
    folder = Path(copied.path) / "evaluations" / "val-groundtruth-jittered0.1-shrink-" \
        "jittered0.4-shrink"
    result = json.loads((folder / "result.json").read_text())
    for classes in ("seen", "novel", "all"):
        plain, less, more = (
            result[f"{reading}/iou/{classes}"]
            for reading in ("groundtruth", "jittered0.1-shrink", "jittered0.4-shrink"))
        assert plain == pytest.approx(
            finished.workdir.read_result()[f"groundtruth/iou/{classes}"], abs=1e-6)
        assert len({plain, less, more}) == 3
    with Image.open(folder / "box_noise.png") as picture:
        assert picture.width > picture.height > 400
    assert f"{folder}/box_noise.png" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
@pytest.mark.parametrize(("split", "seen"), [
    ("none", 0), *(pytest.param(*case, marks=pytest.mark.extended) for case in (
        ("all", 12), ("random-5-seed-2", 5)))])
def test_all_and_none_are_not_confused(copied, tmp_path, split, seen):
    """All classes seen, none, or some, where the trial has six."""
    assert 0 == evaluate(copied.path, "--split", split, "--box_source", "groundtruth",
                         "--output", tmp_path / "o")
    roles = pd.read_csv(tmp_path / "o" / "per_class.csv")["role"]
    assert [seen, 12 - seen] == [(roles == role).sum() for role in ("seen", "novel")]


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
@pytest.mark.parametrize(("value", "seen"), [
    ("None", 12), ("[]", 0), pytest.param("'random-5-seed-2'", 5, marks=pytest.mark.extended)])
def test_all_and_none_are_not_confused_in_gin(finished, value, seen):
    """`None` is all classes and `[]` none, as the class split's words are."""
    prepared = prepare_session(finished.trial_with(f"Training.seen_classes = {value}"))
    assert seen == len(prepared.training.seen_ids)


@pytest.mark.parametrize(("options", "message"), [
    (["--box_source", "detection"], r"box source 'detection'\. Did you mean 'detections'\?"),
    (["--box_noise", "1.5"], r"The jitter ratio must be .* in mode 'default', got 1\.5"),
    (["--box_noise", "0.1", "--jitter_mode", "shrnk"], r"'shrnk'\. Did you mean 'shrink'\?"),
    (["--box_noise", "0.1", "0.10"], r"Box source 'jittered0\.1' is given 2 times, not once"),
    (["--jitter_mode", "shrink"], r"--jitter-mode shrink has no effect without --box-noise"),
])
def test_wrong_boxes_are_refused_at_once(tmp_path, capsys, options, message):
    """In one sentence, whether there is a trial or not."""
    assert 2 == evaluate(tmp_path / "nothing", *options)
    assert re.search(message, said := sentence(capsys)), said


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
@pytest.mark.parametrize(("options", "message"), [
    (["--split", "shapes_c"], r"Unknown class split 'shapes_c'\. Did you mean"),
    (["--data", "nowhere/val"], r"nowhere/val"),
    *(pytest.param(*case, marks=pytest.mark.extended) for case in (
        (["--split", "[]"], r"Unknown class split '\[\]'.* Known are voc, .*none"),
        (["--split", "random-13-seed-0"], r"draws 13 classes, but the dataset has 12\."),
        (["--split", "voc"], r"Class split 'voc' needs COCO's classes"))),
])
def test_options_that_do_not_fit_are_refused(finished, tmp_path, capsys, options, message):
    """In one sentence, and nothing is written."""
    assert 2 == evaluate(finished.workdir.path, *options, "--output", tmp_path / "o")
    assert re.search(message, said := sentence(capsys)), said
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_options_too_many_to_name_a_folder_need_an_output(copied, capsys):
    """It is said before anything is evaluated."""
    ratios = [f"0.{number}" for number in range(11, 19)]
    assert 2 == evaluate(
        copied.path, "--box_noise", *ratios, "--jitter_mode", "shrink_symmetric_xy")
    assert re.search("at most 255 are possible; choose a folder with --output", sentence(capsys))
    assert not (copied.path / "evaluations").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_without_trial_or_checkpoint_there_is_nothing_to_evaluate(copied, tmp_path, capsys):
    """The sentence says which of them is missing, and where."""
    assert 2 == evaluate(tmp_path / "nothing")
    assert re.fullmatch(
        r"There is no trial in .*/nothing: trial\.json is missing\.", sentence(capsys))
    assert not (tmp_path / "nothing").exists()
    shutil.rmtree(copied.checkpoints)
    assert 2 == evaluate(copied.path)
    assert re.fullmatch(
        r"There is no checkpoint to evaluate in .*/trial/checkpoints\.", sentence(capsys))

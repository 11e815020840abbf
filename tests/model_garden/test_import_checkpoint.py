"""Import of published checkpoints, with all of their tensors or an error."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from official.core import exp_factory
from official.modeling import hyperparams

from deepmac_ablate import cli, errors
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.session import prepare_model
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers import published, published_yaml, tiny_model
from tests.helpers.data_fixtures import write_classes
from tests.parity.upstream import Case

HOURGLASS = Case("hourglass20", "ground_truth")

CASES = [
    HOURGLASS,
    *(pytest.param(case, marks=pytest.mark.extended) for case in (
        Case("default", "ground_truth"),
        Case("default", "ground_truth", class_agnostic=False),
        Case("separable", "ground_truth", class_agnostic=False),
        Case("hourglass52", "ground_truth"),
        Case("hourglass52", "ground_truth", class_agnostic=False),
        Case("hourglass100", "ground_truth"),
    )),
]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_tensorflow")]


# What a configuration differs in -> (bindings, what the sentence says of the checkpoint).
UNFIT = {
    "other depth": (
        ["HourglassMaskHead.depth = 32"],
        r"mask head: Hourglass-20 of width 8 in the checkpoint, Hourglass-32 of width 8 in the "
        r"model; "
        r"\d+ variables of the model missing in the checkpoint \(.*, \.\.\.\)"),
    "other width": (
        ["HourglassMaskHead.width = 4"],
        r"Hourglass-20 of width 8 in the checkpoint, Hourglass-20 of width 4 in the model; "
        r"\d+ variables with a different shape in the checkpoint "
        r"\(mask_head/_deconv/bias 8 instead of 4, "),
    "other head": (
        ["MaskRCNN.mask_head = @ConvMaskHead()", "ConvMaskHead.width = 8",
         "ConvMaskHead.crop_size = 14"],
        r"Hourglass-20 of width 8 in the checkpoint, 4 convolutions of width 8 in the model; "
        r".*\d+ variables of the checkpoint without a counterpart in the model "
        r"\(mask_head/_hourglass/"),
    "head of ours only": (
        ["MaskRCNN.mask_head = @ResNetMaskHead()", "ResNetMaskHead.depth = 4"],
        r"^deepmac-ablate: Model Garden has no counterpart to the mask head ResNetMaskHead; use "),
    "inputs of ours only": (
        ["MaskRCNN.mask_inputs = [@Coordinates()]"], r"leave MaskRCNN\.mask_inputs empty\."),
    "class-specific": (
        ["HourglassMaskHead.class_agnostic = False"],
        r"masks: one for all classes in the checkpoint, one for each of 7 classes in the model"),
    "other up-sampling": (
        ["Deconvolution.factor = 4"], r"up-sampling: by 2 in the checkpoint, by 4 in the model"),
    "other backbone": (
        ["ResNetFPN.depth = 18"],
        r"backbone: 13 convolutions of up to 64 channels in the checkpoint, 21 convolutions of"),
    "other pyramid": (
        ["ResNetFPN.fpn_filters = 8"],
        r"decoder: a pyramid of 16 channels in the checkpoint, .* 8 channels in the model"),
    "other anchors": (
        ["Anchors.num_scales = 2"],
        r"anchors: 3 per position in the checkpoint, 6 per position in the model"),
    "other classes": (
        ["MaskRCNN.num_classes = 5"],
        r"classes: 7 including background in the checkpoint, 5 including background in the model"),
}

OFTEN = ("other depth", "other head", "class-specific", "other backbone")


class Imported(NamedTuple):
    """Published checkpoint, its model, and the imported workdir."""

    published: published.Published
    config: Path
    workdir: TrialWorkdir


@pytest.fixture(scope="module", params=CASES, ids=str)
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    if request.param is HOURGLASS:
        return request.getfixturevalue("hourglass")
    return _imported(request.param, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def hourglass(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return _imported(HOURGLASS, tmp_path_factory.mktemp("hourglass"))


def _imported(case: Case, folder: Path) -> Imported:
    theirs = published.write_checkpoint(case, folder)
    config = published.write_config(case, folder)
    workdir = TrialWorkdir(folder / "imported")
    assert 0 == cli.main([
        "import", "checkpoint", theirs.checkpoint, "--gin_file", str(config),
        "--workdir", str(workdir.path)])
    return Imported(theirs, config, workdir)


def assert_near(expected: tf.Tensor, actual: tf.Tensor) -> None:
    """Assert equality up to 1e-5 of the largest expected number."""
    largest = np.abs(expected).max(initial=0.0)
    assert largest > 0.0
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=1e-5 * largest)


def assert_same_detections(imported: Imported, data: tiny_model.Batch) -> None:
    """Boxes, classes, scores and masks of the model in the workdir equal the published model's."""
    prepared = prepare_model(imported.workdir.read_trial())
    assert published.STEP == restore_latest(prepared, imported.workdir)
    theirs = imported.published.model(data.images, image_shape=data.image_shape, training=False)
    ours = prepared.model(data.images, data.image_shape)
    for level, features in theirs["decoder_features"].items():
        assert_near(features.numpy(), ours["features"][level].numpy())
    assert theirs["num_detections"].numpy().min() > 0
    np.testing.assert_array_equal(theirs["num_detections"], ours["num_detections"])
    np.testing.assert_array_equal(theirs["detection_classes"], ours["classes"])
    for name in ("boxes", "scores", "masks"):
        assert_near(theirs[f"detection_{name}"].numpy(), ours[name].numpy())


def test_the_workdirs_model_computes_what_the_published_one_does(imported: Imported) -> None:
    """Each published head, through the command and its files, gives the same masks."""
    assert_same_detections(imported, tiny_model.batch())


@pytest.mark.extended
@pytest.mark.parametrize(("name", "further"), [
    ("voc_r50", ""),
    ("voc_r50_hg52", ""),
    # Random weights are sure of nothing: every score counts.
    ("voc_spinenet143_hg52", "task.model.backbone.spinenet.model_id='49',"
     "task.model.detection_generator.pre_nms_score_threshold=0.0,"),
])
def test_a_published_file_and_its_checkpoint_go_together(
    name: str, further: str, tmp_path: Path
) -> None:
    """The gin file made of a YAML file describes the model whose checkpoint it trained."""
    path, experiment = published_yaml.write_yaml(name, tmp_path)
    # Small images, all digits, and a kernel that chooses alike between equal scores.
    settings = (
        f"{further}task.model.input_size=[128, 128, 3],runtime.mixed_precision_dtype=float32,"
        "task.model.detection_generator.nms_version=batched,"
        "runtime.distribution_strategy=one_device")
    config = exp_factory.get_exp_config(experiment)
    for override in (str(path), settings):
        config = hyperparams.override_params_dict(config, override, is_strict=True)
    theirs = published.write_experiment(config, tmp_path)
    gin_file = tmp_path / "x.gin"
    assert 0 == cli.main([
        "import", "config", str(path), "--experiment", experiment, "--params_override", settings,
        "--output", str(gin_file)])
    imported = Imported(theirs, gin_file, TrialWorkdir(tmp_path / "w"))
    assert _run(imported, theirs.checkpoint, tmp_path / "w")["tensors"] == len(
        theirs.model.variables)
    anchors = Anchors(config.task.model.min_level, config.task.model.max_level)
    assert_same_detections(imported, tiny_model.batch(image_size=(128, 128), anchors=anchors))


@pytest.mark.extended
def test_the_workdir_can_be_evaluated(
    hourglass: Imported, tiny_recipe, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Evaluation accepts an imported workdir like a trained one, and reports its step."""
    output = tmp_path / "evaluation"
    assert 0 == cli.main([
        "evaluate", "--workdir", str(hourglass.workdir.path), "--data",
        str(tiny_recipe.data / "val"), "--box_source", "groundtruth", "--output", str(output)])
    assert "groundtruth  iou" in capsys.readouterr().out
    assert published.STEP == json.loads((output / "result.json").read_text())["step"]


def test_the_workdir_says_where_it_comes_from(hourglass: Imported) -> None:
    """import.json names the source, its step, and how many tensors were read and left out."""
    told = json.loads((hourglass.workdir.path / "import.json").read_text())
    variables = hourglass.published.model.variables
    assert told["source"] == hourglass.published.checkpoint
    assert told["step"] == published.STEP
    assert told["tensors"] == len(variables)
    # Momentum of each trained variable, the optimizer's own numbers, two counters.
    there = tf.train.list_variables(hourglass.published.checkpoint)
    assert sum(told["left_out"].values()) == len(there) - 1 - len(variables)
    assert told["left_out"]["optimizer"] > sum(v.trainable for v in variables)


@pytest.mark.extended
def test_training_can_start_from_it(hourglass: Imported) -> None:
    """The imported checkpoint initializes all parts of another model."""
    prepared = prepare_model(hourglass.workdir.read_trial())
    checkpoints.load_initial_weights(prepared.model, str(hourglass.workdir.checkpoints), ["all"])
    head = hourglass.published.model.mask_head
    np.testing.assert_array_equal(
        head._mask_regressor.kernel, prepared.model.mask_head.logits.kernel)
    np.testing.assert_array_equal(
        head._hourglass.output_conv[0].norm.moving_variance,
        prepared.model.mask_head.hourglass.output_conv.norm.norm.moving_variance)


@pytest.mark.extended
def test_a_model_alone_is_read_the_same(hourglass: Imported, tmp_path: Path) -> None:
    """A checkpoint with other names of the same model gives the same weights."""
    tf.train.Checkpoint(model=hourglass.published.model).save(str(tmp_path / "ckpt"))
    told = _run(hourglass, str(tmp_path), tmp_path / "w")
    assert told["step"] is None
    assert told["fingerprint"] == json.loads(
        (hourglass.workdir.path / "import.json").read_text())["fingerprint"]


@pytest.mark.extended
def test_an_exported_model_gives_all_but_its_missing_detector(
    hourglass: Imported, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The parts of a SavedModel without a detector can be imported by name."""
    folder = published.export(hourglass.published, tmp_path / "exported")
    assert errors.USER_ERROR == _main(hourglass, str(folder), tmp_path / "w")
    assert re.search(
        r"does not fit the model: it has no rpn_head, detection_head \(.*--parts backbone "
        r"decoder mask_head", capsys.readouterr().err)
    assert not (tmp_path / "w").exists()
    parts = ["backbone", "decoder", "mask_head"]
    told = _run(hourglass, str(folder), tmp_path / "w", "--parts", *parts)
    model = hourglass.published.model
    assert told["tensors"] == sum(len(getattr(model, part).variables) for part in parts)
    assert told["left_out"] == {}

    data = tiny_model.batch()
    boxes = data.labels["gt_boxes"]
    workdir = TrialWorkdir(tmp_path / "w")
    prepared = prepare_model(workdir.read_trial())
    restore_latest(prepared, workdir)
    masks = prepared.model.predict_masks(
        prepared.model.features(data.images), tf.reshape(boxes, [-1, 4]),
        tf.repeat(tf.range(2), boxes.shape[1]), tf.zeros([2 * boxes.shape[1]], tf.int32))
    expected = model.call_images_and_boxes(data.images, boxes)["detection_masks"].numpy()
    assert_near(expected, masks.numpy().reshape(expected.shape))


@pytest.mark.extended
@pytest.mark.parametrize(("bindings", "sentence"), [
    pytest.param(*case, id=name, marks=() if name in OFTEN else pytest.mark.extended)
    for name, case in UNFIT.items()])
def test_what_does_not_fit_is_described(
    hourglass: Imported, bindings: list[str], sentence: str, tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """The error describes the checkpoint and the model, and nothing is written."""
    options = [option for binding in bindings for option in ("--gin_bindings", binding)]
    status = _main(hourglass, hourglass.published.checkpoint, tmp_path / "w", *options)
    assert errors.USER_ERROR == status
    assert re.search(sentence, capsys.readouterr().err)
    assert not (tmp_path / "w").exists()


@pytest.mark.extended
def test_a_tensor_of_no_known_kind_is_refused(
    hourglass: Imported, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A single tensor without a counterpart in the model is an error."""
    more = tf.train.Checkpoint(model=hourglass.published.model, teacher=tf.Variable(1.0))
    path = more.save(str(tmp_path / "ckpt"))
    assert errors.USER_ERROR == _main(hourglass, path, tmp_path / "w")
    said = capsys.readouterr().err
    assert "1 variable of the checkpoint without a counterpart in the model (teacher)" in said


def _not_there(folder: Path) -> str:
    return str(folder / "ckpt-5")


def _with_ending(folder: Path) -> str:
    path = tf.train.Checkpoint(a=tf.Variable(1.0)).save(str(folder / "ckpt"))
    return f"{path}.index"


def _empty_folder(folder: Path) -> str:
    return str(folder)


def _broken(folder: Path) -> str:
    (folder / "ckpt-1.index").write_bytes(b"no table of tensors" * 10)
    return str(folder / "ckpt-1")


def _of_something_else(folder: Path) -> str:
    return tf.train.Checkpoint(a=tf.Variable(1.0)).save(str(folder / "ckpt"))


def _name_based(folder: Path) -> str:
    tf.raw_ops.SaveV2(
        prefix=str(folder / "old"), tensor_names=["conv/kernel"], shape_and_slices=[""],
        tensors=[tf.constant(1.0)])
    return str(folder / "old")


@pytest.mark.parametrize(("make", "sentence"), [
    (_not_there, r"The checkpoint .*/ckpt-5 does not exist: .*/ckpt-5\.index is missing\."),
    (_with_ending, r"Pass the path of a checkpoint without its suffix, such as DIR/ckpt-70000\."),
    (_empty_folder, r"There is no checkpoint in the folder .*\."),
    (_broken, r"ckpt-1 is not a checkpoint: .*\."),
    (_of_something_else, r"has no mask head, .*; it has a, save_counter\."),
    (_name_based, r"was not written by TensorFlow 2: it has no object graph\."),
])
def test_other_checkpoints_are_refused(
    make, sentence: str, hourglass: Imported, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The error says why a path is not a published checkpoint."""
    assert errors.USER_ERROR == _main(hourglass, make(tmp_path), tmp_path / "w")
    assert re.search(sentence, capsys.readouterr().err)


@pytest.mark.parametrize(("names", "sentence"), [
    ({1: "cup", 2: "lid"}, None),
    ({1: "lid", 2: "cup"}, r"class 1 is 'cup' in the checkpoint but 'lid' in \S*/val; class 2 is"),
])
def test_its_classes_are_compared_with_the_data(
    hourglass: Imported, tmp_path: Path, capsys: pytest.CaptureFixture,
    names: dict[int, str], sentence: str | None
) -> None:
    """The workdir knows the classes of its training data, and other data must agree with them."""
    train = write_classes(
        tmp_path / "train", (Category(i, name) for i, name in enumerate(("cup", "lid", "pot"), 1)))
    val = write_classes(tmp_path / "val", (Category(*entry) for entry in names.items()))
    status = _main(
        hourglass, hourglass.published.checkpoint, tmp_path / "w",
        "--gin-bindings", f"TRAIN = '{train}'", "--gin-bindings", f"VAL = '{val}'")
    if sentence is None:
        assert 0 == status
        assert [(1, "cup"), (2, "lid"), (3, "pot")] == [
            (c["id"], c["name"])
            for c in json.loads((tmp_path / "w/classes.json").read_text())["classes"]]
    else:
        assert errors.USER_ERROR == status
        assert re.search(sentence, capsys.readouterr().err)
        assert not (tmp_path / "w").exists()


def test_a_model_of_too_few_classes_is_no_model_of_the_data(
    hourglass: Imported, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The message names the number that the dataset needs."""
    train = write_classes(tmp_path / "train", (Category(i, f"class {i}") for i in range(1, 11)))
    assert errors.USER_ERROR == _main(
        hourglass, hourglass.published.checkpoint, tmp_path / "w",
        "--gin-bindings", f"TRAIN = '{train}'")
    assert "whose classes are numbered up to 10: use 11." in capsys.readouterr().err


def test_a_workdir_in_use_is_left_alone(
    hourglass: Imported, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Imported and trained workdirs are not overwritten."""
    shutil.copytree(hourglass.workdir.path, tmp_path / "w")
    (tmp_path / "w" / "trial.json").unlink()
    for folder in (hourglass.workdir.path, tmp_path / "w"):
        status = _main(hourglass, hourglass.published.checkpoint, folder)
        assert errors.USER_ERROR == status
        assert "is already in use; pass another one." in capsys.readouterr().err


def _main(imported: Imported, checkpoint: str, workdir: Path, *options: str) -> int:
    return cli.main([
        "import", "checkpoint", checkpoint, "--gin_file", str(imported.config),
        "--workdir", str(workdir), *options])


def _run(imported: Imported, checkpoint: str, workdir: Path, *options: str) -> dict:
    assert 0 == _main(imported, checkpoint, workdir, *options)
    return json.loads((workdir / "import.json").read_text())

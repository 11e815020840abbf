"""Configurations are validated as a trial would find them, without data and without running."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.validation import architecture, limits
from deepmac_ablate.sweep.validation.dataset_checks import check_datasets
from deepmac_ablate.sweep.validation.validation_result import ArmConfig, ValidationResult
from deepmac_ablate.sweep.validation.validator import validate_configs
from deepmac_ablate.training import session

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_tensorflow")]


@pytest.fixture
def arm(tiny_recipe):
    """Make a configuration of the tiny recipe with some bindings replaced."""
    def make(*bound, files=()):
        return ArmConfig(" ".join(bound), (str(tiny_recipe.gin_file), *files), bound)

    return make


def validate(configs) -> list[ValidationResult]:
    """Results of configurations, with the problems of their datasets."""
    return check_datasets(validate_configs(configs))


def built(config):
    """The objects of a trial, really made."""
    from deepmac_ablate.trial.trial import Trial

    return session.prepare_session(Trial(config.gin_files, config.bindings, 0, ""))


def size(variables):
    return sum(math.prod(variable.shape) for variable in variables)


VARIANTS = {
    "as it is": (),
    "hourglass": ("MaskRCNN.mask_head = @HourglassMaskHead()", "HourglassMaskHead.depth = 10",
                  "HourglassMaskHead.width = 4", "HourglassMaskHead.crop_size = 8"),
    "frozen": ("Training.freeze = ['backbone']",),
    "no momentum": ("SGD.momentum = 0.0",),
    "embedding": ("MaskRCNN.mask_inputs = [@InstanceEmbedding()]",),
    "bfloat16": ("Training.precision = 'bfloat16'",),
    "spinenet": ("MaskRCNN.backbone = @SpineNet()", "SpineNet.model_id = '49S'",
                 "SpineNet.width_multiplier = 0.1", "Anchors.min_level = 5",
                 "IMAGE_SIZE = (128, 128)"),
}


@pytest.mark.extended
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.extended) if name == "spinenet" else name
    for name in VARIANTS])
def test_parameters_and_bytes_are_those_of_the_trial(name, arm, tmp_path):
    """All, trainable ones, and every tensor of a checkpoint that the trial writes."""
    [result] = validate([arm(*VARIANTS[name])])
    assert () == result.problems
    trial = built(arm(*VARIANTS[name]))
    assert size(trial.model.variables) == result.cost.parameters
    assert size(trial.model.trainable_variables) == result.cost.trainable_parameters
    path = trial.checkpoint.save(str(tmp_path / "x"))
    reader = tf.train.load_checkpoint(path)
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    # Beside them a checkpoint counts how often it was saved, and describes its objects as text.
    written = sum(
        math.prod(shape) * types[key].size for key, shape in shapes.items()
        if not key.startswith(("save_counter", "_CHECKPOINTABLE")))
    assert written == result.cost.checkpoint_bytes


def test_multiply_adds_are_those_of_the_layers(arm):
    """Box path and mask head by hand from the recipe's sizes."""
    [result] = validate([arm()])
    # Levels 4 and 5 of 64 x 64 pixels: 4 x 4 and 2 x 2 cells of 16 channels, 3 anchors each, which
    # have a score and 4 offsets. 8 regions: crops of 7 x 7 x 16, two layers of 16, 13 classes.
    rpn = (16 + 4) * (9 * 16 * 16 + 16 * 3 * 5)
    box = 8 * (7 * 7 * 16 * 16 + 16 * 16 + 16 * 13 * 5)
    # 8 x 8 crops, one convolution of 4 channels, up-sampling to 16 x 16, a logit for each cell.
    mask = 64 * 9 * 16 * 4 + 64 * 4 * 4 * 4 + 256 * 4
    assert (rpn + box) / 1e9 == pytest.approx(result.cost.box_gmacs, rel=1e-9)
    assert mask / 1e9 == pytest.approx(result.cost.mask_gmacs, rel=1e-9)
    assert 4 == result.cost.mask_boxes


def test_a_known_network_costs_what_is_known_of_it():
    """ResNet-50 has 4.09 GMACs at 224 pixels, by area; its pyramid's are calculated by hand."""
    recipe = ("gin/experiments/deep_mask_head_rcnn_voc_r50.gin",)
    [result] = validate([ArmConfig("r50", recipe, ())])
    # torchvision's documentation of its ResNet-50, less the classifier.
    resnet = 4.089 - 0.002
    cells = {level: (1024 // 2**level) ** 2 for level in range(2, 7)}
    lateral = sum(cells[level] * 256 * 2 ** (level - 2) * 256 for level in range(2, 6))
    smooth = sum(cells.values()) * 9 * 256 * 256
    # The coarsest level is made of the pyramid's last or the backbone's last, 256 or 2048 channels.
    expected = resnet * (1024 / 224) ** 2 + (lateral + smooth) / 1e9
    assert expected == pytest.approx(result.cost.backbone_gmacs, rel=0.02)
    assert (70_000, 64, 100) == (
        result.cost.steps, result.cost.batch_size, result.cost.mask_boxes)
    assert 46_408_855 == result.cost.parameters


def test_slots_steps_and_checkpoints_are_the_trials(arm):
    """Each setting counts: slots never more than boxes, checkpoints never more than are written."""
    changes = {
        "GroundTruthBoxes.slots_per_image = 2": {"mask_boxes": 2},
        "GroundTruthBoxes.slots_per_image = 50": {"mask_boxes": 8},
        "MaskRCNN.pad_to_all_slots = True": {"mask_boxes": 8},
        "STEPS = 25": {"steps": 25},
        "STEPS = 10": {"steps": 10, "checkpoints": 1},
        "Runtime.keep_checkpoints = 5": {"checkpoints": 5},
        "Runtime.keep_checkpoints = 50": {"checkpoints": 5},
        "BATCH_SIZE = 3": {"batch_size": 3},
    }
    base, *others = validate([arm(), *map(arm, changes)])
    assert (50, 2, 2) == (base.cost.steps, base.cost.batch_size, base.cost.checkpoints)
    for result, expected in zip(others, changes.values(), strict=True):
        assert dataclasses.replace(base.cost, **expected) == result.cost, result.label


def test_checkpoints_left_by_a_trial_are_as_many(arm, finished):
    """As in the folder of a trial that ended."""
    [result] = validate([arm()])
    left = list(Path(finished.workdir.checkpoints).glob("*.index"))
    assert len(left) == result.cost.checkpoints


def test_each_problem_is_one_sentence(arm, tmp_path, monkeypatch):
    """All of all arms, with the place and what would be right; good arms are not touched by bad."""
    monkeypatch.chdir(tmp_path)
    # The real limit would need 8 GB of memory.
    monkeypatch.setattr(limits, "PARAMETERS", 50_000_000)
    (tmp_path / "dead.gin").write_text("Training.data = @TrainingData()\n\nSGD.momentm = 0.9\n")
    problems = {
        arm(files=("dead.gin",)): ["dead.gin:3 'SGD.momentm = 0.9': SGD has no parameter "
                                   "'momentm'. Did you mean 'momentum'?"],
        arm("ConvMaskHead.num_convs = '1'"): ["must be int from 0 to 100, not '1' (str)."],
        arm("STEPS = %gin.REQUIRED"): ["STEPS must be set"],
        arm(*VARIANTS["hourglass"], "HourglassMaskHead.crop_size = 33"): [
            "HourglassMaskHead.crop_size = 33 does not suit depth 10"],
        arm("ResNetMaskHead.depth = 8"): [
            "binding 'ResNetMaskHead.depth = 8' had no effect: nothing uses ResNetMaskHead"],
        arm("IMAGE_SIZE = (65, 64)"): ["MaskRCNN.image_size = (65, 64) does not suit a pyramid"],
        arm("stepwise.values = [1.0]", "warm_up.then = @stepwise()",
            "stepwise.boundaries = [1, 2]"): ["stepwise.values has 1 entry for 2 boundaries"],
        arm("STEPS = 0", "Runtime.log_every = 0", "Evaluation.every = -1"): [
            "'Training.steps = %STEPS' (binding 'STEPS = 0'): steps must be int from 1 to ",
            "'cosine.steps = %STEPS' (binding 'STEPS = 0'): steps must be int from 1 to ",
            "'Runtime.log_every = 0': log_every must be int from 1 to ",
            "'Evaluation.every = -1': every must be int from 0 to "],
        arm("SGD.momentum = 'x'", "TrainingData.flipp = True"): [
            "'TrainingData.flipp = True': TrainingData has no parameter", "momentum must be float"],
        arm("ConvMaskHead.num_convs = 100", "ConvMaskHead.width = 4096"): [
            "It cannot be built: the model has more than 50,000,000 parameters."],
        arm("warm_up.steps = 51"): ["warm_up.steps = 51 must be at most Training.steps = 50."],
        arm("include 'gin/detectors/none.gin'", "MaskRCNN.mask_boxes = @ProposalBoxes()"): [
            "MaskRCNN.mask_boxes = @ProposalBoxes() needs the regions of a detector"],
        arm("MaskRCNN.detector = @NoDetector()", "Training.freeze = ['backbone', 'rpn_head']"): [
            "Training.freeze names the part 'rpn_head', which the model does not have.",
            "('detections', 'groundtruth') has 'detections', but NoDetector detects nothing"],
        arm("include 'gin/detectors/none.gin'"): [],
        arm("STEPS = 1"): [],
        arm("ConvMaskHead.width = 5"): [],
    }
    for result, expected in zip(validate(list(problems)), problems.values(), strict=True):
        assert len(expected) == len(result.problems), result
        for said, part in zip(result.problems, expected, strict=True):
            assert part in said
            assert "\n" not in said
        assert (result.cost is None) == bool(expected)


def test_problems_are_those_of_the_trial(arm):
    """The first is word for word what training would say."""
    arms = [arm("ConvMaskHead.num_convs = -1"), arm("ResNetMaskHead.depth = 8")]
    for config, result in zip(arms, validate(arms), strict=True):
        with pytest.raises(UserError) as raised:
            built(config)
        assert str(raised.value) == result.problems[0]


def test_data_is_not_needed_and_looked_at_where_it_is(arm):
    """Out of reach it is named; in reach it must suit; records are never opened."""
    [away, here, few, split] = validate([
        arm("TRAIN = '/nowhere/train'"), arm(), arm("NUM_CLASSES = 12"),
        arm("Training.seen_classes = 'voc'")])
    assert (("/nowhere/train",), ()) == (away.data_out_of_reach, away.problems)
    assert ((), ()) == (here.data_out_of_reach, here.problems)
    assert "MaskRCNN.num_classes = 12 is too small" in few.problems[0]
    assert "needs COCO's classes" in split.problems[0]


SERIES = (
    (), ("LEARNING_RATE = 0.5",), ("STEPS = 0",), ("STEPS = 7",), ("STEPS = '7'",),
    ("LEARNING_RATE = 0.5", "STEPS = 7"), ("ConvMaskHead.crop_size = 12",),
    ("ConvMaskHead.crop_size = 8",), ("SGD.momentum = 0.0",), ("SGD.momentum = 0.5",),
    ("Training.freeze = ['backbone']",), ("Training.freeze = ['decoder']",),
    ("TrainingData.max_instances = 3",), ("ResNetFPN.depth = 18",), ("ResNetFPN.depth = 17",),
    ("MaskRCNN.mask_inputs = [@Coordinates()]",), ("ResNetMaskHead.depth = 8",),
    ("ResNetMaskHead.depth = 4",), ("BATCH_SIZE = 3",),
    ("Runtime.log_every = 0",), ("Runtime.log_every = 3",), ("EvaluationData.batch_size = 0",),
    ("EvaluationData.batch_size = 3", "Training.precision = 'bfloat16'"),
    ("OPTIMIZER = @SGD", "Training.optimizer = %OPTIMIZER", "SGD.momentum = 1.5"),
    ("OPTIMIZER = @SGD", "Training.optimizer = %OPTIMIZER", "SGD.momentum = 0.5"),
    ("MODEL = @MaskRCNN", "Training.model = %MODEL"),
)


@pytest.mark.extended
def test_an_arm_is_validated_as_if_it_were_alone(arm):
    """Whatever came before: all in one call, in two orders, against each in its own."""
    arms = [arm(*bound) for bound in SERIES]
    alone = [validate([one])[0] for one in arms]
    assert alone == validate(arms)
    assert alone == validate(arms[::-1])[::-1]
    # The last three name optimizer and model by macros.
    assert [1, 0, 0] == [len(result.problems) for result in alone[-3:]]


@pytest.mark.extended
def test_alike_arms_are_built_once(arm, monkeypatch):
    """Of hundreds of learning rates one model is traced, and each bad one is still found."""
    traced = []
    for name in ("trace_trunk", "trace_mask_branch"):
        trace = getattr(architecture, name)
        monkeypatch.setattr(
            architecture, name,
            lambda *args, trace=trace, name=name: (traced.append(name), trace(*args))[1])
    arms = [arm(f"LEARNING_RATE = {i}.5", "SGD.momentum = 0.5") for i in range(300)]
    arms[150] = arm("LEARNING_RATE = 'high'", "SGD.momentum = 0.5")
    results = validate(arms)
    assert ["trace_trunk", "trace_mask_branch"] == traced
    assert [150] == [i for i, result in enumerate(results) if result.problems]


def test_heads_share_a_trunk(arm, monkeypatch):
    """Backbone, decoder and box path are traced once for arms that differ in the mask branch."""
    traced = []
    trace = architecture.trace_trunk
    monkeypatch.setattr(
        architecture, "trace_trunk", lambda model: (traced.append(1), trace(model))[1])
    wide = "ResNetFPN.fpn_filters = 24"
    results = validate([
        arm(), arm(wide), arm(*VARIANTS["hourglass"]), arm(wide, *VARIANTS["hourglass"]),
        arm("ConvMaskHead.width = 6"), arm(*VARIANTS["embedding"])])
    assert [] == [result.problems for result in results if result.problems]
    assert 2 == len(traced)
    assert 2 == len({result.cost.backbone_gmacs for result in results})
    assert 6 == len({result.cost.parameters for result in results})


def test_each_result_is_passed_on_when_it_is_found(arm):
    """Once, with the index of its configuration."""
    passed = {}
    results = validate_configs(
        [arm("STEPS ="), arm(), arm("STEPS = 3")],
        lambda index, result: passed.update({index: result}))
    assert dict(enumerate(results)) == passed
    assert [1, 0, 0] == [len(result.problems) for result in results]


HEAD = """\
import gin
import tensorflow as tf
from deepmac_ablate.modeling.mask_heads import FullyConvolutionalMaskHead


@gin.register
class {name}(FullyConvolutionalMaskHead):
    def __init__(self, crop_size: int = 8):
        super().__init__(crop_size=crop_size, width=4)

    def build_body(self):
        self.layer = tf.keras.layers.Conv2D(4, 1)

    def body(self, features, valid, training):
        features = self.layer(features)
        {body}
"""


@pytest.mark.parametrize(("body", "problem"), [
    ("while True: pass", "It cannot be built: it is not ready after 3 seconds."),
    ("time.sleep(1e6)", "It cannot be built: it is not ready after 3 seconds."),
    ("bytearray(2**60)", "It cannot be built: it needs more memory than this machine has."),
])
def test_a_build_without_end_is_a_problem_of_its_arm(arm, tmp_path, monkeypatch, body, problem):
    """The other arms are validated, and the problem is not remembered for other machines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"Endless{''.join(filter(str.isalnum, body))}"
    (tmp_path / f"{name}.py").write_text(
        "import time\n" + HEAD.format(name=name, body="return features").replace(
            "        super()", f"        {body}\n        super()"))
    (tmp_path / "e.gin").write_text(f"import {name}\nMaskRCNN.mask_head = @{name}()\n")
    [good] = validate([arm()])
    monkeypatch.setattr(limits, "SECONDS", 3)
    [bad] = validate([arm(files=("e.gin",))])
    assert () == good.problems
    assert ((problem,), True) == (bad.problems, bad.of_this_machine)


def test_heads_of_the_users_are_validated(arm, tmp_path, monkeypatch):
    """One that branches on a tensor, as TensorFlow's functions may; one that fails when called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    bodies = {
        "BranchingHead": "if tf.reduce_mean(features) > 0.0:\n            return 2.0 * features\n"
                         "        return features",
        "FailingHead": "return features[:, :, :, self.channels]",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name.lower()}.py").write_text(HEAD.format(name=name, body=body))
        (tmp_path / f"{name}.gin").write_text(
            f"import {name.lower()}\nMaskRCNN.mask_head = @{name}()\n")
    good, bad = validate([arm(files=(f"{name}.gin",)) for name in bodies])
    assert () == good.problems
    assert good.cost.mask_gmacs > 0.0
    # Layers of tf.keras are the models': one of 1 x 1 for the recipe's of 3 x 3 with its norm.
    [recipe] = validate([arm()])
    more = good.cost.trainable_parameters - recipe.cost.trainable_parameters
    assert (16 * 4 + 4) - (9 * 16 * 4 + 4 + 2 * 4) == more
    [said] = bad.problems
    assert "It cannot be built: AttributeError: " in said
    assert "channels" in said

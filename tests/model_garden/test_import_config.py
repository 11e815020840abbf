"""Conversion of published YAML files to gin files with the same meaning, or an error."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from official.core import exp_factory
from official.modeling import hyperparams
from official.projects.deepmac_maskrcnn.configs import deep_mask_head_rcnn  # noqa: F401 (registers)

from deepmac_ablate import bindings, cli, errors
from deepmac_ablate.bindings import registry
from deepmac_ablate.model_garden import keys
from deepmac_ablate.model_garden.experiments import experiment_defaults
from deepmac_ablate.model_garden.overrides import apply_settings, parse_settings, read_yaml
from deepmac_ablate.training import session  # noqa: F401 (registers)
from tests.helpers import published_yaml

ROOTS = ("Training", "Evaluation", "Runtime")

# What the published code's README has people set, and what a machine may need.
OVERRIDES = (
    "task.validation_data.input_path=gs://bucket/val-*,task.train_data.input_path=gs://bucket/train*,"
    "task.annotation_file=gs://bucket/instances_val2017.json,runtime.distribution_strategy=tpu")

# Our parameter -> where the published configuration `c`, or its model `m`, has the value.
MEANINGS = {
    "MaskRCNN.num_classes": "m.num_classes",
    "MaskRCNN.image_size": "tuple(m.input_size[:2])",
    "MaskRCNN.l2_weight_decay": "c.task.losses.l2_weight_decay",
    "Anchors.min_level": "m.min_level",
    "Anchors.max_level": "m.max_level",
    "Anchors.size": "m.anchor.anchor_size",
    "Anchors.num_scales": "m.anchor.num_scales",
    "Anchors.aspect_ratios": "tuple(m.anchor.aspect_ratios)",
    "Anchors.match_iou": "c.task.train_data.parser.rpn_match_threshold",
    "Anchors.unmatched_iou": "c.task.train_data.parser.rpn_unmatched_threshold",
    "Anchors.samples_per_image": "c.task.train_data.parser.rpn_batch_size_per_im",
    "Anchors.positive_fraction": "c.task.train_data.parser.rpn_fg_fraction",
    "Norm.momentum": "m.norm_activation.norm_momentum",
    "Norm.epsilon": "m.norm_activation.norm_epsilon",
    "Norm.synchronized": "m.norm_activation.use_sync_bn",
    "Norm.activation": "m.norm_activation.activation",
    "BatchNorm.momentum": "m.norm_activation.norm_momentum",
    "BatchNorm.epsilon": "m.norm_activation.norm_epsilon",
    "RegionProposals.num_convs": "m.rpn_head.num_convs",
    "RegionProposals.num_filters": "m.rpn_head.num_filters",
    "RegionProposals.pre_nms_top_k": "m.roi_generator.pre_nms_top_k",
    "RegionProposals.num_proposals": "m.roi_generator.num_proposals",
    "RegionProposals.nms_iou": "m.roi_generator.test_nms_iou_threshold",
    "RegionProposals.test_pre_nms_top_k": "m.roi_generator.test_pre_nms_top_k",
    "RegionProposals.test_num_proposals": "m.roi_generator.test_num_proposals",
    "RegionSampler.num_samples": "m.roi_sampler.num_sampled_rois",
    "RegionSampler.foreground_fraction": "m.roi_sampler.foreground_fraction",
    "RegionSampler.foreground_iou": "m.roi_sampler.foreground_iou_threshold",
    "RegionSampler.background_iou": "m.roi_sampler.background_iou_high_threshold",
    "RegionSampler.mix_gt_boxes": "m.roi_sampler.mix_gt_boxes",
    "BoxHead.num_convs": "m.detection_head.num_convs",
    "BoxHead.num_filters": "m.detection_head.num_filters",
    "BoxHead.num_fcs": "m.detection_head.num_fcs",
    "BoxHead.fc_dims": "m.detection_head.fc_dims",
    "BoxHead.crop_size": "m.roi_aligner.crop_size",
    "StaticDetections.pre_nms_top_k": "m.detection_generator.pre_nms_top_k",
    "StaticDetections.score_threshold": "m.detection_generator.pre_nms_score_threshold",
    "StaticDetections.nms_iou": "m.detection_generator.nms_iou_threshold",
    "StaticDetections.max_per_image": "m.detection_generator.max_num_detections",
    "{head}.width": "m.mask_head.num_filters",
    "{head}.crop_size": "m.mask_roi_aligner.crop_size",
    "{head}.class_agnostic": "m.mask_head.class_agnostic",
    "{head}.activation": "m.norm_activation.activation",
    "Deconvolution.factor": "m.mask_head.upsample_factor",
    "Losses.rpn_score_weight": "c.task.losses.rpn_score_weight",
    "Losses.rpn_box_weight": "c.task.losses.rpn_box_weight",
    "Losses.class_weight": "c.task.losses.frcnn_class_weight",
    "Losses.box_weight": "c.task.losses.frcnn_box_weight",
    "Losses.mask_weight": "c.task.losses.mask_weight",
    "Losses.rpn_huber_delta": "c.task.losses.rpn_huber_loss_delta",
    "Losses.box_huber_delta": "c.task.losses.frcnn_huber_loss_delta",
    "TrainingData.batch_size": "c.task.train_data.global_batch_size",
    "TrainingData.max_instances": "c.task.train_data.parser.max_num_instances",
    "TrainingData.mask_crop_size": "c.task.train_data.parser.mask_crop_size",
    "TrainingData.flip": "c.task.train_data.parser.aug_rand_hflip",
    "TrainingData.scale_min": "c.task.train_data.parser.aug_scale_min",
    "TrainingData.scale_max": "c.task.train_data.parser.aug_scale_max",
    "EvaluationData.batch_size": "c.task.validation_data.global_batch_size",
    "Training.steps": "c.trainer.train_steps",
    "Training.init_checkpoint": "c.task.init_checkpoint",
    "Training.precision": "c.runtime.mixed_precision_dtype",
    "stepwise.boundaries": "list(c.trainer.optimizer_config.learning_rate.stepwise.boundaries)",
    "stepwise.values": "list(c.trainer.optimizer_config.learning_rate.stepwise.values)",
    "warm_up.steps": "c.trainer.optimizer_config.warmup.linear.warmup_steps",
    "warm_up.start": "c.trainer.optimizer_config.warmup.linear.warmup_learning_rate",
    "SGD.momentum": "c.trainer.optimizer_config.optimizer.sgd.momentum",
    "SGD.clip_norm": "c.trainer.optimizer_config.optimizer.sgd.global_clipnorm",
}
OF_RESNET = {
    "ResNetFPN.depth": "m.backbone.resnet.model_id",
    "ResNetFPN.width_multiplier": "m.backbone.resnet.depth_multiplier",
    "ResNetFPN.fpn_filters": "m.decoder.fpn.num_filters",
}
OF_SPINENET = {
    "SpineNet.model_id": "m.backbone.spinenet.model_id",
    "SpineNet.stochastic_depth_drop_rate": "m.backbone.spinenet.stochastic_depth_drop_rate",
}


def published_config(path: Path, experiment: str) -> Any:
    """Return the configuration that the published code reads from a file."""
    config = hyperparams.override_params_dict(
        exp_factory.get_exp_config(experiment), str(path), is_strict=True)
    config.validate()
    return config


def convert(path: Path, experiment: str, *options: str) -> Path:
    """Run the command, and return the path of the gin file."""
    output = path.with_suffix(".gin")
    assert 0 == cli.main([
        "import", "config", str(path), "--experiment", experiment, "--output", str(output),
        *options])
    return output


def effective(gin_file: Path) -> dict[str, Any]:
    """Return all parameters that a gin file binds, as text with macros expanded."""
    with bindings.isolated():
        parsed = bindings.parse([str(gin_file)], [])
    return {name: value for root in ROOTS
            for name, value in bindings.explicit_bindings(parsed, root).items()}


def value_of(parameter: str, bound: dict[str, str]) -> Any:
    """Return the bound value of a parameter, or its default."""
    if parameter in bound:
        return ast.literal_eval(bound[parameter])
    selector, _, name = parameter.rpartition(".")
    function = registry.bindable_function(registry.find_configurable(selector))
    return inspect.signature(function).parameters[name].default


@pytest.mark.parametrize("name", published_yaml.FILES)
def test_each_published_file_says_the_same(name: str, tmp_path: Path) -> None:
    """Every parameter has the value that the published code reads from the file."""
    path, experiment = published_yaml.write_yaml(name, tmp_path)
    config = published_config(path, experiment)
    bound = effective(convert(path, experiment))
    head = "HourglassMaskHead" if "hg52" in name else "ConvMaskHead"
    backbone = OF_SPINENET if "spinenet" in name else OF_RESNET
    names = {"c": config, "m": config.task.model, "tuple": tuple, "list": list}
    for parameter, where in {**MEANINGS, **backbone}.items():
        ours = parameter.format(head=head)
        assert value_of(ours, bound) == eval(where, {}, names), ours
    assert bound["MaskRCNN.mask_head"] == f"@{head}()"
    assert bound["MaskRCNN.mask_boxes"] == "@GroundTruthBoxes()"
    assert bound["Training.seen_classes"] == repr("nonvoc" if "nonvoc" in name else "voc")
    assert bound["SGD.learning_rate"] == "@warm_up()"
    assert bound["warm_up.then"] == "@stepwise()"
    # As the published code builds its head, whatever the file says.
    assert bound["BatchNorm.synchronized"] == "False"
    assert bound["MaskRCNN.pad_to_all_slots"] == "True"
    if head == "HourglassMaskHead":
        assert value_of("HourglassMaskHead.depth", bound) == 52
        assert bound["HourglassMaskHead.weight_decay"] == "False"
        assert bound["hourglass/BatchNorm.momentum"] == "0.1"
        assert bound["hourglass/BatchNorm.epsilon"] == "1e-05"
        assert bound["hourglass/BatchNorm.synchronized"] == "True"


@pytest.mark.parametrize("name", published_yaml.FILES)
def test_each_published_file_is_the_recipe_of_its_name(name: str, tmp_path: Path) -> None:
    """The bindings of a trial equal those of the recipe in gin/experiments."""
    path, experiment = published_yaml.write_yaml(name, tmp_path)
    files = [f"gin/experiments/deep_mask_head_rcnn_{name}.gin", str(convert(path, experiment))]
    recipe, imported = (
        bindings.explicit_bindings(bindings.read([file], []).bindings) for file in files)
    assert recipe == imported


@pytest.mark.parametrize("experiment", [published_yaml.RESNET, published_yaml.SPINENET])
def test_the_experiments_are_the_published_ones(experiment: str) -> None:
    """Each setting known here has the published default."""
    config = exp_factory.get_exp_config(experiment)
    for key, value in experiment_defaults(experiment).items():
        theirs = config
        for name in key.split("."):
            theirs = getattr(theirs, name)
        theirs = list(theirs) if isinstance(theirs, tuple) else theirs
        assert theirs == value, key


def test_a_setting_is_read_as_the_published_code_reads_it(tmp_path: Path) -> None:
    """Files with exponents, quotes and nulls, and settings on top, give the same values."""
    path = tmp_path / "x.yaml"
    path.write_text("task:\n  losses: {l2_weight_decay: 1e-4}\n  init_checkpoint: null\n")
    text = (f"{OVERRIDES},trainer.train_steps=5, task.model.input_size=[128, 256, 3],"
            "task.model.mask_head.convnet_variant='hourglass20'")
    config = hyperparams.override_params_dict(
        published_config(path, published_yaml.RESNET), text, is_strict=True)
    values = experiment_defaults(published_yaml.RESNET)
    apply_settings(read_yaml(path), values, "x")
    apply_settings(parse_settings(text), values, "x")
    for key, value in values.items():
        theirs = config
        for name in key.split("."):
            theirs = getattr(theirs, name)
        assert (list(theirs) if isinstance(theirs, tuple) else theirs) == value, key


def test_settings_of_the_readme_arrive(tmp_path: Path) -> None:
    """Data and devices from the command line are bound, and settings without effect are listed."""
    path, experiment = published_yaml.write_yaml("voc_r50", tmp_path)
    output = convert(path, experiment, "--params_override", OVERRIDES)
    bound = effective(output)
    assert bound["TrainingData.prefix"] == "'gs://bucket/train'"
    assert bound["EvaluationData.prefix"] == "'gs://bucket/val'"
    assert bound["Runtime.strategy"] == "'tpu'"
    comments = [line for line in output.read_text().splitlines() if line.startswith("#")]
    reason = "task.annotation_file: the dataset includes its annotations"
    assert any(line.endswith(reason) for line in comments)


@pytest.mark.parametrize(("settings", "comment"), [
    ("task.model.mask_roi_aligner.crop_size=32,task.model.mask_head.convnet_variant=hourglass52,"
     "task.model.mask_head.num_convs=2",
     "task.model.mask_head.num_convs: an hourglass has its own depth"),
    ("task.model.use_gt_boxes_for_masks=true,task.model.mask_sampler.num_sampled_masks=9",
     "task.model.mask_sampler.num_sampled_masks: all ground-truth boxes are used"),
    ("task.model.detection_generator.nms_version=batched,"
     "task.model.detection_generator.pre_nms_top_k=9",
     "task.model.detection_generator.pre_nms_top_k: the batched kernel uses all boxes"),
    ("task.model.backbone.spinenet.model_id='96'",
     "task.model.backbone.spinenet.model_id: the backbone is a ResNet"),
])
def test_a_setting_without_effect_is_a_comment(
    settings: str, comment: str, tmp_path: Path
) -> None:
    """Settings that the published code ignores, given the others, change nothing."""
    path = tmp_path / "x.yaml"
    path.write_text("")
    output = convert(path, published_yaml.RESNET, "--params_override", settings)
    assert f"#   {comment}\n" in output.read_text()
    other = settings.rpartition(",")[0]
    with_it = effective(output)
    assert with_it == effective(convert(path, published_yaml.RESNET, "--params_override", other))


def test_every_translated_setting_arrives(tmp_path: Path) -> None:
    """A new value of a one-to-one setting becomes the value of our parameter."""
    changed = {}
    defaults = experiment_defaults(published_yaml.RESNET)
    for key in {**keys.SAME, **keys.IF_SET}:
        value = defaults[key]
        other = {"relu": "swish", "mirrored": "one_device", None: 3.0}.get(value)
        if isinstance(value, bool):
            other = not value
        elif other is None:
            other = value + 1 if isinstance(value, int) else value * 0.5
        changed[key] = "local" if key == "runtime.tpu" else other
    changed["task.model.min_level"] = 3
    # One value for training and evaluation here, so the other has to follow.
    changed["task.model.roi_generator.test_nms_iou_threshold"] = changed[
        "task.model.roi_generator.nms_iou_threshold"]
    path = tmp_path / "x.yaml"
    path.write_text("{}")
    text = ",".join(f"{key}={value}" for key, value in changed.items())
    hyperparams.override_params_dict(
        exp_factory.get_exp_config(published_yaml.RESNET), text, is_strict=True)
    bound = effective(convert(path, published_yaml.RESNET, "--params_override", text))
    for key, ours in {**keys.SAME, **keys.IF_SET}.items():
        assert ast.literal_eval(bound[ours]) == changed[key], key


@pytest.mark.parametrize(("settings", "expected"), [
    ("task.model.use_gt_boxes_for_masks=true",
     {"MaskRCNN.mask_boxes": "@GroundTruthBoxes()"}),
    ("task.model.mask_sampler.num_sampled_masks=99",
     {"MaskRCNN.mask_boxes": "@ProposalBoxes()", "ProposalBoxes.max_per_image": "99"}),
    ("task.allowed_mask_class_ids=[]", {"Training.seen_classes": "'none'"}),
    ("task.allowed_mask_class_ids=[3, 1]", {"Training.seen_classes": "[3, 1]"}),
    ("trainer.train_steps=3", {"Training.seen_classes": "'all'"}),
    ("task.model.mask_head.use_separable_conv=true,task.model.mask_head.num_convs=2",
     {"MaskRCNN.mask_head": "@SeparableConvMaskHead()", "SeparableConvMaskHead.num_convs": "2"}),
    ("task.model.mask_head.convnet_variant=hourglass100,task.model.mask_roi_aligner.crop_size=64",
     {"HourglassMaskHead.depth": "100", "HourglassMaskHead.crop_size": "64",
      "HourglassMaskHead.class_agnostic": "False", "HourglassMaskHead.width": "256"}),
    ("task.model.detection_generator.nms_version=batched",
     {"MaskRCNN.detections": "@Detections()"}),
    ("task.model.anchor.aspect_ratios=[1.0]", {"Anchors.aspect_ratios": "(1.0,)"}),
    ("task.freeze_backbone=true", {"Training.freeze": "['backbone']"}),
    ("runtime.mixed_precision_dtype=float32", {"Training.precision": "'float32'"}),
    ("task.init_checkpoint_modules=[backbone, decoder]",
     {"Training.init_parts": "['backbone', 'decoder']"}),
    ("task.model.backbone.resnet.model_id=18,task.model.num_classes=7",
     {"ResNetFPN.depth": "18", "MaskRCNN.num_classes": "7"}),
])
def test_a_choice_selects_what_stands_for_it(
    settings: str, expected: dict[str, str], tmp_path: Path
) -> None:
    """Choices become the corresponding classes and files."""
    path = tmp_path / "x.yaml"
    path.write_text("")
    bound = effective(convert(path, published_yaml.RESNET, "--params_override", settings))
    found = {
        name: bound[name] if name in bound else repr(value_of(name, bound)) for name in expected}
    assert expected == found


@pytest.mark.parametrize(("content", "options", "sentence"), [
    ("task: [1, 2", [], r"x\.yaml:\d+ is not valid YAML: .*\."),
    ("task:\n  a: b: c\n", [],
     r"x\.yaml:2 is not valid YAML: mapping values are not allowed here\."),
    ("- 1\n", [], r"x\.yaml must contain a mapping of settings, not a list\."),
    ("task: {modle: {min_level: 3}, init_checkpont: null}\ntrain_steps: 3\n", [],
     r"no counterpart here for task\.modle\.min_level \(Did you mean 'task\.model\.min_level'"
     r"\?\), task\.init_checkpont \(Did you mean 'task\.init_checkpoint'\?\), train_steps.*; "
     r"remove them\."),
    ("task: {model: {mask_head: null}}", [], r"task\.model\.mask_head \(a group of settings"),
    ("trainer: {train_steps: many}", [],
     r"trainer\.train_steps = 'many' has another type than the default 22500\."),
    ("task: {model: {outer_boxes_scale: 1.2, rpn_head: {use_separable_conv: true}}}", [],
     r"no counterpart here: task\.model\.outer_boxes_scale = 1\.2: must be 1\.0; "
     r"task\.model\.rpn_head\.use_separable_conv = True: must be False\."),
    ("task: {model: {mask_head: {convnet_variant: hourglas52}}}", [],
     r"convnet_variant = 'hourglas52': must be one of 'default', .* "
     r"\(Did you mean 'hourglass52'\?\)"),
    ("task: {model: {decoder: {type: nasfpn}}}", [],
     r"decoder\.type = 'nasfpn': must be 'fpn'"),
    ("task: {model: {roi_generator: {nms_iou_threshold: 0.6}}}", [],
     r"test_nms_iou_threshold = 0\.7: must be 0\.6"),
    ("task: {model: {backbone: {resnet: {model_id: 77}}}}", [],
     r"needs gin/backbones/resnet77\.gin, which does not exist\."),
    ("", ["--experiment", "deep_mask_head_rcnn_spinenet"],
     r"no experiment 'deep_mask_head_rcnn_spinenet'\. Did you mean '.*_spinenet_coco'\?"),
    ("", ["--params_override", "trainer.train_steps"],
     r"'trainer\.train_steps' is not a list of settings such as"),
    ("", ["--params_override", "trainer.train_step=3"],
     r"--params-override: no counterpart here for trainer\.train_step \(Did you mean "),
    ("", ["--output", "nowhere/x.gin"], r"Cannot write nowhere/x\.gin: .*No such file"),
])
def test_what_cannot_be_translated_is_named(
    content: str, options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The error names the line, or every setting without a counterpart."""
    path = tmp_path / "x.yaml"
    path.write_text(content)
    assert errors.USER_ERROR == cli.main(["import", "config", str(path), *options])
    captured = capsys.readouterr()
    assert re.search(sentence, captured.err)
    assert captured.out == ""


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The error names the path of a missing file."""
    path = tmp_path / "x.yaml"
    assert errors.USER_ERROR == cli.main(["import", "config", str(path)])
    assert f"Cannot read {path}" in capsys.readouterr().err

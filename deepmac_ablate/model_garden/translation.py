"""Translation of an experiment's settings to gin files and bindings with the same meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.model_garden.experiments import RESNET
from deepmac_ablate.model_garden.keys import IF_SET, LEFT_OUT, SAME

_MODEL = "task.model."
_RATE = "trainer.optimizer_config.learning_rate.stepwise."


class Reference(str):
    """Name of a configurable; its `repr` is a gin reference."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"@{self}"


class GinValue(NamedTuple):
    """Value that a parameter must have.

    Attributes:
        name: Name of the parameter or macro.
        value: The value.
        default: Value of the parameter without a binding.
    """

    name: str
    value: Any
    default: Any


class Translation(NamedTuple):
    """Gin files and values with the meaning of an experiment's settings.

    Attributes:
        files: Files to include, in this order.
        bindings: Values that parameters must have, whatever the files bind.
        left_out: Explicit settings without effect here, with the reason.
    """

    files: list[str]
    bindings: list[GinValue]
    left_out: dict[str, str]


def translate_settings(values: Mapping[str, Any], given: set[str]) -> Translation:
    """Translate settings.

    Args:
        values: All settings of an experiment by dotted key.
        given: Keys of the explicit settings.

    Raises:
        UserError: If settings have no counterpart here, naming all of them.
    """
    reader = _Reader(values)
    data = _translate_data(reader)
    backbone, decoder = _translate_backbone(reader)
    head, head_bindings = _translate_mask_head(reader)
    split, split_bindings = _translate_class_split(reader)
    source, source_bindings = _translate_box_source(reader)
    bindings = [
        *data,
        *split_bindings,
        *_translate_training(reader),
        *decoder,
        *head_bindings,
        *source_bindings,
        *_translate_detections(reader),
        *(GinValue(ours, reader.read(key), RESNET[key]) for key, ours in SAME.items()),
        GinValue("Anchors.aspect_ratios", tuple(reader.read(f"{_MODEL}anchor.aspect_ratios")),
                 (0.5, 1.0, 2.0)),
        *(GinValue(ours, reader.read(key), None) for key, ours in IF_SET.items() if key in given),
    ]
    reader.require(
        f"{_MODEL}roi_generator.test_nms_iou_threshold",
        reader.read(f"{_MODEL}roi_generator.nms_iou_threshold"))
    reader.read_choice("runtime.distribution_strategy", {
        name: name for name in ("mirrored", "one_device", "multi_worker_mirrored", "tpu")})
    reader.check_rest()
    files = [
        "gin/base.gin", "gin/datasets/coco.gin", backbone, head,
        source, split, "gin/upstream.gin"]
    left_out = {key: why for key, why in reader.left_out.items() if key in given}
    return Translation(files, bindings, left_out)


class _Reader:
    """Reads settings, and collects those without a counterpart.

    Attributes:
        left_out: Settings without effect, with the reason.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._unread = set(values) - LEFT_OUT.keys() - IF_SET.keys()
        self._problems: list[str] = []
        self.left_out = dict(LEFT_OUT)

    def read(self, key: str) -> Any:  # noqa: ANN401
        """Return a setting."""
        self._unread.discard(key)
        return self._values[key]

    def read_choice(self, key: str, choices: Mapping[Any, str]) -> str:
        """Translate a setting; an unknown value is refused, and read as the first choice."""
        value = self.read(key)
        if value not in choices:
            known = ", ".join(map(repr, choices))
            hint = did_you_mean(value, choices) if isinstance(value, str) else ""
            self.refuse(key, f"must be one of {known}{f' ({hint.strip()})' if hint else ''}")
        return choices.get(value, next(iter(choices.values())))

    def require(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Refuse a setting with another value."""
        if self.read(key) != value:
            self.refuse(key, f"must be {value!r}")

    def leave_out(self, prefix: str, reason: str) -> None:
        """Ignore settings that the published code does not read because of other settings."""
        for key in [key for key in self._unread if key.startswith(prefix)]:
            self._unread.discard(key)
            self.left_out[key] = reason

    def refuse(self, key: str, reason: str) -> None:
        """Record that a setting has no counterpart."""
        self._problems.append(f"{key} = {self._values[key]!r}: {reason}")

    def check_rest(self) -> None:
        """Raise a UserError for refused settings, and for unread ones with unusual values."""
        for key in sorted(self._unread):
            # Settings that differ between the experiments have all been read.
            self.require(key, RESNET[key])
        if self._problems:
            raise UserError(
                f"These settings have no counterpart here: {'; '.join(self._problems)}.")


def _translate_data(reader: _Reader) -> list[GinValue]:
    size = reader.read(f"{_MODEL}input_size")
    if len(size) != 3 or size[2] != 3:
        reader.refuse(f"{_MODEL}input_size", "must be [height, width, 3]")
    bindings = [GinValue("IMAGE_SIZE", tuple(size[:2]), None)]
    for macro, key in (("TRAIN", "task.train_data"), ("VAL", "task.validation_data")):
        path = reader.read(f"{key}.input_path")
        if isinstance(path, list) or "," in path:
            reader.refuse(f"{key}.input_path", "must be a single path")
        elif path != RESNET[f"{key}.input_path"]:
            # The published code has a pattern of files, this project their common prefix.
            bindings.append(GinValue(macro, path.partition("*")[0].rstrip("-"), None))
    reader.require("task.validation_data.is_training", False)
    classes = reader.read(f"{_MODEL}num_classes")
    return [*bindings, GinValue("NUM_CLASSES", classes, None)]


def _translate_class_split(reader: _Reader) -> tuple[str, list[GinValue]]:
    ids = reader.read("task.allowed_mask_class_ids")
    named = {class_splits.VOC: "voc", class_splits.NON_VOC: "nonvoc", frozenset(): "none"}
    name = "all" if ids is None else named.get(frozenset(ids))
    if name is not None:
        return f"gin/class_splits/{name}.gin", []
    # The list overrides the file, which is included so that a recipe always has a class split.
    return "gin/class_splits/all.gin", [GinValue("Training.seen_classes", list(ids), None)]


def _translate_training(reader: _Reader) -> list[GinValue]:
    rates = reader.read(f"{_RATE}values")
    boundaries = reader.read(f"{_RATE}boundaries")
    parts = reader.read("task.init_checkpoint_modules")
    checkpoint = reader.read("task.init_checkpoint")
    first = [] if checkpoint is None else [
        GinValue("Training.init_checkpoint", checkpoint, None),
        GinValue("Training.init_parts", [parts] if isinstance(parts, str) else parts, ["backbone"])]
    frozen = reader.read("task.freeze_backbone")
    precision = reader.read_choice(
        "runtime.mixed_precision_dtype",
        {None: "float32", "float32": "float32", "bfloat16": "bfloat16"})
    return [
        GinValue("BATCH_SIZE", reader.read("task.train_data.global_batch_size"), None),
        GinValue("STEPS", reader.read("trainer.train_steps"), None),
        GinValue("LEARNING_RATE", rates[0], None),
        GinValue("warm_up.then", Reference("stepwise()"), None),
        GinValue("stepwise.boundaries", boundaries, None),
        GinValue("stepwise.values", rates, None),
        *first,
        GinValue("Training.freeze", ["backbone"] if frozen else [], []),
        GinValue("Training.precision", precision, "float32"),
    ]


def _translate_backbone(reader: _Reader) -> tuple[str, list[GinValue]]:
    kind = reader.read_choice(
        f"{_MODEL}backbone.type", {"resnet": "resnet", "spinenet": "spinenet"})
    if kind == "spinenet":
        for part in ("backbone.resnet", "decoder.fpn"):
            reader.leave_out(f"{_MODEL}{part}.", "the backbone is a SpineNet")
        reader.require(f"{_MODEL}decoder.type", "identity")
        for level in ("min_level", "max_level"):
            reader.require(
                f"{_MODEL}backbone.spinenet.{level}", reader.read(f"{_MODEL}{level}"))
        model_id = reader.read(f"{_MODEL}backbone.spinenet.model_id")
        rate = reader.read(f"{_MODEL}backbone.spinenet.stochastic_depth_drop_rate")
        return f"gin/backbones/spinenet{model_id}.gin", [
            GinValue("SpineNet.stochastic_depth_drop_rate", rate, 0.0)]
    reader.leave_out(f"{_MODEL}backbone.spinenet.", "the backbone is a ResNet")
    reader.require(f"{_MODEL}decoder.type", "fpn")
    depth = reader.read(f"{_MODEL}backbone.resnet.model_id")
    return f"gin/backbones/resnet{depth}.gin", [
        GinValue("ResNetFPN.width_multiplier",
                 reader.read(f"{_MODEL}backbone.resnet.depth_multiplier"), 1.0),
        GinValue("ResNetFPN.fpn_filters", reader.read(f"{_MODEL}decoder.fpn.num_filters"), 256)]


def _translate_mask_head(reader: _Reader) -> tuple[str, list[GinValue]]:
    variant = reader.read_choice(f"{_MODEL}mask_head.convnet_variant", {
        name: name for name in ("default", "hourglass20", "hourglass52", "hourglass100")})
    if variant == "default":
        separable = reader.read(f"{_MODEL}mask_head.use_separable_conv")
        name, file = (
            ("SeparableConvMaskHead", "separable") if separable else ("ConvMaskHead", "default"))
        convs = reader.read(f"{_MODEL}mask_head.num_convs")
        usual_width, body = 256, [GinValue(f"{name}.num_convs", convs, 4)]
    else:
        reader.leave_out(f"{_MODEL}mask_head.num_convs", "an hourglass has its own depth")
        reader.require(f"{_MODEL}mask_head.use_separable_conv", False)
        name, file, usual_width = "HourglassMaskHead", variant, 64
        # The published hourglass has no weight decay and its own normalization.
        body = [
            GinValue("HourglassMaskHead.weight_decay", False, True),
            GinValue("hourglass/BatchNorm.momentum", 0.1, None),
            GinValue("hourglass/BatchNorm.epsilon", 1e-5, None),
            GinValue("hourglass/BatchNorm.synchronized", True, None),
        ]
    norm = f"{_MODEL}norm_activation."
    crop_size = reader.read(f"{_MODEL}mask_roi_aligner.crop_size")
    return f"gin/mask_heads/{file}.gin", [
        *body,
        GinValue(f"{name}.width", reader.read(f"{_MODEL}mask_head.num_filters"), usual_width),
        GinValue(f"{name}.crop_size", crop_size, 14 if variant == "default" else 32),
        GinValue(f"{name}.class_agnostic", reader.read(f"{_MODEL}mask_head.class_agnostic"), True),
        GinValue(f"{name}.activation", reader.read(f"{norm}activation"), "relu"),
        GinValue("Deconvolution.factor", reader.read(f"{_MODEL}mask_head.upsample_factor"), 2),
        # All layers of the published head except the hourglass use the model's normalization, but
        # never synchronize it over replicas.
        GinValue("BatchNorm.momentum", reader.read(f"{norm}norm_momentum"), 0.99),
        GinValue("BatchNorm.epsilon", reader.read(f"{norm}norm_epsilon"), 0.001),
        GinValue("BatchNorm.synchronized", False, True),
        GinValue("MaskRCNN.pad_to_all_slots", True, False),
    ]


def _translate_box_source(reader: _Reader) -> tuple[str, list[GinValue]]:
    key = f"{_MODEL}mask_sampler.num_sampled_masks"
    if reader.read(f"{_MODEL}use_gt_boxes_for_masks"):
        reader.leave_out(key, "all ground-truth boxes are used")
        return "gin/box_sources/groundtruth.gin", []
    return "gin/box_sources/proposals.gin", [
        GinValue("ProposalBoxes.max_per_image", reader.read(key), 128)]


def _translate_detections(reader: _Reader) -> list[GinValue]:
    key = f"{_MODEL}detection_generator."
    name = reader.read_choice(
        f"{key}nms_version", {"v2": "StaticDetections", "batched": "Detections"})
    if name == "StaticDetections":
        limit = [GinValue(f"{name}.pre_nms_top_k", reader.read(f"{key}pre_nms_top_k"), 5000)]
    else:
        reader.leave_out(f"{key}pre_nms_top_k", "the batched kernel uses all boxes")
        limit = []
    return [
        GinValue("MaskRCNN.detections", Reference(f"{name}()"), None),
        *limit,
        GinValue(f"{name}.max_per_image", reader.read(f"{key}max_num_detections"), 100),
        GinValue(f"{name}.score_threshold", reader.read(f"{key}pre_nms_score_threshold"), 0.05),
        GinValue(f"{name}.nms_iou", reader.read(f"{key}nms_iou_threshold"), 0.5),
    ]

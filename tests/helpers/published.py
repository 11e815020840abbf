"""Checkpoints written by the published code, with matching configurations of this project."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
import tf_keras
from official.core import base_trainer, config_definitions, exp_factory, export_base
from official.projects.deepmac_maskrcnn.serving import detection
from official.projects.deepmac_maskrcnn.tasks import deep_mask_head_rcnn

from tests.helpers import tiny_model
from tests.parity import upstream

STEP = 7

_CONFIG = """\
include 'gin/base.gin'
include 'gin/backbones/resnet18.gin'
include 'gin/box_sources/groundtruth.gin'
TRAIN = 'nowhere/train'
VAL = 'nowhere/val'
NUM_CLASSES = 7
IMAGE_SIZE = (64, 64)
BATCH_SIZE = 2
STEPS = 10
LEARNING_RATE = 0.01
Training.seen_classes = [1, 2, 3]
Anchors.max_level = 5
Anchors.size = 3.0
ResNetFPN.depth = 10
ResNetFPN.width_multiplier = 0.125
ResNetFPN.fpn_filters = 16
RegionProposals.num_filters = 16
RegionProposals.pre_nms_top_k = 50
RegionProposals.num_proposals = 50
RegionProposals.test_pre_nms_top_k = 50
RegionProposals.test_num_proposals = 20
BoxHead.num_convs = 1
BoxHead.num_filters = 16
BoxHead.fc_dims = 32
Detections.max_per_image = 6
Norm.momentum = 0.9
"""

# The published mask head has the epsilon of all other layers, except in the hourglass.
_HEAD = """\
include 'gin/mask_heads/{head}.gin'
{name}.width = 8
{name}.class_agnostic = {class_agnostic}
BatchNorm.epsilon = 1e-4
"""


class Published(NamedTuple):
    """Model of the published code, its experiment, and the path of its checkpoint."""

    model: tf_keras.Model
    experiment: config_definitions.ExperimentConfig
    checkpoint: str


def write_checkpoint(case: upstream.Case, folder: Path) -> Published:
    """Write the checkpoint of a tiny model."""
    experiment = exp_factory.get_exp_config("deep_mask_head_rcnn_resnetfpn_coco")
    experiment.task = upstream._upstream_config(case, width=8)
    # The kernel that runs on CPUs; the two kernels order boxes of equal score differently.
    experiment.task.model.detection_generator.nms_version = "batched"
    return write_experiment(experiment, folder)


def write_experiment(experiment: config_definitions.ExperimentConfig, folder: Path) -> Published:
    """Write a checkpoint of random weights with the published trainer."""
    task = deep_mask_head_rcnn.DeepMaskHeadRCNNTask(experiment.task)
    model = task.build_model()
    optimizer = task.create_optimizer(experiment.trainer.optimizer_config)
    nothing = tf.data.Dataset.range(1)
    trainer = base_trainer.Trainer(
        experiment, task, model, optimizer, train=False, evaluate=False,
        train_dataset=nothing, validation_dataset=nothing)
    # One step, so that there is momentum, which the import leaves out.
    trained = model.trainable_variables
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in trained])
    trainer.global_step.assign(STEP)
    tiny_model.randomise(model.variables, seed=1)
    return Published(model, experiment, trainer.checkpoint.save(str(folder / "ckpt")))


def write_config(case: upstream.Case, folder: Path) -> Path:
    """Write the gin file of a model with the same shapes and results."""
    name = {"default": "ConvMaskHead", "separable": "SeparableConvMaskHead"}.get(
        case.head, "HourglassMaskHead")
    head = _HEAD.format(head=case.head, name=name, class_agnostic=case.class_agnostic)
    path = folder / f"{case}.gin"
    path.write_text(_CONFIG + head)
    return path


def export(theirs: Published, folder: Path) -> Path:
    """Export a model that segments given boxes with the published code, like its release."""
    module = detection.DetectionModule(
        params=theirs.experiment, batch_size=1, input_image_size=[*tiny_model.IMAGE_SIZE],
        input_type="image_and_boxes_tensor", num_channels=3)
    export_base.export(
        module, {"image_and_boxes_tensor": "serving_default"}, str(folder),
        checkpoint_path=theirs.checkpoint, timestamped=False)
    return folder

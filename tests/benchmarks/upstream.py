"""The published code's model, training step and input in the settings of benchmarks."""

from __future__ import annotations

import tensorflow as tf
import tf_keras
from official.projects.deepmac_maskrcnn.configs import deep_mask_head_rcnn as configs
from official.projects.deepmac_maskrcnn.modeling import maskrcnn_model
from official.projects.deepmac_maskrcnn.tasks import deep_mask_head_rcnn
from official.vision.dataloaders import maskrcnn_input, tf_example_decoder

from tests.benchmarks.ours import MaskStep, Step, touch
from tests.benchmarks.settings import Setting, upstream_config


def build_task(setting: Setting) -> deep_mask_head_rcnn.DeepMaskHeadRCNNTask:
    """Configure upstream's task."""
    config = configs.DeepMaskHeadRCNNTask()
    config.override(upstream_config(setting))
    return deep_mask_head_rcnn.DeepMaskHeadRCNNTask(config)


def train_step(setting: Setting) -> Step:
    """Return the training step of upstream's model."""
    task = build_task(setting)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(1e-4, momentum=0.9, jit_compile=False)

    @tf.function
    def step(images: tf.Tensor, labels: dict) -> tf.Tensor:
        return task.train_step((images, labels), model, optimizer)["loss"]

    return step


def mask_step(setting: Setting) -> MaskStep:
    """Return crops, mask head and mask loss of upstream's, forwards and backwards."""
    task = build_task(setting)
    model = task.build_model()
    variables = model.mask_head.trainable_variables

    @tf.function
    def step(features: dict[str, tf.Tensor], labels: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            crops = model.mask_roi_aligner(features, labels["gt_boxes"])
            logits = model.mask_head([crops, labels["gt_classes"]], training=True)
            loss = task._build_mask_loss({
                "mask_outputs": logits, "mask_class_targets": labels["gt_classes"],
                "mask_targets": maskrcnn_model.resize_as(
                    labels["gt_masks"], 2 * setting.crop_size)})
        gradients = tape.gradient(loss, [variables, features])
        return loss + touch(gradients)

    return step


def training_input(setting: Setting, prefix: str, batch_size: int) -> tf.data.Dataset:
    """Return upstream's input of training, with the same augmentation, from the same records."""
    parser = maskrcnn_input.Parser(
        [setting.image_size] * 2, 2, setting.max_level, 1, [0.5, 1.0, 2.0], setting.anchor_size,
        aug_rand_hflip=True, aug_scale_min=0.8, aug_scale_max=1.25, include_mask=True,
        mask_crop_size=112, dtype="float32")
    decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)
    files = tf.io.gfile.glob(f"{prefix}-*.tfrecord")
    records = tf.data.TFRecordDataset(files).shuffle(128).repeat()
    examples = records.map(
        lambda record: parser._parse_train_data(decoder.decode(record)),
        num_parallel_calls=tf.data.AUTOTUNE)
    return examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

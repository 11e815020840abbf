"""AutoGraph is on for users' own classes, and off for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf
import tf_keras

from deepmac_ablate.evaluation.predictor import Predictor
from deepmac_ablate.modeling import box_sources, mask_heads, normalization
from deepmac_ablate.modeling.detectors import NoDetector, Regions
from deepmac_ablate.modeling.detectors.region_parts import RegionSampler
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.training.trainer import Trainer
from tests.helpers import tiny_model


class HeadWithIf(mask_heads.FullyConvolutionalMaskHead):
    """A head that doubles its features if their sum is positive."""

    def __init__(self) -> None:
        super().__init__(crop_size=8, width=4)

    def build_body(self) -> None:
        """Create one convolution."""
        self.conv = tf_keras.layers.Conv2D(4, 3, padding="same")

    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """Branch on the features."""
        x = self.conv(features)
        if tf.reduce_sum(x) > 0:
            x = 2.0 * x
        return x


class NormWithIf(normalization.HeadNorm):
    """Normalisation with a layer that compares a tensor."""

    def build(self) -> tf_keras.layers.Layer:
        """Build the layer."""
        return NormLayerWithIf()


class NormLayerWithIf(tf_keras.layers.Layer):
    """A layer that scales large inputs down."""

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """Branch on the largest input."""
        if tf.reduce_max(inputs) > 1e3:
            inputs = inputs / 1e3
        return inputs


class BoxesWithFor(box_sources.GroundTruthBoxes):
    """Ground-truth boxes with targets that a loop fades."""

    def targets(self, *args: Any) -> tf.Tensor:
        """Loop over a tensor."""
        targets = super().targets(*args)
        for _ in tf.range(2):
            targets = targets * 0.5
        return targets


class LossesWithIf(Losses):
    """Losses that grow by one if the mask loss is positive."""

    def __call__(self, *args: Any) -> dict[str, tf.Tensor]:
        """Branch on a loss."""
        losses = super().__call__(*args)
        if losses["mask_loss"] > 0.0:
            losses["total_loss"] += 1.0
        return losses


class SamplerWithIf(RegionSampler):
    """A sampler that branches on the proposals."""

    def sample(self, proposals: tf.Tensor, *args: Any) -> Regions:
        """Branch on the proposals."""
        if tf.reduce_max(proposals) < 0.0:
            proposals = -proposals
        return super().sample(proposals, *args)


OWN: dict[str, Callable[[], dict[str, Any]]] = {
    "mask_head": lambda: {"mask_head": HeadWithIf()},
    "norm_of_a_known_head": lambda: {"mask_head": tiny_model.conv_head(norm=NormWithIf())},
    "mask_boxes": lambda: {"mask_boxes": BoxesWithFor()},
    "region_sampler": lambda: {
        "region_sampler": SamplerWithIf(num_samples=16), "detector": None},
}


def trained_loss(changes: dict[str, Any], losses: Losses) -> tuple[float, float]:
    """Return the loss of a traced step and the same computed eagerly."""
    # A mask branch alone is traced in half of the time.
    model = tiny_model.build_model(**{"detector": NoDetector(), **changes})
    model.create_variables()
    tiny_model.randomise(model.variables, seed=2)
    data = tiny_model.batch()
    seed = tf.constant([[3, 0], [3, 1]])
    outputs = model(*data, seed=seed, training=True)
    eager = losses(outputs, data.labels, model.losses)["total_loss"]
    tiny_model.randomise(model.variables, seed=2)
    labels = {
        **data.labels, "seed": tf.constant([[3, 0], [3, 1]]), "num_dropped": tf.constant([0, 0]),
        "image_info": tf.tile(data.image_shape[:, tf.newaxis], [1, 4, 1])}
    optimizer = tf_keras.optimizers.SGD(0.0, jit_compile=False)
    optimizer.build(model.trainable_variables)
    dataset = tf.data.Dataset.from_tensors((data.images, labels)).repeat()
    trainer = Trainer(model, losses, optimizer, tf.distribute.get_strategy(), jit_compile=False)
    trainer.start(dataset)
    trainer.train(tf.constant(1))
    return trainer.collect_report()["total_loss"], float(eager)


@pytest.mark.slow
@pytest.mark.parametrize("part", [
    pytest.param(part, marks=[] if part == "mask_head" else [pytest.mark.extended])
    for part in sorted(OWN)])
def test_own_parts_may_branch_on_tensors(part: str) -> None:
    """A Python `if` or `for` on a tensor does in a traced step what it does eagerly."""
    traced, eager = trained_loss(OWN[part](), Losses())
    assert traced == pytest.approx(eager, rel=1e-5)


@pytest.mark.slow
def test_own_losses_may_branch_on_tensors() -> None:
    """A Python `if` on a loss does in a traced step what it does eagerly."""
    traced, eager = trained_loss({}, LossesWithIf())
    assert traced == pytest.approx(eager, rel=1e-5)


@pytest.mark.slow
def test_own_heads_may_branch_on_tensors_in_evaluation() -> None:
    """The same head predicts in an evaluation's traced functions."""
    model = tiny_model.build_model(mask_head=HeadWithIf())
    model.create_variables()
    predictor = Predictor(model, tf.distribute.OneDeviceStrategy("/cpu:0"), batch_size=2)
    data = tiny_model.batch()
    info = tf.constant([[[64.0, 64.0], [64.0, 64.0], [1.0, 1.0], [0.0, 0.0]]] * 2)
    batch = {"images": data.images, "image_info": info, "image_ids": tf.constant([1, 2])}
    predictions = list(predictor.predict(batch, {}, detect=True))
    assert [each.image_id for each in predictions] == [1, 2]


@pytest.mark.slow
def test_a_known_model_is_traced_without_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """No function of a model from known parts is rewritten, which would take most of the time."""
    from tensorflow.python.autograph.impl import api

    converted: list[object] = []
    convert = api._convert_actual

    def record(entity: object, context: object) -> object:
        converted.append(entity)
        return convert(entity, context)

    monkeypatch.setattr(api, "_convert_actual", record)
    model = tiny_model.build_model(mask_head=tiny_model.hourglass_head())
    model.create_variables()
    tf.function(model.features, autograph=False).get_concrete_function(tiny_model.batch().images)
    assert converted == []

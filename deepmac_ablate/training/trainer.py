"""The training step, and the loop around it as orbit has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orbit
import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN


class Trainer(orbit.StandardTrainer):
    """Runs steps and averages what they report.

    Attributes:
        model: the model that learns.
        optimizer: what it learns with; its `iterations` count the steps.
    """

    def __init__(
        self,
        model: MaskRCNN,
        losses: Losses,
        optimizer: tf_keras.optimizers.Optimizer,
        dataset: tf.data.Dataset | tf.distribute.DistributedDataset,
        strategy: tf.distribute.Strategy,
        seed: int,
        jit_compile: bool,
    ) -> None:
        """Prepare the step.

        Args:
            model: the model, its variables created.
            losses: what it minimises.
            optimizer: what it learns with, its variables created.
            dataset: batches of (images, labels).
            strategy: where model and optimizer live.
            seed: what the draws of a step are a function of, with the positions of its images.
            jit_compile: whether the step is compiled by XLA.
        """
        super().__init__(dataset)
        self.model = model
        self.optimizer = optimizer
        self._losses = losses
        self._strategy = strategy
        self._seed = seed
        self._step = tf.function(self.replica_step, jit_compile=jit_compile)
        # Plain variables, as reports are reduced over replicas before they are added up: Keras's
        # metrics can only be updated by the replicas.
        self._sums: dict[str, tf.Variable] = {}
        self._steps = tf.Variable(0.0, trainable=False)

    def train_step(self, iterator: tf.data.Iterator) -> None:
        """Take one step on every replica."""
        replicas = self._strategy.num_replicas_in_sync
        reports = self._strategy.run(self._step, args=next(iterator))
        for name, value in reports.items():
            total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            # Losses are means over the images of a replica; the counts of boxes are sums.
            counted = name.startswith("mask_boxes")
            self._sum(name).assign_add(total if counted else total / replicas)
        self._steps.assign_add(1.0)

    def replica_step(
        self, images: tf.Tensor, labels: Mapping[str, Any]
    ) -> dict[str, tf.Tensor]:
        """Take one step on one replica: what is compiled, and run on the device.

        Args:
            images: the replica's part of a batch.
            labels: the same.

        Returns:
            Losses, `mask_boxes` and `mask_boxes_dropped`, scalars.
        """
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        # Each image draws its own, whichever device it is on.
        position = labels["position"]
        seed = tf.stack([tf.fill(tf.shape(position), self._seed), position], axis=1)
        with tf.GradientTape() as tape:
            outputs = self.model(
                images, labels["image_info"][:, 1], labels=labels, seed=seed, training=True)
            losses = self._losses(outputs, labels, self.model.losses)
            # Gradients are summed over replicas.
            loss = losses["total_loss"] / replicas
        variables = self.model.trainable_variables
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True))
        slots = outputs["mask_slots"]
        return {**losses, "mask_boxes": slots.offered, "mask_boxes_dropped": slots.dropped}

    def report(self) -> dict[str, float]:
        """Return what the steps since the last report were like.

        Returns:
            The mean of each loss, `mask_boxes` per step, `mask_boxes_dropped_share` of them, and
            the current `learning_rate`.
        """
        steps = float(self._steps)
        report = {name: float(total) / steps for name, total in self._sums.items()}
        for total in (*self._sums.values(), self._steps):
            total.assign(0.0)
        dropped = report.pop("mask_boxes_dropped")
        report["mask_boxes_dropped_share"] = dropped / max(report["mask_boxes"], 1e-9)
        report["learning_rate"] = float(tf.convert_to_tensor(self.optimizer.learning_rate))
        return report

    def _sum(self, name: str) -> tf.Variable:
        if name not in self._sums:
            with tf.init_scope():
                self._sums[name] = tf.Variable(0.0, trainable=False)
        return self._sums[name]

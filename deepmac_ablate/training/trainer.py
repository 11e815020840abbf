"""The training step, in the loop of orbit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orbit
import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling.autograph import call_part, is_own
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN

_COUNTS = ("instances", "instances_dropped", "mask_boxes", "mask_boxes_dropped")


class Trainer(orbit.StandardTrainer):
    """Runs training steps and averages their losses.

    Attributes:
        model: The model to train.
        optimizer: Its optimizer, whose `iterations` count the steps.
    """

    def __init__(
        self,
        model: MaskRCNN,
        losses: Losses,
        optimizer: tf_keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        jit_compile: bool,
    ) -> None:
        """Prepare the training step, which is traced once for all datasets.

        Args:
            model: The model, with its variables.
            losses: The losses to minimise.
            optimizer: The model's optimizer, with its variables.
            strategy: The strategy in whose scope model and optimizer were built.
            jit_compile: Whether XLA compiles the step.
        """
        super().__init__(None)
        self.model = model
        self.optimizer = optimizer
        self._losses = losses
        self._strategy = strategy
        compiled = jit_compile or isinstance(strategy, tf.distribute.TPUStrategy)
        model.trim_slots = not compiled
        self._step = tf.function(
            self.replica_step, autograph=is_own(model), jit_compile=jit_compile)
        # Plain variables, as reports are reduced over replicas before they are added up. Keras's
        # metrics can only be updated within replicas.
        self._sums: dict[str, tf.Variable] = {}
        self._steps = tf.Variable(0.0, trainable=False)

    def start(self, dataset: tf.data.Dataset | tf.distribute.DistributedDataset) -> None:
        """Take the next steps on other batches of (images, labels), as `TrainingData` makes them.

        What was averaged for a report is dropped.
        """
        self.train_dataset = dataset
        for total in (*self._sums.values(), self._steps):
            total.assign(0.0)

    def stop(self) -> None:
        """Give up the batches, which would otherwise be read on in the background."""
        self.train_dataset = None

    def train_step(self, iterator: tf.data.Iterator) -> None:
        """Take one step on every replica."""
        replicas = self._strategy.num_replicas_in_sync
        reports = self._strategy.run(self._step, args=next(iterator))
        for name, value in reports.items():
            total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            # Losses are means over the images of a replica; counts are sums.
            self._accumulator(name).assign_add(total if name in _COUNTS else total / replicas)
        self._steps.assign_add(1.0)

    def replica_step(
        self, images: tf.Tensor, labels: Mapping[str, Any]
    ) -> dict[str, tf.Tensor]:
        """Take one step on one replica, as it is compiled and run on a device.

        Args:
            images: The replica's part of a batch of images.
            labels: The labels of these images.

        Returns:
            The losses and the counts `instances`, `instances_dropped`, `mask_boxes` and
            `mask_boxes_dropped`, as scalars by name.
        """
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        with tf.GradientTape() as tape:
            outputs = self.model(
                images, labels["image_info"][:, 1], labels=labels, seed=labels["seed"],
                training=True)
            outputs["step"] = self.optimizer.iterations
            losses = call_part(self._losses, outputs, labels, self.model.losses)
            # Gradients are summed over replicas.
            loss = losses["total_loss"] / replicas
        variables = self.model.trainable_variables
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True))
        slots = outputs["mask_slots"]
        dropped = tf.reduce_sum(tf.cast(labels["num_dropped"], tf.float32))
        kept = tf.reduce_sum(tf.cast(labels["gt_classes"] > 0, tf.float32))
        counts = (kept + dropped, dropped, slots.offered, slots.dropped)
        return {**losses, **dict(zip(_COUNTS, counts, strict=True))}

    def collect_report(self) -> dict[str, float]:
        """Return averages over the steps since the last report, and start the next one.

        Returns:
            The mean of each loss, `instances` and `mask_boxes` per step, the shares of both that
            were dropped (`instances_dropped_share`, `mask_boxes_dropped_share`, in [0, 1]), and the
            current `learning_rate`.
        """
        steps = float(self._steps)
        report = {name: float(total) / steps for name, total in self._sums.items()}
        for total in (*self._sums.values(), self._steps):
            total.assign(0.0)
        for name in ("instances", "mask_boxes"):
            dropped = report.pop(f"{name}_dropped")
            report[f"{name}_dropped_share"] = dropped / max(report[name], 1e-9)
        report["learning_rate"] = float(tf.convert_to_tensor(self.optimizer.learning_rate))
        return report

    def _accumulator(self, name: str) -> tf.Variable:
        if name not in self._sums:
            with tf.init_scope():
                self._sums[name] = tf.Variable(0.0, trainable=False)
        return self._sums[name]

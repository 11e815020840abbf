"""Time training steps of upstream's code and ours, on the same batch in one process.

    python tests/benchmarks/bench_train_step.py [--steps 10] [--batch_size 4]

Both train Mask R-CNN (ResNet-18, 128 px images of the built-in synthetic dataset) in ground-truth
boxes, for some mask heads. Upstream runs its mask head on all 100 padded slots of an image, ours on
the boxes that carry a loss. Steps alternate, so that a machine whose speed drifts drifts for both.
Printed: the median seconds of each and the median of the ratios upstream / ours, step by step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tensorflow as tf
import tf_keras
from official.projects.deepmac_maskrcnn.configs import deep_mask_head_rcnn as configs
from official.projects.deepmac_maskrcnn.tasks import deep_mask_head_rcnn

from deepmac_ablate.data.shapes import generate
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.modeling import box_sources, detector, mask_heads
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Backbone, Norm, ResNetFPN
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from tests.benchmarks.upstream_settings import ANCHOR_SIZE, SEEN, task_config

ANCHORS = Anchors(min_level=2, max_level=5, size=ANCHOR_SIZE)
HEADS: dict[str, Callable[[], mask_heads.MaskHead]] = {
    "default": lambda: mask_heads.ConvMaskHead(width=64),
    "hourglass20": lambda: mask_heads.HourglassMaskHead(depth=20, width=16),
    "hourglass52": lambda: mask_heads.HourglassMaskHead(depth=52, width=16),
}


def our_step(
    head: str, backbone: Backbone | None = None
) -> Callable[[tf.Tensor, dict], tf.Tensor]:
    """Build our model, with ResNet-18 by default, and return its training step."""
    model = MaskRCNN(
        num_classes=13, image_size=(128, 128),
        backbone=backbone or ResNetFPN(18, fpn_filters=64),
        mask_head=HEADS[head](), anchors=ANCHORS,
        mask_boxes=box_sources.GroundTruthBoxes(slots_per_image=4),
        region_proposals=detector.RegionProposals(
            num_filters=64, pre_nms_top_k=200, num_proposals=100),
        region_sampler=detector.RegionSampler(num_samples=64),
        box_head=detector.BoxHead(num_convs=0, num_fcs=2, fc_dims=256, num_filters=64),
        detections=detector.Detections(max_per_image=20), norm=Norm())
    model.create_variables()
    losses, optimizer = Losses(), tf_keras.optimizers.SGD(0.01, momentum=0.9, jit_compile=False)

    @tf.function
    def step(images: tf.Tensor, labels: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = model(images, labels["image_info"][:, 1], labels=labels,
                            seed=tf.constant([0, 0]), training=True)
            loss = losses(outputs, labels, model.losses)["total_loss"]
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def upstream_step(head: str) -> Callable[[tf.Tensor, dict], tf.Tensor]:
    """Build upstream's model, configured as ours, and return its training step."""
    config = configs.DeepMaskHeadRCNNTask()
    config.override(task_config(head))
    task = deep_mask_head_rcnn.DeepMaskHeadRCNNTask(config)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(0.01, momentum=0.9, jit_compile=False)

    @tf.function
    def step(images: tf.Tensor, labels: dict) -> tf.Tensor:
        return task.train_step((images, labels), model, optimizer)["loss"]

    return step


def batch(size: int) -> tuple[tf.Tensor, dict]:
    """Draw images of the built-in synthetic dataset and make a training batch of them."""
    with tempfile.TemporaryDirectory() as folder:
        generate.generate_dataset(Path(folder), num_train=4 * size, num_val=1)
        data = TrainingData(f"{folder}/train", size)
        return next(iter(data.dataset((128, 128), ANCHORS, frozenset(SEEN), seed=0)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=4)
    args = parser.parse_args()
    images, labels = batch(args.batch_size)
    labels["anchor_boxes"] = {
        level: tf.repeat(boxes[tf.newaxis], args.batch_size, axis=0)
        for level, boxes in ANCHORS.boxes((128, 128)).items()}
    print(f"{'mask head':<14}{'upstream s':>12}{'ours s':>10}{'ratio':>8}")
    for head in HEADS:
        times: dict[str, list[float]] = {"upstream": [], "ours": []}
        steps = {"upstream": upstream_step(head), "ours": our_step(head)}
        for number in range(args.steps + 1):
            for name, step in steps.items():
                started = time.perf_counter()
                float(step(images, labels))
                if number:  # The first traces.
                    times[name].append(time.perf_counter() - started)
        ratios = [u / o for u, o in zip(times["upstream"], times["ours"], strict=True)]
        print(f"{head:<14}{statistics.median(times['upstream']):>12.3f}"
              f"{statistics.median(times['ours']):>10.3f}{statistics.median(ratios):>8.1f}",
              flush=True)


if __name__ == "__main__":
    main()

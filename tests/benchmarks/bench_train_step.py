"""Training steps and input of the published code and ours, on the same data.

Rows of the built-in synthetic dataset: Mask R-CNN (ResNet-18, 128 px), in ground-truth boxes, for
some mask heads. Rows of COCO (156 pictures, see tests/helpers/coco_tiny.py): the published
ResNet-50 and Hourglass-52 at 512 px, two pictures a step; its mask head alone, forwards and
backwards, from crop to loss; and the input. Upstream runs its mask head on all 100 padded slots of
an image, ours on the boxes that carry a loss.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tests.benchmarks import measuring, ours
from tests.benchmarks.measuring import Row, Worker
from tests.benchmarks.settings import Setting, shapes_small

NUM_BATCHES = 4
_PICTURES = 78
_SIDES = ("upstream", "ours")


def compare_shapes_steps(head: str, runs: int, folder: Path) -> Row:
    """Compare steps of four pictures of the built-in synthetic dataset."""
    prefix = ours.shapes_records(folder, 16)
    return _compare_steps(f"training step, shapes 128 px, {head}", shapes_small(head), prefix, 4,
                          runs)


def compare_coco_steps(runs: int, folder: Path) -> Row:
    """Compare steps of two pictures of COCO."""
    prefix = ours.coco_records(folder)
    return _compare_steps("training step, COCO 512 px, R50, HG-52", Setting(), prefix, 2, runs, 3.0)


def compare_mask_heads(runs: int, folder: Path) -> Row:
    """Compare crops, mask head and mask loss, forwards and backwards, of two pictures of COCO."""
    prefix, setting = ours.coco_records(folder), Setting()
    slots = ours.used_slots(setting, prefix, 2, NUM_BATCHES)
    return measuring.compare(
        "mask head alone, COCO 512 px, HG-52",
        *(Worker(functools.partial(build_mask_head, side, setting, prefix)) for side in _SIDES),
        runs, per_run=(1, NUM_BATCHES),
        floor_seconds=ours.head_flops(setting, slots) / measuring.matrix_rate(),
        # 80 % of padded over budgeted slots.
        reach=0.8 * 100 / setting.slots_per_image)


def compare_inputs(runs: int, folder: Path) -> Row:
    """Compare the input of training; the floor is writing its float32 pixels."""
    prefix, setting = ours.coco_records(folder), Setting()
    return measuring.compare(
        "input of training, COCO 512 px",
        *(Worker(functools.partial(build_input, side, setting, prefix)) for side in _SIDES), runs,
        unit="picture", per_run=(_PICTURES, _PICTURES),
        floor_seconds=setting.image_size**2 * 3 * 4 / measuring.copy_rate(), reach=1.5)


def _compare_steps(
    name: str, setting: Setting, prefix: str, batch_size: int, runs: int,
    reach: float | None = None,
) -> Row:
    slots = ours.used_slots(setting, prefix, batch_size, NUM_BATCHES)
    flops = ours.head_flops(setting, slots) + ours.other_flops(setting, batch_size)
    return measuring.compare(
        name,
        *(Worker(functools.partial(build_step, side, setting, prefix, batch_size))
          for side in _SIDES),
        runs, per_run=(1, NUM_BATCHES), floor_seconds=flops / measuring.matrix_rate(), reach=reach)


def build_step(
    side: str, setting: Setting, prefix: str, batch_size: int, **options: bool
) -> Callable[[], None]:
    """Build a training step on typical batches."""
    batches = ours.typical_batches(setting, prefix, batch_size, NUM_BATCHES)
    # Our process imports nothing of upstream's, which would count as its memory.
    step = importlib.import_module(f"tests.benchmarks.{side}").train_step(setting, **options)
    return _run_over(side, lambda batch: float(step(*batch)), batches)


def build_mask_head(side: str, setting: Setting, prefix: str) -> Callable[[], None]:
    """Build crops, mask head and mask loss, forwards and backwards."""
    step = importlib.import_module(f"tests.benchmarks.{side}").mask_step(setting)
    features = {
        str(level): tf.random.stateless_normal(
            [2, *[setting.image_size >> level] * 2, setting.filters], [level, 0])
        for level in range(2, setting.max_level + 1)}
    batches = ours.typical_batches(setting, prefix, 2, NUM_BATCHES)
    return _run_over(side, lambda batch: float(step(features, batch[1])), batches)


def _run_over(
    side: str, step: Callable[[tuple[tf.Tensor, dict]], float],
    batches: list[tuple[tf.Tensor, dict]],
) -> Callable[[], None]:
    """Make a run: all batches for ours, and the first for upstream, to which all are the same."""
    chosen = batches if side == "ours" else batches[:1]

    def run() -> None:
        for batch in chosen:
            step(batch)

    return run


def build_input(side: str, setting: Setting, prefix: str) -> Callable[[], None]:
    """Build the input of training; a run makes `_PICTURES` pictures in batches of two."""
    dataset = importlib.import_module(f"tests.benchmarks.{side}").training_input(
        setting, prefix, 2)

    def run() -> None:
        # Anew each time: an iterator would work ahead while the other side runs.
        for _ in dataset.take(_PICTURES // 2):
            pass

    return run

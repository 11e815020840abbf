"""Time training steps and input of the paper's published code and ours, on the same data.

    python -m tests.benchmarks.bench_train_step [--rows shapes coco mask-head input] [--steps 5]
    python -m tests.benchmarks.bench_train_step --growth

Rows of the built-in synthetic dataset: Mask R-CNN (ResNet-18, 128 px), in ground-truth boxes, for
some mask heads. Rows of COCO (156 pictures, see tests/helpers/coco_tiny.py): the published
ResNet-50 and Hourglass-52 at 512 px, two pictures a step; its mask head alone, forwards and
backwards, from crop to loss; and the input. Upstream runs its mask head on all 100 padded slots of
an image, ours on the boxes that carry a loss. `--growth` prints how our step grows with the size of
the pictures, the batch, the slots and the classes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tensorflow as tf

from tests.benchmarks import contenders, measuring
from tests.benchmarks.contenders import SHAPES, Setting

NUM_BATCHES = 4
PICTURES = 78
SIDES = ("upstream", "ours")


def measure(rows: tuple[str, ...], steps: int, folder: Path) -> Iterator[measuring.Row]:
    """Yield the rows of the given kinds; see the module."""
    if "shapes" in rows:
        shapes = contenders.shapes_records(folder / "shapes", 16)
        for head in ("default", "hourglass20", "hourglass52"):
            setting = dataclasses.replace(
                SHAPES, head=head, head_width=64 if head == "default" else 16)
            yield _compare_steps(f"shapes 128 px, {head}", setting, shapes, 4, steps)
    if not set(rows) & {"coco", "mask-head", "input"}:
        return
    prefix, setting = contenders.coco_records(folder / "coco"), Setting()
    if "coco" in rows:
        yield _compare_steps("COCO 512 px, R50, HG-52", setting, prefix, 2, steps, reach=3.0)
    if "mask-head" in rows:
        slots = contenders.used_slots(setting, prefix, 2, NUM_BATCHES)
        yield measuring.compare(
            "mask head HG-52, COCO 512 px",
            *(functools.partial(run_mask_head, side, setting, prefix, 2) for side in SIDES), steps,
            per_run=(1, NUM_BATCHES),
            floor_seconds=contenders.head_flops(setting, slots) / matrix_rate(),
            # 80 % of padded over budgeted slots.
            reach=0.8 * 100 / setting.slots_per_image)
    if "input" in rows:
        yield measuring.compare(
            "input, COCO 512 px",
            *(functools.partial(run_input, side, setting, prefix) for side in SIDES), steps,
            unit="picture", per_run=(PICTURES, PICTURES), reach=1.5)


def growth(steps: int, folder: Path) -> Iterator[tuple[str, int, measuring.Run]]:
    """Yield how the cost of our step grows: what was changed, its value, and the cost."""
    prefix = contenders.coco_records(folder / "coco")
    base = Setting(head="hourglass20", depth=18, image_size=256, filters=64, head_width=32)
    variants = {
        "picture size": (128, 256, 512), "batch": (1, 2, 4, 8), "slots": (4, 8, 16, 32),
        "classes": (91, 364, 1456)}
    names = {"picture size": "image_size", "slots": "slots_per_image", "classes": "num_classes"}
    for what, values in variants.items():
        for value in values:
            change = {names[what]: value} if what in names else {}
            run = functools.partial(
                run_step, "ours", dataclasses.replace(base, **change), prefix,
                value if what == "batch" else 2, trim=what != "slots")
            yield what, value, measuring.cost(run, steps, NUM_BATCHES)


def _compare_steps(
    name: str, setting: Setting, prefix: str, batch_size: int, steps: int,
    reach: float | None = None,
) -> measuring.Row:
    slots = contenders.used_slots(setting, prefix, batch_size, NUM_BATCHES)
    flops = contenders.head_flops(setting, slots) + contenders.other_flops(setting, batch_size)
    return measuring.compare(
        name,
        *(functools.partial(run_step, side, setting, prefix, batch_size) for side in SIDES), steps,
        per_run=(1, NUM_BATCHES), floor_seconds=flops / matrix_rate(), reach=reach)


def run_step(
    side: str, setting: Setting, prefix: str, batch_size: int, trim: bool = True
) -> Callable[[], None]:
    """Build a training step on typical batches."""
    batches = contenders.typical_batches(setting, prefix, batch_size, NUM_BATCHES)
    if side == "ours":
        step = contenders.our_step(setting, trim=trim)
    else:
        step = contenders.upstream_step(setting)
    return _run_over(side, lambda batch: float(step(*batch)), batches)


def run_mask_head(side: str, setting: Setting, prefix: str, batch_size: int) -> Callable[[], None]:
    """Build crops, mask head and mask loss, forwards and backwards."""
    build = {"ours": contenders.our_mask_step, "upstream": contenders.upstream_mask_step}[side]
    step = build(setting)
    features = {
        str(level): tf.random.stateless_normal(
            [batch_size, *[setting.image_size >> level] * 2, setting.filters], [level, 0])
        for level in range(2, setting.max_level + 1)}
    batches = contenders.typical_batches(setting, prefix, batch_size, NUM_BATCHES)
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


def run_input(side: str, setting: Setting, prefix: str) -> Callable[[], None]:
    """Build the input of training; a run makes `PICTURES` pictures in batches of two."""
    build = {"ours": contenders.our_input, "upstream": contenders.upstream_input}[side]
    dataset = build(setting, prefix, 2)

    def run() -> None:
        # Anew each time: an iterator would work ahead while the other side runs.
        for _ in dataset.take(PICTURES // 2):
            pass

    return run


@functools.cache
def matrix_rate() -> float:
    """Return the FLOPs per second of a product of two large matrices on this machine."""
    side = 2048
    matrix = tf.random.normal([side, side])
    taken = []
    for _ in range(8):
        started = time.perf_counter()
        tf.linalg.matmul(matrix, matrix).numpy()
        taken.append(time.perf_counter() - started)
    return 2 * side**3 / min(taken)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ("shapes", "coco", "mask-head", "input")
    parser.add_argument("--rows", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.growth:
            for what, value, run in growth(args.steps, Path(folder)):
                print(f"{what:<14}{value:>6}{run.seconds:>9.3f} s{run.cpu_seconds:>9.3f} CPU s",
                      flush=True)
            return
        measuring.print_rows(measure(tuple(args.rows), args.steps, Path(folder)))


if __name__ == "__main__":
    main()

"""Benchmark of training steps with each light backbone, on the same batch, in one process.

    python -m tests.benchmarks.bench_backbones [--steps 10] [--batch-size 8]

All train Mask R-CNN with an Hourglass-20 mask head in ground-truth boxes, on 128 px images of the
built-in synthetic dataset. Steps alternate between backbones, so that a drift in the machine's
speed affects all equally. Prints median seconds and the median ratio to ResNet-18 of each step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from deepmac_ablate.modeling.backbones import MobileNetFPN, ResNetFPN
from tests.benchmarks import ours, settings

BACKBONES = {
    "ResNet-18": lambda: ResNetFPN(18, fpn_filters=64),
    **{model_id: lambda model_id=model_id: MobileNetFPN(model_id, fpn_filters=64)
       for model_id in ("MobileNetV2", "MobileNetV3Small", "MobileNetV3Large")},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    setting = settings.shapes_small("hourglass20")
    with tempfile.TemporaryDirectory() as folder:
        prefix = ours.shapes_records(Path(folder), 4 * args.batch_size)
        [(images, labels)] = ours.batches(setting, prefix, args.batch_size, 1)
    steps = {name: ours.train_step(setting, backbone())
             for name, backbone in BACKBONES.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(args.steps + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            float(step(images, labels))
            if number:  # The first traces.
                times[name].append(time.perf_counter() - started)
    print(f"{'backbone':<20}{'seconds':>10}{'ratio':>8}")
    for name, taken in times.items():
        ratios = [
            seconds / reference
            for seconds, reference in zip(taken, times["ResNet-18"], strict=True)]
        print(f"{name:<20}{statistics.median(taken):>10.3f}{statistics.median(ratios):>8.2f}")


if __name__ == "__main__":
    main()

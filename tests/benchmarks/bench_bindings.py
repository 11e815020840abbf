"""Times how fast a plan's arms are resolved from text: `read` and `explicit_bindings` of each.

    python tests/benchmarks/bench_bindings.py [--arms 1000 10000]

An arm is a published recipe and three bindings, two of them its own. Printed: milliseconds of the
processor's time for the first arm, which parses the files, and on average over others. No
TensorFlow.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deepmac_ablate.bindings import explicit_bindings, read

RECIPE = "gin/experiments/deep_mask_head_rcnn_voc_r50.gin"


def resolve(arm: int) -> dict[str, str]:
    """What an arm's training is bound to."""
    bindings = ["STEPS = 100", f"LEARNING_RATE = {arm}e-5", f"ConvMaskHead.num_convs = {arm % 90}"]
    return explicit_bindings(read([RECIPE], bindings).bindings)


def main() -> None:
    """Prints a line per number of arms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", type=int, nargs="+", default=[1000, 10000])
    args = parser.parse_args()
    started = time.process_time()
    bound = resolve(0)
    print(f"the first arm, {len(bound)} bindings: {1000 * (time.process_time() - started):.1f} ms")
    first = 1
    for count in args.arms:
        started = time.process_time()
        for arm in range(first, first + count):
            resolve(arm)
        milliseconds = 1000 * (time.process_time() - started) / count
        print(f"{count:6} arms: {milliseconds:.3f} ms an arm")
        first += count


if __name__ == "__main__":
    main()

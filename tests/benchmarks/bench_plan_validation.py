"""Times how long a plan's checks take: what TensorFlow is asked, and what is known already.

    python tests/benchmarks/bench_plan_validation.py [--arms 1000]

Printed, in seconds: all of `gin/mask_heads` on the published ResNet-50 recipe, once without a cache
(in a process that has to import TensorFlow) and once with it; arms that differ in their learning
rate, in this process after its imports, also as seconds of CPU, as machines are shared; and the
loading of 10,000 verdicts.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deepmac_ablate.sweep.validation import cache as verdict_cache
from deepmac_ablate.sweep.validation.client import verdicts
from deepmac_ablate.sweep.validation.verdict import Candidate, Verdict

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "gin/experiments/deep_mask_head_rcnn_voc_r50.gin"


def timed(name: str, work: Callable[[], list[Verdict]]) -> list[Verdict]:
    """Does some work, which must find no problem, and prints how long it took."""
    started, cpu = time.perf_counter(), time.process_time()
    found = work()
    print(f"{name:<44}{time.perf_counter() - started:>8.2f}"
          f"{time.process_time() - cpu:>8.2f}", flush=True)
    if problems := [verdict for verdict in found if verdict.problems]:
        sys.exit(f"There should be no problem: {problems[0]}")
    return found


def rates(number: int) -> list[Candidate]:
    """Arms that differ in their learning rate."""
    return [
        Candidate(str(i), ("gin/experiments/coco_small.gin",), (f"LEARNING_RATE = {i + 1}e-5",))
        for i in range(number)]


def main() -> None:
    """Prints the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", type=int, default=1000)
    number = parser.parse_args().arms
    heads = [
        Candidate(path.stem, (RECIPE, str(path)), ())
        for path in sorted((ROOT / "gin/mask_heads").glob("*.gin"))]
    print(f"{'':<44}{'wall':>8}{'CPU':>8}  (of this process)")
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "verdicts.jsonl"
        cold = timed(f"{len(heads)} mask heads, cold", lambda: verdicts(heads, cache))
        warm = timed(f"{len(heads)} mask heads, warm", lambda: verdicts(heads, cache))
        if cold != warm:
            sys.exit("The cache gives other verdicts.")
        verdict_cache.add(cache, {f"{i:064d}": cold[0] for i in range(10_000)})
        timed("10,000 verdicts read", lambda: list(verdict_cache.load(cache).values()))

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deepmac_ablate.sweep.validation.validate import validate

    timed("1 learning rate", lambda: validate(rates(1)))
    timed(f"{number} learning rates", lambda: validate(rates(number)))


if __name__ == "__main__":
    main()

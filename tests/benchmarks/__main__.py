"""Compare the published code with ours on the same work, and see how our costs grow.

    make bench                                  # everything, into docs/performance.md
    python -m tests.benchmarks [--only NAME ...] [--runs N] [--write]

Each row is a comparison of upstream (the wheel tf-models-official) and ours, whose runs alternate.
Rows of COCO need the pictures of tests/helpers/coco_tiny.py, and those of trials `data/shapes`.
With `--write`, every row is written into docs/performance.md, into the table of this processor, as
soon as it is there.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

from tests.benchmarks import (
    bench_convert,
    bench_evaluator,
    bench_train_step,
    bench_trials,
    growth,
    table,
)
from tests.benchmarks.measuring import ROOT, Row, processor

DOCUMENT = ROOT / "docs/performance.md"
PICTURE = ROOT / "docs/pictures/growth.png"


def _in_folder(compare: Callable[[int, Path], Row], runs: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        return compare(runs, Path(folder))


def _on_trials(compare: Callable[[int], Row], most_runs: int, runs: int) -> Row:
    if not (bench_trials.DATA / "val-info.json").exists():
        pytest.skip("needs data/shapes: deepmac-ablate data shapes --output data/shapes")
    return compare(min(runs, most_runs))


# By the name for --only, from a number of runs. Whole processes take long, and get fewer.
COMPARISONS: dict[str, Callable[[int], Row]] = {
    "step": functools.partial(_in_folder, bench_train_step.compare_coco_steps),
    "mask-head": functools.partial(_in_folder, bench_train_step.compare_mask_heads),
    **{f"step-shapes-{head}": functools.partial(
        _in_folder, functools.partial(bench_train_step.compare_shapes_steps, head))
       for head in ("default", "hourglass20", "hourglass52")},
    "input": functools.partial(_in_folder, bench_train_step.compare_inputs),
    "evaluator": functools.partial(bench_evaluator.compare_evaluators, False),
    "evaluator-more": functools.partial(bench_evaluator.compare_evaluators, True),
    "convert": functools.partial(_in_folder, bench_convert.compare_conversions),
    "first-step": functools.partial(
        _on_trials, functools.partial(
            bench_trials.compare_first_steps, "default", reach=2.5), 3),
    "first-step-hourglass52": functools.partial(
        _on_trials, functools.partial(
            bench_trials.compare_first_steps, "hourglass52", reach=2.0), 3),
    "trial": functools.partial(_on_trials, bench_trials.compare_small_trials, 3),
    "quickstart": functools.partial(_on_trials, bench_trials.compare_quickstarts, 1),
}


def compare_all(names: list[str], runs: int, write: bool) -> None:
    """Print the rows, and write them."""
    print(f"{processor()}\n{table.aligned(table.HEADINGS)}")
    for name in names:
        try:
            row = COMPARISONS[name](runs)
        except pytest.skip.Exception as reason:
            print(f"{name}: skipped, {reason}", flush=True)
            continue
        cells = table.cells(row, datetime.date.today().isoformat())
        print(table.aligned(cells), flush=True)
        if write:
            DOCUMENT.write_text(
                table.replace_block(DOCUMENT.read_text(), [cells], processor()))


def measure_growth(runs: int, write: bool) -> None:
    """Print how our costs grow, and draw it."""
    costs: growth.Costs = {panel: [] for panel in growth.PANELS}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for panel, value, run in growth.measure(runs, Path(folder)):
                costs[panel].append(run)
                print(f"{panel.name:<24}{value:>6}{run.seconds:>9.3f} s"
                      f"{run.cpu_seconds:>9.3f} CPU s", flush=True)
    except pytest.skip.Exception as reason:
        print(f"growth: skipped, {reason}", flush=True)
        return
    if write:
        growth.draw(costs, PICTURE)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    names = [*COMPARISONS, "growth"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"rows to measure: {', '.join(names)} (default: all)")
    parser.add_argument("--runs", type=int, default=5,
                        help="timed runs of each side; processes get at most 3 (default: 5)")
    parser.add_argument("--write", action="store_true",
                        help="write docs/performance.md and its picture")
    args = parser.parse_args()
    compare_all([name for name in args.only if name != "growth"], args.runs, args.write)
    if "growth" in args.only:
        measure_growth(args.runs, args.write)


if __name__ == "__main__":
    main()

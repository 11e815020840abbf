"""Time small trials from the start of the process: upstream's train.py and ours, in turn.

    python -m tests.benchmarks.bench_startup [--repeats 3] [--data data/shapes]

Both read the same records and train the same model (`gin/experiments/shapes_small.gin`, batch size
4): to the end of the first step, or 100 steps and an evaluation of 150 images. Each run is its own
process; upstream's and ours alternate, so that a machine whose speed drifts drifts for both.
Printed: the medians of wall seconds, CPU seconds and peak memory, and the ratios upstream / ours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parents[2]
_BATCH_SIZE = 4
_EVALUATION_BATCH_SIZE = 10
_NUM_EVALUATED = 150
_SIDES = ("upstream", "ours")


class Case(NamedTuple):
    """One row of the table.

    Attributes:
        name: Name of the row.
        head: Name of the mask head.
        steps: Number of training steps, after which the model is evaluated; 0 to end the process
            after the first step.
    """

    name: str
    head: str
    steps: int


CASES = (
    Case("start to the end of the first step, small trial", "default", 0),
    Case("start to the end of the first step, Hourglass-52", "hourglass52", 0),
    Case("small trial as a whole: 100 steps, 150 images evaluated", "default", 100),
)


class Usage(NamedTuple):
    """Cost of a process: seconds since its start, CPU seconds, and megabytes at the peak."""

    wall: float
    cpu: float
    megabytes: float


def measure(
    data: Path, repeats: int = 3, cases: Sequence[Case] = CASES
) -> list[dict[str, str | float]]:
    """Run all cases and return a row for each.

    Args:
        data: Folder of the built-in synthetic dataset.
        repeats: Number of runs of each side.
        cases: The cases.

    Returns:
        Rows with `name`, `upstream_wall`, `ours_wall`, `upstream_cpu`, ..., `ours_megabytes`
        (medians), and `wall_ratio` and `cpu_ratio` (medians of upstream / ours, pair by pair).
    """
    rows = []
    for case in cases:
        pairs = [[_run(side, case, data) for side in _SIDES] for _ in range(repeats)]
        row: dict[str, str | float] = {"name": case.name}
        for number, side in enumerate(_SIDES):
            for field in Usage._fields:
                row[f"{side}_{field}"] = statistics.median(
                    getattr(pair[number], field) for pair in pairs)
        for field in ("wall", "cpu"):
            row[f"{field}_ratio"] = statistics.median(
                getattr(upstream, field) / getattr(ours, field) for upstream, ours in pairs)
        rows.append(row)
    return rows


def _run(side: str, case: Case, data: Path) -> Usage:
    """Run one process.

    Raises:
        RuntimeError: If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "usage.json")
        command = [sys.executable, "-m", "tests.benchmarks.bench_startup", "--child", side,
                   json.dumps(case), str(data.resolve()), folder]
        with Path(folder, "log").open("w+b") as log:
            done = subprocess.run(
                command, cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT, check=False,
                env={**os.environ, "DEEPMAC_BENCH_STARTED": repr(time.time())})
            if done.returncode or not report.exists():
                log.seek(0)
                raise RuntimeError(f"{side}, {case.name}: {log.read()[-3000:].decode()}")
        return Usage(*json.loads(report.read_text()))


def _child(side: str, case: Case, data: Path, folder: Path) -> None:
    """Train in this process, and write its usage to `folder`."""

    def report() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        (folder / "usage.json").write_text(json.dumps([
            time.time() - float(os.environ["DEEPMAC_BENCH_STARTED"]),
            used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))

    if not case.steps:
        import orbit

        # Both sides train with orbit.
        train = orbit.StandardTrainer.train

        def train_and_exit(trainer: orbit.StandardTrainer, steps: object) -> None:
            train(trainer, steps)
            report()
            os._exit(0)

        orbit.StandardTrainer.train = train_and_exit
    (_train_upstream if side == "upstream" else _train_ours)(case, data, folder)
    report()


def _train_ours(case: Case, data: Path, folder: Path) -> None:
    from deepmac_ablate import cli

    bound = (f"BATCH_SIZE = {_BATCH_SIZE}", f"STEPS = {case.steps or 1}",
             f"TRAIN = '{data}/train'", f"VAL = '{data}/val'", "DATASET = None")
    files = ("gin/experiments/shapes_small.gin", f"gin/mask_heads/{case.head}.gin")
    status = cli.main([
        "train", "--workdir", str(folder / "trial"),
        *(word for file in files for word in ("--gin-file", file)),
        *(word for binding in bound for word in ("--gin-bindings", binding))])
    if status:
        raise SystemExit(status)


def _train_upstream(case: Case, data: Path, folder: Path) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from tests.benchmarks import upstream_settings

    task = upstream_settings.task_config(case.head)
    task["model"]["roi_generator"] |= {"test_pre_nms_top_k": 200, "test_num_proposals": 100}
    task["model"]["detection_generator"] = {"max_num_detections": 20}
    task |= {
        "init_checkpoint": None, "annotation_file": f"{data}/val-annotations.json",
        "train_data": {
            "input_path": f"{data}/train-*.tfrecord", "global_batch_size": _BATCH_SIZE,
            "parser": {"max_num_instances": 8, "mask_crop_size": 64}},
        "validation_data": {
            "input_path": f"{data}/val-*.tfrecord", "global_batch_size": _EVALUATION_BATCH_SIZE}}
    every = case.steps or 1
    settings = {
        "runtime": {"distribution_strategy": "one_device", "num_gpus": 0,
                    "mixed_precision_dtype": "float32"},
        "task": task,
        "trainer": {"train_steps": every, "validation_interval": every, "steps_per_loop": every,
                    "validation_steps": _NUM_EVALUATED // _EVALUATION_BATCH_SIZE,
                    "summary_interval": every, "checkpoint_interval": every}}
    # JSON is YAML.
    (folder / "settings.yaml").write_text(json.dumps(settings))
    sys.argv = [
        "train.py", "--experiment=deep_mask_head_rcnn_resnetfpn_coco", "--mode=train_and_eval",
        f"--model_dir={folder}/upstream", f"--config_file={folder}/settings.yaml"]
    try:
        runpy.run_module("official.projects.deepmac_maskrcnn.train", run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("data/shapes"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        side, case, data, folder = args.child
        _child(side, Case(*json.loads(case)), Path(data), Path(folder))
        return
    print(f"{'':<56}{'upstream':>21}{'ours':>21}{'ratio':>12}")
    print(f"{'':<56}" + f"{'wall':>7}{'CPU':>7}{'MB':>7}" * 2 + f"{'wall':>6}{'CPU':>6}")
    for case in CASES:
        row, = measure(args.data, args.repeats, [case])
        print(f"{row['name']:<56}" + "".join(
            f"{row[f'{side}_{field}']:>7.{digits}f}" for side in _SIDES
            for field, digits in (("wall", 1), ("cpu", 1), ("megabytes", 0)))
            + f"{row['wall_ratio']:>6.1f}{row['cpu_ratio']:>6.1f}", flush=True)


if __name__ == "__main__":
    main()

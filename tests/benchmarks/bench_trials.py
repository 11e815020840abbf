"""Trials from the start of the process: upstream's train.py and ours.

Both read the same records (`data/shapes`) and train models of the same sizes, on one CPU device
with float32. Two rows end with the first step, one is a whole small trial. In evaluations, ours
also predicts masks in ground-truth boxes, computes boundary AP and recall, and draws overlays, as
users have it; upstream's mask head trains on 8 slots an image here, as no image has more objects.

The last one is the quickstart: `deepmac-ablate launch sweeps/quickstart.py`, two trials at a time,
with an empty cache, against a loop over its 12 trials with upstream's train.py. The loop is run
once for each arm and counted three times, as it would run each seed alike. Upstream's counterparts
are the nearest that it has: its backbone is frozen, but pyramid, region proposals and box head are
trained as well; it starts from random weights, as it cannot read our checkpoint, so that fewer
detections pass its threshold in the evaluation; in proposals, its mask head runs on a quarter of
the 32 regions (ours on at most 6, and 4 in ground-truth boxes).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import settings
from tests.benchmarks.measuring import ROOT, Commands, Row, compare

DATA = ROOT / "data/shapes"
_NUM_EVALUATED = 150
_EVALUATION_BATCH_SIZE = 10
_SEEDS = 3


def compare_first_steps(head: str, runs: int, reach: float) -> Row:
    """Compare processes that end with their first step."""
    return _compare_small_trials(
        f"start to the end of the first step, {head}", head, 1, ["--exit-after-training"], runs,
        reach)


def compare_small_trials(runs: int) -> Row:
    """Compare trials of 100 steps."""
    return _compare_small_trials(
        f"small trial: 100 steps, {_NUM_EVALUATED} pictures evaluated", "default", 100, [], runs,
        4.0)


def _compare_small_trials(
    name: str, head: str, steps: int, options: list[str], runs: int, reach: float
) -> Row:
    def train_ours(folder: Path) -> list[list[str]]:
        bound = ("BATCH_SIZE = 4", f"STEPS = {steps}")
        return [[
            "-m", __name__, *options, "ours", "train", "--workdir", str(folder / "trial"),
            "--gin-file", "gin/experiments/shapes_small.gin",
            "--gin-file", f"gin/mask_heads/{head}.gin",
            *(word for binding in bound for word in ("--gin-bindings", binding))]]

    def train_upstream(folder: Path) -> list[list[str]]:
        return [_upstream_command(
            folder, "trial", settings.shapes_small(head), 4, steps, options)]

    return compare(name, Commands(train_upstream), Commands(train_ours), runs, unit="process",
                   warm_ups=0, reach=reach)


def compare_quickstarts(runs: int) -> Row:
    """Compare the quickstart with a loop over upstream's train.py; see the module."""

    def launch(folder: Path) -> list[list[str]]:
        return [["-m", "deepmac_ablate.cli", "launch", "sweeps/quickstart.py", "--max-parallel",
                 "2", "--workdir", str(folder / "sweep")]]

    def loop(folder: Path) -> list[list[str]]:
        return [
            _upstream_command(
                folder, f"{head}-{groundtruth}", settings.shapes_masks(head, groundtruth), 8, 200,
                [], freeze_backbone=True)
            for head in ("default", "hourglass20") for groundtruth in (False, True)]

    return compare("quickstart: 4 arms x 3 seeds", Commands(loop), Commands(launch), runs,
                   unit="sweep", per_run=(1 / _SEEDS, 1), warm_ups=0, reach=4.0)


def _upstream_command(
    folder: Path, name: str, setting: settings.Setting, batch_size: int, steps: int,
    options: list[str], **task: bool,
) -> list[str]:
    """Write the settings of one of upstream's trials; return the command that runs it."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({
        "setting": vars(setting), "batch_size": batch_size, "steps": steps, "task": task}))
    return ["-m", __name__, *options, "upstream", str(path)]


def _train_upstream(path: Path, setting: dict[str, Any], batch_size: int, steps: int,
                    task: dict[str, bool]) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    config = settings.upstream_config(settings.Setting(**setting))
    config["model"]["roi_generator"] |= {"test_pre_nms_top_k": 200, "test_num_proposals": 100}
    config["model"]["detection_generator"] = {"max_num_detections": 20}
    config |= task | {
        "init_checkpoint": None, "annotation_file": f"{DATA}/val-annotations.json",
        "train_data": {
            "input_path": f"{DATA}/train-*.tfrecord", "global_batch_size": batch_size,
            "parser": {"max_num_instances": 8, "mask_crop_size": 64}},
        "validation_data": {
            "input_path": f"{DATA}/val-*.tfrecord", "global_batch_size": _EVALUATION_BATCH_SIZE}}
    experiment = {
        "runtime": {"distribution_strategy": "one_device", "num_gpus": 0,
                    "mixed_precision_dtype": "float32"},
        "task": config,
        "trainer": {"train_steps": steps, "validation_interval": steps, "steps_per_loop": steps,
                    "validation_steps": _NUM_EVALUATED // _EVALUATION_BATCH_SIZE,
                    "summary_interval": steps, "checkpoint_interval": steps}}
    # JSON is YAML.
    path.with_suffix(".yaml").write_text(json.dumps(experiment))
    sys.argv = [
        "train.py", "--experiment=deep_mask_head_rcnn_resnetfpn_coco", "--mode=train_and_eval",
        f"--model_dir={path.with_suffix('')}", f"--config_file={path.with_suffix('.yaml')}"]
    runpy.run_module("official.projects.deepmac_maskrcnn.train", run_name="__main__")


def _exit_after_training() -> None:
    """End this process at the end of the first call of orbit, with which both sides train."""
    import orbit

    train = orbit.StandardTrainer.train

    @functools.wraps(train)
    def train_and_exit(trainer: orbit.StandardTrainer, steps: object) -> None:
        train(trainer, steps)
        os._exit(0)

    orbit.StandardTrainer.train = train_and_exit


def main(arguments: Sequence[str]) -> None:
    """Train one side in this process."""
    parser = argparse.ArgumentParser(description="Train one side.")
    parser.add_argument("side", choices=("upstream", "ours"))
    parser.add_argument("--exit-after-training", action="store_true")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    args = parser.parse_args(arguments)
    if args.exit_after_training:
        _exit_after_training()
    if args.side == "upstream":
        path = Path(*args.rest)
        _train_upstream(path, **json.loads(path.read_text()))
    else:
        from deepmac_ablate import cli

        sys.exit(cli.main(args.rest))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Workdirs of sweeps that were never run, written with the same functions as real ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd

from deepmac_ablate.evaluation.metrics import summary
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial.trial import Trial

STEPS = 600
COST = Cost(100, 90, 2.0, 1.0, 0.5, 4, 800, 2, STEPS, 8)
CLASSES = {1: "disc", 2: "ring", 3: "None"}
ROLES = {1: "seen", 2: "novel", 3: "novel"}


def plan(
    arms: dict[str, dict[str, str]], seeds: int = 1, name: str = "heads", baseline: str = ""
) -> Plan:
    """Return a plan of arms with these levels; trial ids are the arm's label and the seed."""
    trials = tuple(
        PlannedTrial(f"{arm}-{seed}", Trial((), (f"arm = '{arm}'",), seed, arm), levels, STEPS)
        for arm, levels in arms.items() for seed in range(seeds))
    axes: dict[str, dict[str, None]] = {}
    for levels in arms.values():
        for axis, level in levels.items():
            axes.setdefault(axis, {})[level] = None
    levels_by_axis = {axis: tuple(levels) for axis, levels in axes.items()}
    return Plan(name, "?", levels_by_axis, baseline or next(iter(arms)), trials)


def write(folder: str | Path, a_plan: Plan) -> SweepWorkdir:
    """Write a workdir with a plan, whose trials have not started."""
    workdir = SweepWorkdir(folder)
    workdir.write_plan(a_plan)
    return workdir


def attempt(step: int = 0, code: str = "c0de", **more: Any) -> dict[str, Any]:
    """Return the line of attempts.jsonl for a start of training."""
    return {
        "mode": "train_and_eval", "step": step, "steps": STEPS, "code": code, "modules": [],
        "commit": "abc", "host": "h", **more}


def start(workdir: SweepWorkdir, a_plan: Plan, trial_id: str, **more: Any) -> None:
    """Prepare a trial and record a start of it."""
    [planned] = [trial for trial in a_plan.trials if trial.id == trial_id]
    workdir.prepare_trial(a_plan, planned)
    workdir.trial(trial_id).append_attempt(attempt(**more))


def finish(
    workdir: SweepWorkdir, a_plan: Plan, trial_id: str, result: dict[str, Any], **more: Any
) -> None:
    """Start a trial and write its result."""
    start(workdir, a_plan, trial_id, **more)
    workdir.trial(trial_id).write_result({"step": STEPS, **result})


def tables(seed: int, roles: dict[int, str] = ROLES) -> dict[str, pd.DataFrame]:
    """Return metrics by class for each box source, as an evaluation does; some are undefined."""
    draw = random.Random(seed)
    description = {"name": list(CLASSES.values()), "instances": [10, 30, 0]}
    index = pd.Index(list(CLASSES), name="category_id")

    def table(*metrics: str) -> pd.DataFrame:
        numbers = {name: [draw.random(), draw.random(), float("nan")] for name in metrics}
        return pd.DataFrame({**description, **numbers}, index=index)

    masks = table("mask_ap", "mask_ap50")
    return {
        "detections": summary.per_class_frame(roles, masks, table("mask_ar100_agnostic")),
        "groundtruth": summary.per_class_frame(roles, masks, table("iou"))}


def write_classes(folder: Path, seed: int, roles: dict[int, str] = ROLES) -> dict[str, Any]:
    """Write per_class.csv as training does, and return the means over groups of classes."""
    frames, scalars = [], {}
    for reading, frame in tables(seed, roles).items():
        scalars |= summary.mean_scalars(reading, frame)
        frame.insert(0, "reading", reading)
        frames.append(frame)
    text = pd.concat(frames, ignore_index=True).to_csv(index=False)
    (folder / "per_class.csv").write_text(text)
    return scalars


def write_costs(workdir: SweepWorkdir, a_plan: Plan) -> None:
    """Write costs.json as a launch does."""
    costs = {planned.id: COST.to_json() for planned in a_plan.trials}
    Path(workdir.path / "costs.json").write_text(to_json(costs))

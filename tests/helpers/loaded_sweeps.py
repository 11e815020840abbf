"""Finished sweeps with known results, and rows of the data frames that are loaded from them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pandas as pd

from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.trial import provenance
from tests.helpers import result_workdirs

ARMS = {"conv+2": {"head": "conv", "width": "2"}, "hg+2": {"head": "hg", "width": "2"},
        "hg+4": {"head": "hg", "width": "4"}}
RESULT = {
    "groundtruth/iou/seen": 0.1 + 0.2, "groundtruth/iou/novel": 0.25, "detections/box_ap/seen": 0,
    "detections/box_ap/novel": None, "train_seconds": 12.5, "dataset": "val@f00",
    "data_prefix": "data/val"}


def sweep(folder: str | os.PathLike[str], seeds: int = 2) -> SweepWorkdir:
    """Write a sweep of three arms, all of whose trials are finished."""
    a_plan = result_workdirs.plan(ARMS, seeds)
    workdir = result_workdirs.write(folder, a_plan)
    for number, planned in enumerate(a_plan.trials):
        result = RESULT | {"groundtruth/iou/seen": number / 7}
        code = provenance.current_code([])
        result_workdirs.finish(workdir, a_plan, planned.id, result, code=code)
    return workdir


def row(frame: pd.DataFrame, trial: str) -> dict[str, Any]:
    """Return the row of a trial, with None for what is missing."""
    [found] = frame[frame["trial"] == trial].astype(object).to_dict("records")
    return {name: None if pd.isna(value) else value for name, value in found.items()}


def end(folder: Path, role: str = "train", **fields: Any) -> None:
    """Record the last attempt of a trial as its supervisor does."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    Attempt(**{"role": role, "number": 1, "state": "failed", "host": "elsewhere", "pid": 1,
               "pid_started": None, "started": now, "heartbeat": now, **fields}).write(folder)

"""Records the sweeps that tables, report and notebooks are tested on: real runs, without weights.

::

    deepmac-ablate data shapes --output data/shapes
    deepmac-ablate launch tests/golden/recorded_a.py
    deepmac-ablate launch tests/golden/recorded_b.py
    python -m tests.golden.record_sweeps runs

Half an hour on two cores. What is kept is what results are read from; of detections, which are no
good after so few steps, only the numbers, and masks of one seed, as the gallery shows no more.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

FOLDER = Path(__file__).parent / "sweeps"
_OF_SWEEP = ("plan.json", "costs.json")
_OF_TRIAL = (
    "trial.json", "sweep.json", "config.gin", "attempts.jsonl", "metrics.jsonl",
    "evaluations.jsonl", "per_class.csv", "instances.csv.gz", "matches/groundtruth_mask.npz",
    "result.json")
_OF_SEED_0 = ("masks.json.gz",)


def record(workdir: Path, to: Path) -> None:
    """Copy what results are read from.

    Args:
        workdir: Of a finished sweep.
        to: A folder that is replaced.
    """
    shutil.rmtree(to, ignore_errors=True)
    folders = {workdir: _OF_SWEEP}
    for trial in workdir.glob("trials/*"):
        seed = json.loads((trial / "trial.json").read_text())["seed"]
        folders[trial] = _OF_TRIAL + (_OF_SEED_0 if seed == 0 else ())
    for folder, names in folders.items():
        for name in names:
            target = to / folder.relative_to(workdir) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target)


def main() -> None:
    """Records both sweeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="the folder with their workdirs")
    runs = parser.parse_args().runs
    for name in ("recorded_a", "recorded_b"):
        record(runs / name, FOLDER / name)


if __name__ == "__main__":
    main()

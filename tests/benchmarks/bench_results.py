"""Time to load the results of a sweep as a data frame.

::

    python -m tests.benchmarks.bench_results [--trials 1000]

Each time is measured in a new process without its imports: cold, as after a sweep has finished, and
again with the cache. Files are as large as real ones.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from deepmac_ablate.commands.option_types import at_least
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from tests.helpers import result_workdirs

ROOT = Path(__file__).resolve().parents[2]
TIMES = 7
SEEDS = 5

_LOAD = """
import sys, time
from deepmac_ablate import results
from deepmac_ablate.evaluation.metrics import summary
from deepmac_ablate.results.loading import load, per_class
start = time.perf_counter()
frame = results.load(sys.argv[1])
loaded = time.perf_counter()
assert (frame["status"] == "finished").all()
print(len(frame), loaded - start)
if sys.argv[2:]:
    long = results.per_class(frame)
    read = time.perf_counter()
    results.with_split(frame, "all")
    print(len(long), read - loaded, time.perf_counter() - read)
"""


def write(folder: Path, num_arms: int, classes: int = 0) -> SweepWorkdir:
    """Write a workdir of finished trials in arms of five seeds."""
    arms = {f"arm{number}": {"width": str(number)} for number in range(num_arms)}
    a_plan = result_workdirs.plan(arms, seeds=SEEDS)
    workdir = result_workdirs.write(folder, a_plan)
    result_workdirs.write_costs(workdir, a_plan)
    draw = random.Random(0)
    versions = {f"package{number}": "1.2.3" for number in range(50)}
    names = [f"{reading}/metric{number}/{group}" for reading in ("detections", "groundtruth")
             for number in range(16) for group in ("seen", "novel", "all")]
    for planned in a_plan.trials:
        result = {name: draw.random() for name in names}
        result_workdirs.finish(workdir, a_plan, planned.id, result, versions=versions)
        if classes:
            write_classes(workdir.folder(planned.id), classes, draw)
    return workdir


def write_classes(folder: Path, classes: int, draw: random.Random) -> None:
    """Write a per_class.csv with two box sources and 16 metrics."""
    metrics = ",".join(f"metric{number}" for number in range(16))
    lines = [f"reading,category_id,name,role,instances,{metrics}"]
    for reading in ("detections", "groundtruth"):
        for number in range(classes):
            numbers = ",".join(str(draw.random()) for _ in range(16))
            role = "seen" if number % 2 else "novel"
            lines.append(f"{reading},{number},class{number},{role},{number},{numbers}")
    (folder / "per_class.csv").write_text("\n".join(lines) + "\n")


def load(workdir: SweepWorkdir, home: Path, *more: str) -> list[list[float]]:
    """Load results in a new process, and return the numbers that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(home)}
    printed = subprocess.run(
        [sys.executable, "-c", _LOAD, str(workdir.path), *more], cwd=ROOT, env=environment,
        check=True, capture_output=True, text=True).stdout
    return [[float(word) for word in line.split()] for line in printed.splitlines()]


def main() -> None:
    """Print median times in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=at_least(1), default=1000)
    most = math.ceil(parser.parse_args().trials / SEEDS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for num_arms in sorted({math.ceil(most / 10), most}):
            count = num_arms * SEEDS
            workdir = write(folder / str(count), num_arms)
            cold = [load(workdir, folder / f"home{count}-{turn}")[0][1] for turn in range(3)]
            warm = [load(workdir, folder / f"home{count}-0")[0][1] for _ in range(TIMES)]
            print(f"{count:6d} finished trials: cold {statistics.median(cold):.2f} s, again "
                  f"{statistics.median(warm):.2f} s")
        workdir = write(folder / "classes", 60, classes=80)
        seconds = [load(workdir, folder / "home", "classes")[1] for _ in range(TIMES)]
        rows, read, split = (
            statistics.median(column) for column in zip(*seconds, strict=True))
        print(f"metrics by class of 300 trials, {rows:.0f} rows: {read:.2f} s; means over another "
              f"class split, which reads them too: {split:.2f} s")


if __name__ == "__main__":
    main()

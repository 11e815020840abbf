"""Cost of a sweep apart from its trials: planning, launching, launching again.

::

    python -m tests.benchmarks.bench_sweep [--trials 1000]

Planning and launching again are whole processes of the real command, beside one that only imports
what it needs; launching is compared with the same supervisors started one after the other by a
loop, on the same fake trainer.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepmac_ablate.launch.supervision.job import Job
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.plan import resolve_sweep
from deepmac_ablate.sweep.sweep_file import load_sweep
from tests.helpers import launching

ROOT = Path(__file__).resolve().parents[2]

_SWEEP = """\\
'''How many can there be?'''
from deepmac_ablate.sweep import Sweep, values
SWEEP = Sweep("gin/experiments/shapes_small.gin",
              arms=values("LEARNING_RATE", *[(i + 1) / 1e5 for i in range({})]), seeds={})
"""

_IMPORTS = "import deepmac_ablate.cli, deepmac_ablate.cli, etils.epath"
_IMPORTS_TENSORFLOW = "import deepmac_ablate.training.session"


def seconds(*command: str, home: Path) -> float:
    """Return the seconds that a command takes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(home)}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command], check=True, cwd=ROOT, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def deepmac_ablate(*arguments: str, home: Path) -> float:
    """Return the seconds that a command of `deepmac-ablate` takes."""
    return seconds("-m", "deepmac_ablate.cli", *arguments, home=home)


def planning(arms: int, seeds: int, folder: Path) -> tuple[Path, Path]:
    """Plans so many trials of one architecture, cold and again; returns the sweep and the cache."""
    sweep = folder / f"sweep{arms}x{seeds}.py"
    sweep.write_text(_SWEEP.format(arms, seeds))
    home = folder / f"cache{arms}x{seeds}"
    imports = seconds("-c", _IMPORTS, home=home) + seconds("-c", _IMPORTS_TENSORFLOW, home=home)
    cold = deepmac_ablate("plan", str(sweep), home=home)
    warm = deepmac_ablate("plan", str(sweep), home=home)
    print(f"plan {arms:6d} arms x {seeds} seeds: {cold - imports:6.2f} s beyond imports of "
          f"{imports:.1f} s; again {warm:.2f} s in all")
    return sweep, home


def launching_again(sweep: Path, home: Path, folder: Path) -> None:
    """Launch a sweep whose trials are all finished."""
    workdir = SweepWorkdir(folder / "finished")
    resolved, _ = resolve_sweep(load_sweep(str(sweep)))
    for planned in resolved.trials:
        trial = workdir.folder(planned.id)
        trial.mkdir(parents=True)
        (trial / "result.json").write_text(json.dumps({"step": 600}))
        (trial / "metrics.jsonl").write_text(json.dumps({"step": 600}) + "\\n")
    times = [
        deepmac_ablate("launch", str(sweep), "--workdir", str(workdir.path), home=home)
        for _ in range(4)]
    print(f"launch {len(resolved.trials)} finished trials: {times[0]:.2f} s, again "
          f"{statistics.median(times[1:]):.2f} s (whole process)")


def overhead(count: int, folder: Path) -> None:
    """Launch trials that do nothing, beside the same processes started by a loop, in turns."""
    more = []
    for turn in range(3):
        a_plan = launching.plan(*[("steps = 0",)] * count)
        start = time.perf_counter()
        launching.launch(launching.plan(()), folder / f"one{turn}")
        fixed = time.perf_counter() - start
        start = time.perf_counter()
        launching.launch(a_plan, folder / f"launched{turn}")
        launched = time.perf_counter() - start - fixed
        alone = SweepWorkdir(folder / f"alone{turn}")
        start = time.perf_counter()
        for planned in a_plan.trials:
            trial = alone.folder(planned.id)
            alone.prepare_trial(a_plan, planned)
            job = Job(trial, "train", launching.fake_command(trial, "train_and_eval", "off"), ROOT)
            # Through a shell, as XManager has it.
            words = [
                sys.executable, "-m", "deepmac_ablate.launch.supervision.supervisor",
                str(job.write())]
            subprocess.run(shlex.join(words), shell=True, check=True)
        looped = time.perf_counter() - start
        more.append(1e3 * (launched - looped) / count)
        print(f"launch {count} trials that do nothing: {launched:.2f} s, their processes alone "
              f"{looped:.2f} s")
    print(f"median: {statistics.median(more):.1f} ms more a trial")


def main() -> None:
    """Print all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    count = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # What importing and building the one architecture take of the other.
        planning(1, 1, folder)
        sweep, home = planning(count // 5, 5, folder)
        launching_again(sweep, home, folder)
        overhead(100, folder)


if __name__ == "__main__":
    main()

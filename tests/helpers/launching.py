"""Launch sweeps of fake trials, in this process or in one that can be killed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.launcher import Launch, LaunchOptions
from deepmac_ablate.launch.local_executor import LocalExecutor
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.trial.trial import Trial

ROOT = Path(__file__).resolve().parents[2]
FAKE_TRAINER = str(ROOT / "tests" / "fakes" / "fake_trainer.py")


def plan(*trials: tuple[str, ...]) -> Plan:
    """A plan of trials t0, t1, ... with these bindings, each an arm."""
    planned = []
    for number, bindings in enumerate(trials):
        arm = f"arm{number}"
        trial = Trial((), tuple(bindings), 0, arm)
        planned.append(PlannedTrial(f"t{number}", trial, {"axis": arm}, 3))
    arms = [each.trial.arm for each in planned]
    return Plan("fakes", "Does it launch?", {"axis": arms}, arms[0], tuple(planned))


def plan_of_seeds(*trials: tuple[str, ...]) -> Plan:
    """A plan of one arm, whose seeds have trials t0, t1, ... with these bindings."""
    arms = plan(*trials)
    seeds = [
        planned._replace(trial=dataclasses.replace(planned.trial, seed=seed, arm="arm0"))
        for seed, planned in enumerate(arms.trials)]
    return arms._replace(trials=tuple(seeds))


def fake_command(
    folder: Path | str, mode: str, tracking: str, runtime: Sequence[str] = ()
) -> tuple[str, ...]:
    """The fake trainer's command, without `site`, which takes longer to load than the rest."""
    return (sys.executable, "-S", FAKE_TRAINER, str(folder), mode)


def launch(
    a_plan: Plan, workdir: Path, max_parallel: int = 1, retry_failed: bool = False, **options
) -> Launch:
    """Launch in this process and return once the launch has ended."""
    files = SweepWorkdir(workdir)
    executor = LocalExecutor(files, JobOptions(**options), build_command=fake_command)
    job = Launch(a_plan, files, executor, LaunchOptions(max_parallel, retry_failed))
    job.run()
    return job


def start(a_plan: Plan, workdir: Path, **options) -> subprocess.Popen:
    """Start a launcher in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [json.dumps(a_plan.to_json()), str(workdir), json.dumps(options)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.launching", *arguments], cwd=ROOT, env=environment,
        stderr=subprocess.PIPE, text=True, start_new_session=True)


def statuses(a_plan: Plan, workdir: Path) -> dict[str, str]:
    """The status of each trial by id."""
    return {row.id: row.status for row in StatusReader(SweepWorkdir(workdir), a_plan).read_rows()}


def starts(workdir: Path, trial_id: str) -> int:
    """The number of times that a trial's trainer was started."""
    path = workdir / "trials" / trial_id / "starts.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


if __name__ == "__main__":
    content, where, chosen = sys.argv[1:]
    launch(Plan.from_json(json.loads(content)), Path(where), **json.loads(chosen))

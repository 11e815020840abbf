"""Sixty faults at random moments: every trial finishes once, and nothing is left running."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from deepmac_ablate.launch import stop
from deepmac_ablate.launch.cloud_jobs.active_jobs import read_submission
from deepmac_ablate.launch.slurm import programs
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.plan import Plan
from tests.helpers import launching, slurm_cluster, slurm_launching
from tests.helpers.slurm_cluster import NODES, Cluster
from tests.helpers.supervised import fill, small_disk, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.extended]

FAULTS = 60
TRIALS = 8
STEPS = 80


class Disturbed:
    """A sweep on a cluster, its launchers, and the faults that befall them.

    Attributes:
        launchers: Launchers that were started, the last of which should run.
        counts: How often each fault occurred.
    """

    def __init__(self, cluster: Cluster, a_plan: Plan, disk: Path, seed: int) -> None:
        self._cluster = cluster
        self._plan = a_plan
        self._disk = disk
        self.workdir = disk / "w"
        self._chance = random.Random(seed)
        self.launchers: list[subprocess.Popen] = []
        self.counts: Counter[str] = Counter()

    def keep_launching(self) -> None:
        """Start a launcher unless one runs."""
        if all(launcher.poll() is not None for launcher in self.launchers):
            self._launch()
        with contextlib.suppress(AssertionError):
            self._cluster.resume_nodes()

    def _launch(self) -> None:
        self.launchers.append(slurm_launching.start(
            self._cluster, self._plan, self.workdir, gpus=1, retry_failed=True))

    def disturb(self) -> None:
        """Make one fault, chosen at random."""
        faults = (
            self._kill_launcher, self._second_launcher, self._kill_controller, self._kill_slurmd,
            self._crash_node, self._preempt, self._cancel, self._requeue, self._kill_process,
            self._fill_disk)
        fault = self._chance.choice(faults)
        self.counts[fault.__name__] += 1
        fault()

    def _kill_launcher(self) -> None:
        for launcher in self.launchers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
            launcher.communicate()

    def _second_launcher(self) -> None:
        self._launch()

    def _kill_controller(self) -> None:
        self._cluster.kill("slurmctld")
        self.pause(4)
        self._cluster.start("slurmctld")

    def _kill_slurmd(self) -> None:
        node = self._chance.choice(NODES)
        self._cluster.kill(node)
        self.pause(4)
        self._cluster.start(node)

    def _crash_node(self) -> None:
        node = self._chance.choice(NODES)
        self._cluster.crash(node)
        self.pause(10)
        self._cluster.start(node)

    def _preempt(self) -> None:
        self._ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null",
                  "--wrap=sleep 2")

    def _cancel(self) -> None:
        if job := self._some_job():
            self._ask("scancel", job)

    def _requeue(self) -> None:
        if job := self._some_job():
            self._ask("scontrol", "requeue", job)

    def _kill_process(self) -> None:
        """Kill a worker, a trainer, a batch script or a step's process."""
        if processes := self._cluster.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                self._chance.choice(processes).kill()

    def _fill_disk(self) -> None:
        fill(self._disk / "filler")
        self.pause(3)
        (self._disk / "filler").unlink()

    def _some_job(self) -> str | None:
        found = self._ask("squeue", "--noheader", "--states=PD,R", "--format=%A")
        return self._chance.choice(found.split() or [None])

    def _ask(self, *command: str) -> str:
        # The controller may have been killed, or the job have ended.
        with contextlib.suppress(AssertionError):
            return self._cluster.ask(*command)
        return ""

    def pause(self, seconds: float) -> None:
        """Wait for a random time of at most some seconds."""
        time.sleep(self._chance.uniform(0, seconds))


@pytest.mark.parametrize("seed", [0])
def test_every_trial_finishes_once_whatever_happens(tmp_path, monkeypatch, seed):
    """Launchers, controller, nodes, jobs and processes are killed; the disk is full at times."""
    a_plan = launching.plan(*[(f"steps = {STEPS}", "seconds = 0.1")] * TRIALS)
    with (slurm_cluster.serving(tmp_path / "slurm") as cluster,
          small_disk(tmp_path / "disk", megabytes=64) as disk):
        monkeypatch.setenv("SLURM_CONF", cluster.variables["SLURM_CONF"])
        programs.read_cluster_name.cache_clear()
        sweep = Disturbed(cluster, a_plan, disk, seed)
        for _ in range(FAULTS):
            sweep.keep_launching()
            sweep.pause(3.0)
            sweep.disturb()
        deadline = time.monotonic() + 600
        while set(launching.statuses(a_plan, sweep.workdir).values()) != {"finished"}:
            assert time.monotonic() < deadline, (
                launching.statuses(a_plan, sweep.workdir), cluster.ask("squeue", "--states=all"))
            sweep.keep_launching()
            time.sleep(1)
        for launcher in sweep.launchers:
            launcher.communicate(timeout=120)
        assert len(sweep.counts) >= 8, sweep.counts

        wait_until(lambda: not cluster.processes(), 60)
        assert not locks.is_held(sweep.workdir / "launcher.lock")
        before = [read_submission(sweep.workdir / f"trials/t{i}", "train") for i in range(TRIALS)]
        assert [] == slurm_launching.launch(a_plan, sweep.workdir).pending
        # Slurm may take a while to notice that the machine of a job was down for a moment.
        stop.stop_sweep(SweepWorkdir(sweep.workdir))
        # Of its own partition: nobody stops the jobs that preempted it.
        left = cluster.ask("squeue", "--noheader", "--states=PD,R,CG", "--partition=main")
        assert ("", []) == (left, cluster.processes())
        for i in range(TRIALS):
            folder = sweep.workdir / "trials" / f"t{i}"
            lines = (folder / "metrics.jsonl").read_text().splitlines()
            assert set(range(1, STEPS + 1)) == {json.loads(line)["step"] for line in lines}
            assert {"step": STEPS} == json.loads((folder / "result.json").read_text())
            assert (1, False) == (
                len((folder / "finishes.jsonl").read_text().splitlines()),
                (folder / "overlaps.jsonl").exists())
            assert before[i].number == read_submission(folder, "train").number

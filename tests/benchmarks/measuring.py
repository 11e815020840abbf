"""Interleaved timing of the published code and ours, each in processes of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import multiprocessing.connection
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psutil

ROOT = Path(__file__).resolve().parents[2]
_SECONDS_BETWEEN_SAMPLES = 0.5

# Made in the process that runs it: it may import and build before the clock starts.
Builder = Callable[[], Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class Run:
    """Cost of a run, or of a unit of work in it, and the value that the run returned."""

    seconds: float
    cpu_seconds: float
    value: Any = None


class Side(Protocol):
    """One of the two programs that are compared."""

    def run(self, units: float = 1.0) -> Run:
        """Run once, wait for the end, and return the cost of each of so many units of work."""

    def stop(self) -> float:
        """Release everything and return the largest resident memory of all runs, in MiB."""


class Worker:
    """A process that builds something and then runs it on request."""

    def __init__(self, builder: Builder) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, builder), daemon=True)
        self._process.start()
        other.close()

    def run(self, units: float = 1.0) -> Run:
        """Run what was built."""
        self._connection.send("run")
        seconds, cpu_seconds, value = self._connection.recv()
        return Run(seconds / units, cpu_seconds / units, value)

    def stop(self) -> float:
        """End the process."""
        self._connection.send("stop")
        peak = self._connection.recv()
        self._process.join()
        return peak


def _serve(connection: multiprocessing.connection.Connection, builder: Builder) -> None:
    run = builder()
    everything = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    while connection.recv() == "run":
        before, started = _cpu_seconds(*everything), time.perf_counter()
        value = run()
        connection.send(
            (time.perf_counter() - started, _cpu_seconds(*everything) - before, value))
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _cpu_seconds(*whose: int) -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, whose))


class Commands:
    """Commands of Python that run one after the other, every time in new processes.

    The memory is that of a command and its descendants together, as they share the machine.
    """

    def __init__(self, commands: Callable[[Path], list[list[str]]]) -> None:
        """Take a function from an empty folder to the arguments of Python for each command."""
        self._commands = commands
        self._peak = 0.0

    def run(self, units: float = 1.0) -> Run:
        """Run the commands.

        Raises:
            RuntimeError: If one of them fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            commands = self._commands(Path(folder))
            # The cache is empty, as that of a user who runs this for the first time.
            environment = {
                **os.environ, "XDG_CACHE_HOME": f"{folder}/cache", "TF_CPP_MIN_LOG_LEVEL": "3"}
            before, started = _cpu_seconds(resource.RUSAGE_CHILDREN), time.perf_counter()
            for command in commands:
                with Path(folder, "log").open("w+b") as log:
                    process = subprocess.Popen(
                        [sys.executable, *command], cwd=ROOT, env=environment, stdout=log,
                        stderr=subprocess.STDOUT)
                    self._watch(process)
                    if process.returncode:
                        log.seek(0)
                        raise RuntimeError(f"{command} failed: {log.read()[-3000:].decode()}")
            return Run((time.perf_counter() - started) / units,
                       (_cpu_seconds(resource.RUSAGE_CHILDREN) - before) / units)

    def _watch(self, process: subprocess.Popen) -> None:
        """Wait for the end, and note the memory."""
        top = psutil.Process(process.pid)
        while process.poll() is None:
            resident = 0
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in (top, *top.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        resident += each.memory_info().rss
            self._peak = max(self._peak, resident / 2**20)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_BETWEEN_SAMPLES)

    def stop(self) -> float:
        """Return the memory; no process is left."""
        return self._peak


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison of upstream with ours.

    Attributes:
        name: Work that was timed.
        unit: Unit of work that the costs are for.
        pairs: Costs of a unit of upstream's and of ours, of each timed pair of runs.
        peaks_mib: Largest resident memory of upstream and of ours.
        floor_seconds: Seconds that the arithmetic or the copying alone would take, or None.
        reach: Ratio to reach, or None.
    """

    name: str
    unit: str
    pairs: tuple[tuple[Run, Run], ...]
    peaks_mib: tuple[float, float]
    floor_seconds: float | None = None
    reach: float | None = None

    def medians(self, what: str) -> tuple[float, float]:
        """Return the medians of upstream and ours of `seconds` or `cpu_seconds`."""
        upstream, ours = zip(*self.pairs, strict=True)
        return median_of(upstream, what), median_of(ours, what)

    def ratio(self, what: str) -> float:
        """Return the median over the pairs of upstream's cost divided by ours."""
        return statistics.median(getattr(a, what) / getattr(b, what) for a, b in self.pairs)

    @property
    def distance(self) -> float | None:
        """Our seconds divided by those of the floor, or None if there is none."""
        return self.floor_seconds and self.medians("seconds")[1] / self.floor_seconds


def compare(
    name: str,
    upstream: Side,
    ours: Side,
    runs: int,
    *,
    unit: str = "step",
    per_run: tuple[float, float] = (1.0, 1.0),
    warm_ups: int = 1,
    check: Callable[[Any, Any], None] = lambda upstream, ours: None,
    floor_seconds: float | None = None,
    reach: float | None = None,
) -> Row:
    """Time both in turns, so that a machine whose speed drifts drifts for both.

    Args:
        name: Work that is timed.
        upstream: Upstream's program, which is stopped at the end.
        ours: Our program, which is stopped at the end.
        runs: Number of timed runs of each.
        unit: Unit of work that the costs are for.
        per_run: Units of work in a run of upstream's and in one of ours.
        warm_ups: Number of runs of each before the timed ones.
        check: Called with the values of each pair; raises if they do not agree.
        floor_seconds: Seconds that the arithmetic or the copying alone would take.
        reach: Ratio to reach.
    """
    pairs = []
    for _ in range(warm_ups + runs):
        pair = upstream.run(per_run[0]), ours.run(per_run[1])
        check(*(run.value for run in pair))
        pairs.append(pair)
    peaks = upstream.stop(), ours.stop()
    return Row(name, unit, tuple(pairs[warm_ups:]), peaks, floor_seconds, reach)


def median_of(runs: tuple[Run, ...], what: str) -> float:
    """Return the median of `seconds` or `cpu_seconds`."""
    return statistics.median(getattr(run, what) for run in runs)


def cost(builder: Builder, runs: int, per_run: float = 1.0) -> Run:
    """Return the median cost of each of `per_run` units, after a run that is not counted."""
    worker = Worker(builder)
    taken = tuple(worker.run(per_run) for _ in range(runs + 1))[1:]
    worker.stop()
    return Run(median_of(taken, "seconds"), median_of(taken, "cpu_seconds"))


def processor() -> str:
    """Return the name of the processor and the number of its cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {multiprocessing.cpu_count()} cores"


@functools.cache
def matrix_rate() -> float:
    """Return the FLOPs per second of a product of two large matrices, on all cores if idle."""
    import tensorflow as tf

    side = 2048
    matrix = tf.random.normal([side, side])
    return 2 * side**3 * multiprocessing.cpu_count() / _least_cpu_seconds(
        lambda: tf.linalg.matmul(matrix, matrix).numpy())


@functools.cache
def copy_rate() -> float:
    """Return the bytes per second that this machine copies in memory with one core."""
    import numpy as np

    source = np.ones(2**27, np.uint8)
    target = np.empty_like(source)
    return source.nbytes / _least_cpu_seconds(lambda: np.copyto(target, source))


def _least_cpu_seconds(call: Callable[[], object]) -> float:
    """Return CPU seconds, which other processes on the machine affect less than the time."""
    taken = []
    for _ in range(8):
        started = time.process_time()
        call()
        taken.append(time.process_time() - started)
    return min(taken)

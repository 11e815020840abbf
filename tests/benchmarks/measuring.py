"""Interleaved timing of the published code and ours, each in a process of its own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

# Made in the process that runs it: it may import and build before the clock starts.
Builder = Callable[[], Callable[[], None]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison of upstream with ours.

    Attributes:
        name: Work that was timed.
        unit: Unit of work that the seconds are for.
        upstream_seconds: Median wall-clock seconds of upstream.
        our_seconds: Median wall-clock seconds of ours.
        upstream_cpu_seconds: Median CPU seconds of upstream, system time included.
        our_cpu_seconds: Median CPU seconds of ours.
        ratio: Median over the runs of upstream's seconds divided by ours.
        cpu_ratio: The same of CPU seconds, which other processes on the machine affect less.
        upstream_peak_mib: Largest resident memory of upstream's process.
        our_peak_mib: Largest resident memory of our process.
        floor_seconds: Seconds that the arithmetic alone would take here, or None.
        reach: Ratio to reach, or None.
        processor: Name of the processor and number of cores.
    """

    name: str
    unit: str
    upstream_seconds: float
    our_seconds: float
    upstream_cpu_seconds: float
    our_cpu_seconds: float
    ratio: float
    cpu_ratio: float
    upstream_peak_mib: float
    our_peak_mib: float
    floor_seconds: float | None
    reach: float | None
    processor: str


@dataclasses.dataclass(frozen=True)
class Run:
    """Cost of a run, or of a unit of work in it."""

    seconds: float
    cpu_seconds: float


class Worker:
    """A process that builds something and then runs it on request."""

    def __init__(self, builder: Builder) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, builder), daemon=True)
        self._process.start()
        other.close()

    def run(self, units: float = 1.0) -> Run:
        """Run once, wait for the end, and return the cost of each of so many units of work."""
        self._connection.send("run")
        return Run(*(cost / units for cost in self._connection.recv()))

    def stop(self) -> float:
        """End the process and return the largest memory that it had, in MiB."""
        self._connection.send("stop")
        peak = self._connection.recv()
        self._process.join()
        return peak


def _serve(connection: multiprocessing.connection.Connection, builder: Builder) -> None:
    run = builder()
    while connection.recv() == "run":
        before, started = _cpu_seconds(), time.perf_counter()
        run()
        connection.send((time.perf_counter() - started, _cpu_seconds() - before))
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def compare(
    name: str,
    upstream: Builder,
    ours: Builder,
    runs: int,
    *,
    unit: str = "step",
    per_run: tuple[float, float] = (1.0, 1.0),
    floor_seconds: float | None = None,
    reach: float | None = None,
) -> Row:
    """Time both in turns, so that a machine whose speed drifts drifts for both.

    Args:
        name: Work that is timed.
        upstream: Builds a run of upstream's code.
        ours: Builds a run of ours.
        runs: Number of timed runs of each, after one that is not counted.
        unit: Unit of work that the seconds are for.
        per_run: Units of work in a run of upstream's and in one of ours.
        floor_seconds: Seconds that the arithmetic alone would take.
        reach: Ratio to reach.
    """
    workers = Worker(upstream), Worker(ours)
    pairs = [
        tuple(worker.run(units) for worker, units in zip(workers, per_run, strict=True))
        for _ in range(runs + 1)][1:]
    peaks = [worker.stop() for worker in workers]
    medians = [
        statistics.median(getattr(pair[side], what) for pair in pairs)
        for what in ("seconds", "cpu_seconds") for side in (0, 1)]
    ratios = [
        statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)
        for what in ("seconds", "cpu_seconds")]
    return Row(name, unit, *medians, *ratios, *peaks, floor_seconds, reach, processor())


def cost(builder: Builder, runs: int, per_run: float = 1.0) -> Run:
    """Return the median cost of each of `per_run` units, after a run that is not counted."""
    worker = Worker(builder)
    taken = [worker.run(per_run) for _ in range(runs + 1)][1:]
    worker.stop()
    return Run(statistics.median(r.seconds for r in taken),
               statistics.median(r.cpu_seconds for r in taken))


def processor() -> str:
    """Return the name of the processor and the number of its cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {multiprocessing.cpu_count()} cores"


HEADER = (f"{'':<34}{'upstream s':>12}{'ours s':>9}{'ratio':>7}{'CPU s':>9}{'CPU s':>8}{'ratio':>7}"
          f"{'MiB':>8}{'MiB':>7}{'floor s':>9}{'reach':>7}")


def print_rows(rows: Iterable[Row]) -> None:
    """Print rows as a table, each as soon as it is there."""
    print(f"{processor()}\n{HEADER}")
    for row in rows:
        floor, reach = ("-" if x is None else f"{x:.3g}" for x in (row.floor_seconds, row.reach))
        print(f"{row.name:<34}{row.upstream_seconds:>12.3f}{row.our_seconds:>9.3f}"
              f"{row.ratio:>7.2f}{row.upstream_cpu_seconds:>9.3f}{row.our_cpu_seconds:>8.3f}"
              f"{row.cpu_ratio:>7.2f}{row.upstream_peak_mib:>8.0f}{row.our_peak_mib:>7.0f}"
              f"{floor:>9}{reach:>7}", flush=True)

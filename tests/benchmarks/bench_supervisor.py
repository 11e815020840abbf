"""Cost of supervisors: starting them, watching trials, and reading their status.

    .venv/bin/python tests/benchmarks/bench_supervisor.py --trials 1000

Start-up is beyond that of Python itself; the status is that of finished trials, in cached folders.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deepmac_ablate.launch import trial_status
from tests.helpers import supervised


def seconds(*arguments: str) -> float:
    """The median time that Python takes for something."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], env=supervised.ENVIRONMENT, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print three lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    bare, with_supervisor = (
        seconds("-c", code)
        for code in ("pass", "import deepmac_ablate.launch.supervision.supervisor"))
    print(f"start-up: {1000 * (with_supervisor - bare):.0f} ms beyond {1000 * bare:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder)
        work = supervised.job(sweep, supervised.OBEDIENT, heartbeat=5, silence_limit=60)
        with supervised.running(work) as supervisor:
            process = psutil.Process(supervisor.pid)
            before = sum(process.cpu_times()[:2])
            time.sleep(10)
            used = sum(process.cpu_times()[:2]) - before
            print(f"watching: {process.memory_info().rss / 2**20:.0f} MiB, {10 * used:.1f} % CPU")
            supervisor.terminate()
            supervisor.wait()
        state = (sweep / "state-train.json").read_text()
        folders = [sweep / f"{number:012x}" for number in range(trials)]
        for each in folders:
            each.mkdir()
            (each / "state-train.json").write_text(state)
            (each / "result.json").write_text('{"step": 1}')
        times = []
        for _ in range(3):
            started = time.perf_counter()
            for each in folders:
                trial_status.read_status(each)
            times.append(time.perf_counter() - started)
        print(f"status: {1e6 * min(times) / trials:.0f} us a finished trial")


if __name__ == "__main__":
    main()

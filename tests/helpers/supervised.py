"""Jobs whose command is a few lines of Python, and their supervisors and launchers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deepmac_ablate.launch.supervision.job import Job

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

# A trainer that leaves a checkpoint on SIGTERM.
OBEDIENT = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path("asked").write_text("yes")
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
pathlib.Path("ready").write_text("yes")
time.sleep(60)
"""

STUBBORN = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("ready").write_text("yes")
time.sleep(60)
"""

LAUNCHER = """
import pathlib, sys, time
from deepmac_ablate.launch.supervision import locks
lock = locks.FileLock.acquire(pathlib.Path(sys.argv[1]), locks.describe_this_process("a launcher"))
print("held", flush=True)
time.sleep(60)
"""


def python(code: str, *arguments: str) -> tuple[str, ...]:
    """Return a command; without `site`, which takes longer to load than the rest."""
    return (sys.executable, "-S", "-c", code, *arguments)


def job(folder: Path, code: str, role: str = "train", **fields) -> Job:
    """Return a job that runs some Python code in the trial's folder."""
    fields = {"heartbeat": 0.1, "grace": 5.0, **fields}
    return Job(folder, role, python(code), folder, **fields)


def command_of(work: Job) -> list[str]:
    """Write a job, and return the command of its supervisor."""
    return [sys.executable, "-m", "deepmac_ablate.launch.supervision.supervisor", str(work.write())]


def start(work: Job, **options) -> subprocess.Popen:
    """Start a supervisor."""
    return subprocess.Popen(command_of(work), **{"env": ENVIRONMENT, **options})


def run(work: Job) -> int:
    """Run a supervisor to its end; return its exit status."""
    return subprocess.run(command_of(work), env=ENVIRONMENT, timeout=30, check=False).returncode


@contextlib.contextmanager
def running(work: Job, **options) -> Iterator[subprocess.Popen]:
    """Yield a supervisor whose command has written "ready"."""
    ready = work.folder / "ready"
    ready.unlink(missing_ok=True)
    process = start(work, **options)
    try:
        wait_until(ready.exists)
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def launcher(lock: Path) -> Iterator[subprocess.Popen]:
    """Yield a process that holds a launcher's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(lock)], env=ENVIRONMENT, stdout=subprocess.PIPE)
    try:
        assert b"held\n" == process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until(condition, seconds: float = 20.0) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.01)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Yield a folder on a disk of its own; skip the test if mounting is not permitted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}M", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no mount here: {error}")
    if done.returncode:
        pytest.skip(f"no disk of {megabytes} MB here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write a file until its disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the living processes whose working directory is a folder, as that of jobs is."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                found.append(process)
    return found

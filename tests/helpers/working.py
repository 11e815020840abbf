"""Workers in separate processes, whose trainer is a few lines of Python.

::

    python -m tests.helpers.working TRAINER OPTIONS-OF-WORKER...
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from deepmac_ablate import errors
from deepmac_ablate.commands import worker as worker_command
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import worker
from deepmac_ablate.storage import file_io
from tests.helpers import supervised
from tests.helpers.launching import FAKE_TRAINER

# Runs the trial of a folder on a disk according to its bindings.
COUNTING = f"import runpy; runpy.run_path({FAKE_TRAINER!r})"

# Seconds between two signs of life on gs://, and seconds until a lock expires.
PACE = 0.3
TTL = 3.0


def start(
    trainer: str, *options: str, cwd: Path, environ: Mapping[str, str] | None = None, **others
) -> subprocess.Popen:
    """Start a worker whose trainer runs in `cwd` with folder, mode, tracking and bindings."""
    # A killed worker leaves its temporary folder behind.
    environ = {**supervised.ENVIRONMENT, "TMPDIR": str(cwd.parent), **(environ or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.working", trainer, *options],
        cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **others)


def run(
    trainer: str, *options: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a worker to its end; return its exit status, stdout and stderr."""
    process = start(trainer, *options, cwd=cwd, environ=environ)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@contextlib.contextmanager
def running(
    trainer: str, *options: str, cwd: Path, environ: Mapping[str, str] | None = None,
    seconds: float = 20.0,
) -> Iterator[subprocess.Popen]:
    """Yield a worker whose trainer has written "ready", within some seconds."""
    ready = cwd / "ready"
    ready.unlink(missing_ok=True)
    process = start(trainer, *options, cwd=cwd, environ=environ)
    try:
        supervised.wait_until(lambda: ready.exists() or process.poll() is not None, seconds)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def main(trainer: str, *options: str) -> int:
    """Run the worker command with another trainer."""
    parser = argparse.ArgumentParser()
    worker_command.register(parser.add_subparsers())
    args = parser.parse_args(["worker", *options])

    if file_io.is_remote(args.workdir):
        _hurry()

    def command(folder, mode, tracking, runtime):
        if "import tensorflow" in trainer:
            return (sys.executable, "-c", trainer, folder)
        return supervised.python(trainer, folder, mode, tracking, *runtime)

    try:
        return worker.run(worker_command.read_config(args), command)
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return errors.USER_ERROR


def _hurry() -> None:
    # Not imported for a disk.
    from deepmac_ablate.launch.supervision.gcs_lock import GcsLock

    worker.HEARTBEAT = PACE
    GcsLock.acquire = functools.partial(GcsLock.acquire, renewal=PACE, ttl=TTL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

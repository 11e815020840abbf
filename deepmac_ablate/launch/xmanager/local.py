"""Work units on this machine, run by XManager's local executor.

XManager starts every work unit at once; it has no limit on parallel jobs, no retries and no
resuming (https://github.com/google-deepmind/xmanager, docs/oss_xm_scope.md). The launcher does
that.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from xmanager import xm, xm_local
from xmanager.xm_local import execution

from deepmac_ablate.launch.xmanager.experiment import open_experiment

# Runs one work unit, given by name the files of the jobs that run at the same time, each with those
# that follow it. Returns once all jobs have ended, whether they succeeded or not.
RunUnit = Callable[[Mapping[str, Sequence[Path]]], Awaitable[None]]


@contextlib.asynccontextmanager
async def work_units(title: str, folder: Path) -> AsyncIterator[RunUnit]:
    """Open an experiment (see `open_experiment`).

    Yields:
        A function that runs a work unit.
    """
    # Supervisors stop by themselves when the launcher exits; XManager would not give them the time.
    atexit.unregister(execution._terminate_local_jobs)
    async with open_experiment(title, folder) as experiment:
        # The interpreter is the binary, so that nothing has to be packaged. The command and its
        # bindings are in the job file, so that no shell interprets them.
        [python] = experiment.package([
            xm.binary(path=sys.executable, executor_spec=xm_local.Local.Spec())])

        async def run_unit(jobs: Mapping[str, Sequence[Path]]) -> None:
            group = xm.JobGroup(**{name: _job(python, files) for name, files in jobs.items()})
            unit = await experiment.add(group)
            with contextlib.suppress(xm.ExperimentUnitError):
                await unit.wait_until_complete()
            # That call returns as soon as one job fails; the others notice and end, too.
            for handle in unit._local_execution_handles:
                with contextlib.suppress(RuntimeError):
                    await handle.wait()

        yield run_unit


def _job(python: xm.Executable, files: Sequence[Path]) -> xm.Job:
    return xm.Job(
        python,
        xm_local.Local(experimental_stream_output=False),
        args=["-m", "deepmac_ablate.launch.supervision.supervisor", *map(str, files)],
    )

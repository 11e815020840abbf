"""Work units on this machine, through XManager's local executor.

XManager starts whatever it is given at once, and neither counts, retries nor remembers
(https://github.com/google-deepmind/xmanager, docs/oss_xm_scope.md); that is the launcher's part.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from xmanager import xm, xm_local
from xmanager.xm_local import execution

from deepmac_ablate.launch.xmanager.experiment import experiment

# Runs the jobs of one work unit, given by name, and returns once all are over, however they ended.
RunUnit = Callable[[Mapping[str, Path]], Awaitable[None]]


@contextlib.asynccontextmanager
async def units(title: str, folder: Path) -> AsyncIterator[RunUnit]:
    """Make one experiment, see `experiment`.

    Yields:
        What runs a work unit: job files of supervisors by the names of XManager's jobs.
    """
    # Supervisors stop by themselves when the launcher is gone, and are given the time to.
    atexit.unregister(execution._terminate_local_jobs)
    async with experiment(title, folder) as made:
        # The interpreter is the binary, so that nothing has to be packaged; what to run and with
        # which bindings is in the job file, so that no shell ever sees it.
        [python] = made.package([
            xm.binary(path=sys.executable, executor_spec=xm_local.Local.Spec())])

        async def run(jobs: Mapping[str, Path]) -> None:
            group = xm.JobGroup(**{name: _job(python, file) for name, file in jobs.items()})
            unit = await made.add(group)
            with contextlib.suppress(xm.ExperimentUnitError):
                await unit.wait_until_complete()
            # That stops waiting once one job has failed; the others see it and end, too.
            for handle in unit._local_execution_handles:
                with contextlib.suppress(RuntimeError):
                    await handle.wait()

        yield run


def _job(python: xm.Executable, file: Path) -> xm.Job:
    return xm.Job(
        python,
        xm_local.Local(experimental_stream_output=False),
        args=["-m", "deepmac_ablate.launch.supervision.supervisor", str(file)],
    )

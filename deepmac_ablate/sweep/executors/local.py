"""Work units on this machine, through XManager's local executor.

XManager starts whatever it is given at once, and neither counts, retries nor remembers
(https://github.com/google-deepmind/xmanager, docs/oss_xm_scope.md); that is the launcher's part.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from absl import flags, logging
from xmanager import xm, xm_flags, xm_local
from xmanager.xm_local import execution
from xmanager.xm_local.storage import database

from deepmac_ablate.plain_json import to_json

# Runs the jobs of one work unit, given by name, and returns once all are over, however they ended.
RunUnit = Callable[[Mapping[str, Path]], Awaitable[None]]


@contextlib.asynccontextmanager
async def experiment(title: str, folder: Path) -> AsyncIterator[RunUnit]:
    """Makes one XManager experiment, to which work units are added while the context lasts.

    Args:
        title: Of the experiment.
        folder: Where XManager's database is kept; without effect where
            ``--xm_db_yaml_config_path`` names another.

    Yields:
        What runs a work unit: job files of supervisors by the names of XManager's jobs.
    """
    # Supervisors stop by themselves when the launcher is gone, and are given the time to.
    atexit.unregister(execution._terminate_local_jobs)
    with _database_in(folder):
        made = await xm_local.create_experiment(experiment_title=title).__aenter__()
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

        try:
            yield run
        finally:
            with _silence():
                await made.__aexit__(None, None, None)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hushes how XManager leaves: it announces jobs that are over, and raises if one failed.

    Supervisors have noted what became of their trials, and in more words.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(RuntimeError):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _job(python: xm.Executable, file: Path) -> xm.Job:
    return xm.Job(
        python,
        xm_local.Local(experimental_stream_output=False),
        args=["-m", "deepmac_ablate.sweep.supervisor", str(file)],
    )


@contextlib.contextmanager
def _database_in(folder: Path) -> Iterator[None]:
    """Keeps XManager's database beside the sweep instead of in the home directory."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    if xm_flags.DB_YAML_CONFIG_PATH.value is not None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _plain_name_of(folder.resolve()) as plain:
            settings = {"backend": "sqlite", "db_name": str(plain / "experiments.sqlite3")}
            config = plain / "database.yaml"
            # JSON is YAML.
            config.write_text(to_json(
                {"sql_connector": "sqlite", "sql_connection_settings": settings}, indent=2) + "\n")
            flags.FLAGS.xm_db_yaml_config_path = str(config)
            yield
    finally:
        flags.FLAGS.xm_db_yaml_config_path = None
        # XManager remembers its first database for as long as the process lives.
        for remembered in (
                database._db_config, database.db_connector, database.db_settings,
                database.database):
            remembered.cache_clear()


@contextlib.contextmanager
def _plain_name_of(folder: Path) -> Iterator[Path]:
    """Gives a folder a name that XManager's libraries can have in an address."""
    if re.fullmatch(r"[\w./-]+", str(folder), re.ASCII):
        yield folder
        return
    # alembic's configuration takes the % of an encoded quotation mark for one of its own.
    with tempfile.TemporaryDirectory(prefix="xmanager-") as temporary:
        link = Path(temporary, "database")
        link.symlink_to(folder, target_is_directory=True)
        yield link

"""Open an XManager experiment whose database is kept with the sweep."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from absl import flags, logging
from xmanager import xm_flags, xm_local
from xmanager.xm_local.storage import database

from deepmac_ablate.storage.strict_json import to_json


@contextlib.asynccontextmanager
async def open_experiment(title: str, folder: Path) -> AsyncIterator[xm_local.LocalExperiment]:
    """Create an experiment, to which work units are added while the context lasts.

    Args:
        title: The experiment's title.
        folder: The folder of XManager's database; ignored if ``--xm_db_yaml_config_path`` is given.
    """
    with _database_in(folder):
        experiment = await xm_local.create_experiment(experiment_title=title).__aenter__()
        try:
            yield experiment
        finally:
            with _silence():
                await experiment.__aexit__(None, None, None)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress XManager's messages on exit, and the error that it raises if a job failed.

    The workdir records how each job ended, in more detail.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(RuntimeError):
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _database_in(folder: Path) -> Iterator[None]:
    """Keep XManager's database in a folder of the sweep instead of the home directory."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    if xm_flags.DB_YAML_CONFIG_PATH.value is not None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _ascii_path(folder.resolve()) as plain:
            settings = {"backend": "sqlite", "db_name": str(plain / "experiments.sqlite3")}
            config = plain / "database.yaml"
            # JSON is valid YAML.
            config.write_text(to_json(
                {"sql_connector": "sqlite", "sql_connection_settings": settings}, indent=2) + "\n")
            flags.FLAGS.xm_db_yaml_config_path = str(config)
            yield
    finally:
        flags.FLAGS.xm_db_yaml_config_path = None
        # XManager caches its first database for the lifetime of the process.
        for cached in (
                database._db_config, database.db_connector, database.db_settings,
                database.database):
            cached.cache_clear()


@contextlib.contextmanager
def _ascii_path(folder: Path) -> Iterator[Path]:
    """Yield a path to a folder that XManager's libraries can put into a URL unquoted."""
    if re.fullmatch(r"[\w./-]+", str(folder), re.ASCII):
        yield folder
        return
    # Quoting does not help: alembic's configuration parser interprets the % signs.
    with tempfile.TemporaryDirectory(prefix="xmanager-") as temporary:
        link = Path(temporary, "database")
        link.symlink_to(folder, target_is_directory=True)
        yield link

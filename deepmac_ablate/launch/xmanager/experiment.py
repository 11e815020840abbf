"""Open an XManager experiment whose database is kept with the sweep."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import sqlalchemy.exc
from absl import flags, logging
from xmanager import xm_flags, xm_local
from xmanager.xm_local.storage import database

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import to_json

_DATABASE = "experiments.sqlite3"
# XManager wraps errors of its migrations into RuntimeError.
_FAULTS = (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, OSError, RuntimeError)


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
            _prepare_database(plain / _DATABASE)
            settings = {"backend": "sqlite", "db_name": str(plain / _DATABASE)}
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


def _prepare_database(path: Path) -> None:
    """Make the database unless a usable one is there; an unusable one is set aside.

    XManager's database lists what was started when. Nothing here reads it, so that a broken one is
    no reason not to launch.

    Raises:
        UserError: If no database can be made.
    """
    if path.exists() and (fault := _find_fault(path)):
        number = next(n for n in itertools.count(1) if not _numbered(path, n).exists())
        # With its journal, which would be applied to the next database of this name.
        for ending in ("", "-journal", "-wal", "-shm"):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(_numbered(path, number).with_name(
                    _numbered(path, number).name + ending))
        print(
            f"deepmac-ablate: XManager's database {path} cannot be used ({fault}). It is kept as "
            f"{_numbered(path, number).name}, and a new one is made.", file=sys.stderr)
    if path.exists():
        return
    # Made aside and renamed, so that a launch that is killed meanwhile leaves none or a whole one.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        _open(unfinished)
        unfinished.replace(path)
    except _FAULTS as error:
        raise UserError(
            f"XManager's database {path} cannot be made: {_first_sentence(error)}.") from error
    finally:
        for leftover in path.parent.glob(f"{path.name}.*.partial*"):
            leftover.unlink()


def _find_fault(path: Path) -> str | None:
    """Return why a database cannot be read and written; None if it can."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as connection:
            [[verdict], *_] = connection.execute("PRAGMA quick_check")
            if verdict != "ok":
                return verdict.splitlines()[0]
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        _open(path)
    except _FAULTS as error:
        return _first_sentence(error)
    return None


def _open(path: Path) -> None:
    """Open a database as XManager does, which makes its tables."""
    settings = database.SqlConnectionSettings(backend="sqlite", db_name=str(path))
    database.Database(database.SqliteConnector, settings).engine.dispose()


def _first_sentence(error: Exception) -> str:
    return str(error.__cause__ or error).splitlines()[0].partition(". ")[0].rstrip(".")


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-unusable-{number}{path.suffix}")


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

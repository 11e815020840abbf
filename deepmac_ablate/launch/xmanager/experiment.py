"""XManager's experiment of a launch, and where its database is kept."""

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
async def experiment(title: str, folder: Path) -> AsyncIterator[xm_local.LocalExperiment]:
    """Make an experiment, to which work units are added while the context lasts.

    Args:
        title: Of the experiment.
        folder: Where XManager's database is kept; without effect where
            ``--xm_db_yaml_config_path`` names another.
    """
    with _database_in(folder):
        made = await xm_local.create_experiment(experiment_title=title).__aenter__()
        try:
            yield made
        finally:
            with _silence():
                await made.__aexit__(None, None, None)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence how XManager leaves: it announces jobs that are over, and raise if one failed.

    What became of them is noted in the workdir, and in more words.
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
    """Keep XManager's database beside the sweep instead of in the home directory."""
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
    """Give a folder a name that XManager's libraries can have in an address."""
    if re.fullmatch(r"[\w./-]+", str(folder), re.ASCII):
        yield folder
        return
    # alembic's configuration takes the % of an encoded quotation mark for one of its own.
    with tempfile.TemporaryDirectory(prefix="xmanager-") as temporary:
        link = Path(temporary, "database")
        link.symlink_to(folder, target_is_directory=True)
        yield link

"""XManager's database: made at once or not at all, and set aside where it is broken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.xmanager.experiment import open_experiment


def open_once(folder):
    """Create an experiment, as a launch does, and return the number of those in the database."""

    async def run():
        async with open_experiment("title", folder):
            pass

    asyncio.run(run())
    with contextlib.closing(sqlite3.connect(folder / "experiments.sqlite3")) as connection:
        return connection.execute("SELECT count(*) FROM experiment").fetchone()[0]


def test_the_database_is_used_again(tmp_path, capsys):
    """Each launch adds an experiment, without a word and without other files."""
    assert [1, 2] == [open_once(tmp_path) for _ in range(2)]
    assert "" == capsys.readouterr().err
    assert ["database.yaml", "experiments.sqlite3"] == sorted(p.name for p in tmp_path.iterdir())


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def randomise(path):
    path.write_bytes(os.urandom(path.stat().st_size))


def alter_tables(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE alembic_version")
        connection.commit()


def age(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'unknown'")
        connection.commit()


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(("damage", "fault"), [
    (cut, "database disk image is malformed"),
    (randomise, "file is not a database"),
    (alter_tables, ".*table .* already exists"),
    (age, "Database is not up to date: current=unknown, latest="),
    (make_folder, "unable to open database file"),
])
def test_a_broken_database_is_set_aside(tmp_path, capsys, damage, fault):
    """The launch goes on with a new one, and the broken one is kept under another name."""
    open_once(tmp_path)
    damage(tmp_path / "experiments.sqlite3")
    assert 1 == open_once(tmp_path)
    printed = capsys.readouterr().err
    assert re.fullmatch(
        rf"deepmac-ablate: XManager's database \S+/experiments.sqlite3 cannot be used \({fault}.*\)"
        r"\. It is kept as experiments-unusable-1.sqlite3, and a new one is made\.\n", printed), (
            printed)
    assert (tmp_path / "experiments-unusable-1.sqlite3").exists()
    damage(tmp_path / "experiments.sqlite3")
    assert 1 == open_once(tmp_path)
    assert (tmp_path / "experiments-unusable-2.sqlite3").exists()


def test_a_locked_database_is_set_aside(tmp_path, capsys):
    """Whoever holds the lock keeps the file."""
    open_once(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "experiments.sqlite3")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert 1 == open_once(tmp_path)
    assert "cannot be used (database is locked)" in capsys.readouterr().err


def test_a_journal_goes_with_its_database(tmp_path):
    """It would be applied to the next database of the same name."""
    open_once(tmp_path)
    cut(tmp_path / "experiments.sqlite3")
    (tmp_path / "experiments.sqlite3-journal").write_bytes(b"journal")
    assert 1 == open_once(tmp_path)
    assert not (tmp_path / "experiments.sqlite3-journal").exists()


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    """Nothing half-made stays."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(UserError, match=r"XManager's database \S+ cannot be made: .*\.$"):
            open_once(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert not list(tmp_path.glob("experiments*"))
    assert 1 == open_once(tmp_path)


@pytest.mark.extended
@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_folder_that_can_be_used(tmp_path):
    """Processes are killed from 0 to 0.3 s after the first file of the database appears."""
    code = (
        "import sys, asyncio, pathlib\n"
        "from tests.launch.xmanager.test_experiment import open_once\n"
        "print('ready', flush=True)\n"
        "open_once(pathlib.Path(sys.argv[1]))")
    for number in range(12):
        folder = tmp_path / str(number)
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        while not list(folder.glob("experiments*")) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(number * 0.025)
        process.kill()
        process.wait()
        assert open_once(folder) in (1, 2)
        assert not list(folder.glob("*.partial*")), number

"""Locks that are held while their holder lives, and by one only."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import locks, processes
from tests.helpers import supervised


def test_a_lease_is_held_until_it_is_released(tmp_path):
    """Others see that it is, and by whom."""
    path = tmp_path / "lease"
    assert (False, None) == (locks.is_held(path), locks.read_holder(path))
    before = time.time()
    with locks.FileLock.acquire(path, locks.describe_this_process("a launcher")) as lease:
        assert locks.is_held(path)
        holder = locks.read_holder(path)
        assert ("a launcher", os.getpid(), os.uname().nodename) == (
            holder["what"], holder["pid"], holder["host"])
        assert before <= holder["started"] <= time.time()
        assert psutil.Process().username() == holder["user"]
    lease.release()
    assert (False, None) == (locks.is_held(path), locks.read_holder(path))


def test_a_lease_dies_with_its_holder(tmp_path):
    """However it dies."""
    path = tmp_path / "lease"
    with supervised.launcher(path) as launcher:
        assert locks.is_held(path)
        launcher.kill()
        launcher.wait()
        assert (False, None) == (locks.is_held(path), locks.read_holder(path))
    locks.FileLock.acquire(path, {}).release()


def test_who_has_a_lease_is_named(tmp_path):
    """With its age, and how to end it."""
    path = tmp_path / "lease"
    with supervised.launcher(path) as launcher:
        with pytest.raises(locks.LockHeldError) as caught:
            locks.FileLock.acquire(path, {"pid": 1})
        user = psutil.Process().username()
        pattern = (
            f"{tmp_path} is in use by a launcher on {os.uname().nodename} (pid {launcher.pid} of "
            f"user {user}, started N s ago); wait for it or end it there with `kill {launcher.pid}`"
            ".")
        started = str(caught.value).partition("started ")[2].partition(" s ago")[0]
        assert pattern == str(caught.value).replace(f"started {started} s", "started N s")
        assert 0 <= int(started) < 20
        assert launcher.pid == locks.read_holder(path)["pid"]


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(locks, "_SECONDS_OF_TRIES", 0.05)


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(31, r"3\d s"), (330, "5 min"), (7300, "2 h"), (3.4 * 86400, "3 d")])
@pytest.mark.usefixtures("_impatient")
def test_an_age_is_told_in_a_fitting_unit(tmp_path, seconds, age):
    """A launcher of last week is no launcher of a minute ago."""
    holder = {**locks.describe_this_process("a launcher"), "started": time.time() - seconds}
    with locks.FileLock.acquire(tmp_path / "lease", holder), pytest.raises(
            locks.LockHeldError, match=rf", started {age} ago\); "):
        locks.FileLock.acquire(tmp_path / "lease", {})


@pytest.mark.parametrize("written", ["", "{", "[1]"])
@pytest.mark.usefixtures("_impatient")
def test_a_lease_holds_without_its_text(tmp_path, written):
    """A disk may be full when it is taken; the message then names the file."""
    path = tmp_path / "lease"
    with locks.FileLock.acquire(path, {}):
        path.write_text(written)
        assert locks.is_held(path)
        assert locks.read_holder(path) is None
        with pytest.raises(locks.LockHeldError, match=r"another process, which holds lease;"):
            locks.FileLock.acquire(path, {})


def test_a_shorter_text_replaces_a_longer_one(tmp_path):
    """Nothing of the holder before is left."""
    path = tmp_path / "lease"
    locks.FileLock.acquire(path, {"what": "x" * 1000}).release()
    with locks.FileLock.acquire(path, {"pid": 1}):
        assert {"pid": 1} == json.loads(path.read_text()) == locks.read_holder(path)


def test_a_look_at_a_lease_does_not_keep_others_from_it(tmp_path):
    """A supervisor that looks at that moment has it for an instant."""
    path = tmp_path / "lease"
    path.write_text("")
    look = os.open(path, os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    assert not locks.is_held(path)
    end = threading.Timer(0.3, os.close, [look])
    end.start()
    locks.FileLock.acquire(path, {}).release()
    end.join()


def test_many_looks_do_not_disturb(tmp_path):
    """Nor do they take anything: the lease can be had between them, and all see it is held."""
    path = tmp_path / "lease"
    path.write_text("")
    code = (
        "import sys; from deepmac_ablate.launch.supervision import locks\n"
        "print(all([locks.is_held(sys.argv[1]) for _ in range(3000)]))")
    with locks.FileLock.acquire(path, {}):
        looks = [
            subprocess.Popen([sys.executable, "-c", code, path], env=supervised.ENVIRONMENT,
                             stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        assert ["True\n"] * 3 == [look.communicate()[0] for look in looks]
    assert not locks.is_held(path)


def test_programs_do_not_inherit_a_lease(tmp_path):
    """A launcher's children that outlive it do not stand for it; those that are given it do."""
    path = tmp_path / "lease"
    for given in (False, True):
        lease = locks.FileLock.acquire(path, {})
        child = subprocess.Popen(["sleep", "30"], pass_fds=[lease.descriptor] if given else [])
        lease.release()
        assert given == locks.is_held(path)
        child.kill()
        child.wait()
        assert not locks.is_held(path)


def test_a_lock_that_cannot_be_opened_is_named(tmp_path):
    """In a sentence."""
    with pytest.raises(UserError, match=f"^Cannot open the lock {tmp_path}/no/lease: "):
        locks.FileLock.acquire(tmp_path / "no" / "lease", {})


def test_a_process_is_told_from_others_of_its_number():
    """By its start; what is left of a dead one does not count."""
    child = subprocess.Popen(["sleep", "30"])
    start = processes.process_identity(child.pid)
    ticks = int(start.rpartition("/")[2])
    since_boot = psutil.Process(child.pid).create_time() - psutil.boot_time()
    assert abs(since_boot - ticks / os.sysconf("SC_CLK_TCK")) < 0.1
    # As versions before wrote it, so that either recognises the other's processes.
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert f"{boot}/{fields[19]}" == start
    assert start != processes.process_identity(os.getpid())
    child.kill()
    supervised.wait_until(
        lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert processes.process_identity(child.pid) is None
    child.wait()
    assert processes.process_identity(child.pid) is None

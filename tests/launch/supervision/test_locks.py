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


def test_a_lock_is_held_until_it_is_released(tmp_path):
    """Other processes see that a lock is held, and by whom, until it is released."""
    path = tmp_path / "lock"
    assert (False, None) == (locks.is_held(path), locks.read_holder(path))
    before = time.time()
    with locks.FileLock.acquire(path, locks.describe_this_process("a launcher")) as lock:
        assert locks.is_held(path)
        holder = locks.read_holder(path)
        assert ("a launcher", os.getpid(), os.uname().nodename) == (
            holder["what"], holder["pid"], holder["host"])
        assert before <= holder["started"] <= time.time()
        assert psutil.Process().username() == holder["user"]
    lock.release()
    assert (False, None) == (locks.is_held(path), locks.read_holder(path))


def test_a_lock_dies_with_its_holder(tmp_path):
    """The kernel releases the lock of a killed process."""
    path = tmp_path / "lock"
    with supervised.launcher(path) as launcher:
        assert locks.is_held(path)
        launcher.kill()
        launcher.wait()
        assert (False, None) == (locks.is_held(path), locks.read_holder(path))
    locks.FileLock.acquire(path, {}).release()


def test_the_holder_of_a_lock_is_named(tmp_path):
    """The error for a held lock describes the holder, its age and how to end it."""
    path = tmp_path / "lock"
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
def test_an_age_has_a_suitable_unit(tmp_path, seconds, age):
    """The age of a holder is given in the largest unit that fits."""
    holder = {**locks.describe_this_process("a launcher"), "started": time.time() - seconds}
    with locks.FileLock.acquire(tmp_path / "lock", holder), pytest.raises(
            locks.LockHeldError, match=rf", started {age} ago\); "):
        locks.FileLock.acquire(tmp_path / "lock", {})


@pytest.mark.parametrize("written", ["", "{", "[1]"])
@pytest.mark.usefixtures("_impatient")
def test_a_lock_holds_without_its_text(tmp_path, written):
    """A lock acquired on a full disk holds, and the message names its file."""
    path = tmp_path / "lock"
    with locks.FileLock.acquire(path, {}):
        path.write_text(written)
        assert locks.is_held(path)
        assert locks.read_holder(path) is None
        with pytest.raises(locks.LockHeldError, match=r"another process, which holds lock;"):
            locks.FileLock.acquire(path, {})


def test_a_shorter_text_replaces_a_longer_one(tmp_path):
    """The description of a new holder replaces the old one entirely."""
    path = tmp_path / "lock"
    locks.FileLock.acquire(path, {"what": "x" * 1000}).release()
    with locks.FileLock.acquire(path, {"pid": 1}):
        expected = {"pid": 1, "path": str(path)}
        assert expected == json.loads(path.read_text()) == locks.read_holder(path)


def test_a_copy_by_hard_links_has_no_lock_of_its_own(tmp_path):
    """It is not locked by its original, and cannot be locked, as both share their files."""
    (tmp_path / "a").mkdir()
    with locks.FileLock.acquire(tmp_path / "a/lock", {"pid": 1}):
        subprocess.run(["cp", "-al", tmp_path / "a", tmp_path / "b"], check=True)
        assert (True, False) == (
            locks.is_held(tmp_path / "a/lock"), locks.is_held(tmp_path / "b/lock"))
        assert locks.read_holder(tmp_path / "b/lock") is None
        with pytest.raises(UserError, match=(
                f"^{tmp_path}/b is a copy of {tmp_path}/a by hard links, so that both would write "
                "to the same files; make a copy with files of its own: cp -r[.]$")):
            locks.FileLock.acquire(tmp_path / "b/lock", {"pid": 2})
    # A backup by hard links does not stop the original; nor do other paths of it.
    (tmp_path / "c").symlink_to("a")
    locks.FileLock.acquire(tmp_path / "c/lock", {"pid": 3}).release()
    locks.FileLock.acquire(tmp_path / "a/lock", {"pid": 4}).release()
    # Without the original, the copy is a folder like others.
    (tmp_path / "a/lock").unlink()
    locks.FileLock.acquire(tmp_path / "b/lock", {"pid": 5}).release()


def test_a_look_at_a_lock_does_not_keep_others_from_it(tmp_path):
    """A process that tests a lock at that moment does not prevent another from acquiring it."""
    path = tmp_path / "lock"
    path.write_text("")
    look = os.open(path, os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    assert not locks.is_held(path)
    end = threading.Timer(0.3, os.close, [look])
    end.start()
    locks.FileLock.acquire(path, {}).release()
    end.join()


def test_many_looks_do_not_disturb(tmp_path):
    """Many processes that test a lock neither hold it nor hide that it is held."""
    path = tmp_path / "lock"
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


def test_programs_do_not_inherit_a_lock(tmp_path):
    """Child processes hold the lock only if its descriptor is passed to them."""
    path = tmp_path / "lock"
    for given in (False, True):
        lock = locks.FileLock.acquire(path, {})
        child = subprocess.Popen(["sleep", "30"], pass_fds=[lock.descriptor] if given else [])
        lock.release()
        assert given == locks.is_held(path)
        child.kill()
        child.wait()
        assert not locks.is_held(path)


def test_a_lock_that_cannot_be_opened_is_named(tmp_path):
    """A lock file that cannot be opened is reported in one sentence."""
    with pytest.raises(UserError, match=f"^Cannot open the lock {tmp_path}/no/lock: "):
        locks.FileLock.acquire(tmp_path / "no" / "lock", {})


def test_a_process_is_distinguished_from_others_with_its_pid():
    """A process is identified by its start, and a zombie has no identity."""
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

"""Leases on disks that cannot lock files for all machines."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from deepmac_ablate.launch.supervision import disk_lease, locks
from deepmac_ablate.launch.supervision.disk_lease import DiskLease
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from tests.helpers import launching, supervised
from tests.helpers.supervised import wait_until

HERE = locks.describe_this_process("a launcher")
ELSEWHERE = {**HERE, "host": "elsewhere"}

# A module that Python imports at its start.
WITHOUT_FLOCK = """
import errno, fcntl, os
def flock(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
fcntl.flock = flock
"""

HOLDER = """
import pathlib, sys, time
from deepmac_ablate.launch.supervision import disk_lease, locks
fields = {**locks.describe_this_process("a launcher"), "host": sys.argv[2]}
lease = disk_lease.DiskLease.acquire(pathlib.Path(sys.argv[1]), fields, ttl=1.0, renewal=0.2)
print("held", flush=True)
while not lease.taken_over:
    time.sleep(0.05)
print("lost", flush=True)
"""

# Adds to a number that is read and written while the lease is held.
COUNTER = """
import pathlib, sys, time
from deepmac_ablate.launch.supervision import disk_lease, locks
path, done = pathlib.Path(sys.argv[1]), 0
holder = locks.describe_this_process("a counter")
while done < 5:
    try:
        with disk_lease.DiskLease.acquire(path, holder):
            number = int(path.with_name("number").read_text())
            time.sleep(0.01)
            path.with_name("number").write_text(str(number + 1))
            done += 1
    except locks.LockHeldError:
        pass
"""


@pytest.fixture
def environment(tmp_path):
    """The environment of processes for which no file system has `flock`."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(WITHOUT_FLOCK)
    path = f"{tmp_path}/site:{supervised.ROOT}"
    return {**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path), "XDG_CACHE_HOME": ""}


@pytest.fixture
def _no_flock(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(locks, "_lease_reasons", {})


def start(code, *words):
    """Start a few lines of Python."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], env=supervised.ENVIRONMENT, stdout=subprocess.PIPE,
        text=True)


@pytest.mark.usefixtures("_no_flock")
def test_a_disk_without_locks_gets_leases(tmp_path):
    """They are held, described and released like locks, and leave only the lock's file behind."""
    path = tmp_path / "launcher.lock"
    assert "flock: Function not implemented" == locks.find_lease_reason(path)
    assert (False, None) == (locks.is_held(path), locks.read_holder(path))
    with locks.acquire(path, HERE) as lease:
        assert isinstance(lease, DiskLease)
        assert locks.is_held(path)
        assert os.getpid() == locks.read_holder(path)["pid"]
        with pytest.raises(locks.LockHeldError, match=(
                rf"^{tmp_path} is in use by a launcher on \S+ \(pid {os.getpid()} of user \S+, "
                r"started \d+ \w+ ago\), whose last sign of life is \d+ \w+ old; wait for it, or "
                "end it there")) as refused:
            locks.acquire(path, HERE)
        assert refused.value.can_expire
    assert (False, None) == (locks.is_held(path), locks.read_holder(path))
    assert [path] == list(tmp_path.iterdir())
    assert SweepWorkdir(tmp_path).xmanager != tmp_path / "xmanager"


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [("lustre", "rw,localflock,lazystatfs", "lustre, localflock"), ("lustre", "rw,flock", ""),
     ("nfs", "rw,vers=3,nolock,local_lock=all", "nfs, local_lock=all, nolock"),
     ("nfs4", "rw,vers=4.2,local_lock=none", ""), ("ext4", "rw", "")])
def test_locks_that_others_do_not_see_are_found(tmp_path, monkeypatch, kind, options, reason):
    """By the mount options of the file system that holds the folder."""
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4", opts="rw"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype=kind, opts=options),
        SimpleNamespace(mountpoint=f"{tmp_path}-2", fstype="nfs", opts="nolock")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    monkeypatch.setattr(locks, "_lease_reasons", {})
    assert reason == locks.find_lease_reason(tmp_path / "a.lock")
    with locks.acquire(tmp_path / "a.lock", HERE) as lock:
        assert bool(reason) == isinstance(lock, DiskLease)


def test_of_many_contenders_one_holds_the_lease(tmp_path):
    """Four processes add up a number, five times each, and none is lost."""
    (tmp_path / "number").write_text("0")
    processes = [start(COUNTER, str(tmp_path / "lock")) for _ in range(4)]
    assert [0] * 4 == [process.wait(60) for process in processes]
    assert "20" == (tmp_path / "number").read_text()


def test_a_dead_holder_on_this_machine_is_no_obstacle(tmp_path):
    """Its lease is free at once, however long it would last elsewhere."""
    path = tmp_path / "lock"
    holder = start(HOLDER, str(path), os.uname().nodename)
    assert "held\n" == holder.stdout.readline()
    assert disk_lease.read_holder(path) is not None
    holder.kill()
    holder.communicate()
    assert disk_lease.read_holder(path) is None
    DiskLease.acquire(path, HERE).release()


def test_a_silent_holder_elsewhere_loses_its_lease(tmp_path, monkeypatch):
    """The next one gets it after its time; the holder notices once it wakes up."""
    monkeypatch.setattr(disk_lease, "_SECONDS_BETWEEN_READS", 0.1)
    path = tmp_path / "lock"
    holder = start(HOLDER, str(path), "elsewhere")
    assert "held\n" == holder.stdout.readline()
    # It renews the lease: waiting is useless.
    before = time.monotonic()
    with pytest.raises(locks.LockHeldError):
        DiskLease.acquire(path, HERE, patience=30)
    assert time.monotonic() - before < 10
    holder.send_signal(signal.SIGSTOP)
    with DiskLease.acquire(path, HERE, patience=30) as lease:
        holder.send_signal(signal.SIGCONT)
        assert "lost\n" == holder.communicate(timeout=20)[0]
        assert not lease.taken_over


def test_a_file_lock_elsewhere_is_waited_for(tmp_path):
    """A file server keeps the locks of a machine that has crashed for a while."""
    path = tmp_path / "lock"
    lock = locks.FileLock.acquire(path, ELSEWHERE)
    release = threading.Timer(1.5, lock.release)
    release.start()
    locks.acquire(path, HERE, patience=30).release()
    release.join()
    with locks.FileLock.acquire(path, HERE), pytest.raises(locks.LockHeldError):
        locks.acquire(path, HERE, patience=30)


@pytest.mark.slow
def test_a_sweep_runs_and_resumes_on_a_disk_without_locks(tmp_path, environment):
    """Launcher, supervisors and trainers keep to the rules of locks; the launcher says so."""
    a_plan = launching.plan(("steps = 40", "seconds = 0.05"), ())

    def run():
        command = [sys.executable, "-m", "tests.helpers.launching",
                   json.dumps(a_plan.to_json()), str(tmp_path / "w"), "{}"]
        return subprocess.Popen(
            command, cwd=launching.ROOT, env=environment, stderr=subprocess.PIPE, text=True,
            start_new_session=True)

    first = run()
    wait_until(lambda: launching.starts(tmp_path / "w", "t0"), 60)
    second = run()
    assert f"in use by a launcher on {os.uname().nodename} (pid {first.pid} " in (
        second.communicate(timeout=60)[1])
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    third = run()
    said = third.communicate(timeout=60)[1]
    assert 0 == third.returncode, said
    assert ("is on a disk that does not lock files for all machines (flock: Function not "
            "implemented), so leases are used instead: what a crash leaves behind is free after "
            "90 s.") in said
    assert {"t0": "finished", "t1": "finished"} == launching.statuses(a_plan, tmp_path / "w")
    lines = (tmp_path / "w/trials/t0/metrics.jsonl").read_text().splitlines()
    assert set(range(1, 41)) == {json.loads(line)["step"] for line in lines}
    assert [] == list((tmp_path / "w/trials").rglob("*.lease"))

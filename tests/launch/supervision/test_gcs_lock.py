"""Locks on ``gs://``: one holder at a time, whatever dies, sleeps or is cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.supervision.gcs_lock import GcsLock
from tests.helpers import supervised

pytestmark = pytest.mark.slow  # Locks are waited for until they expire.

PATH = "gs://bucket/w/launcher.lock"
OBJECT = "bucket/w/launcher.lock"

# Acquires the lock on request, reports it, and then whether it was taken over on each request.
HOLDER = """
import sys
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.supervision.gcs_lock import GcsLock

path, ttl = sys.argv[1], float(sys.argv[2])
print("ready", flush=True)
input()
try:
    lock = GcsLock.acquire(path, locks.describe_this_process("a launcher"), 0.0, ttl, ttl / 5)
except locks.LockHeldError:
    print("taken", flush=True)
    sys.exit()
print("has it", flush=True)
for line in sys.stdin:
    print(lock.taken_over, flush=True)
"""


class Holder:
    """Another process, which takes the lock when it is told to."""

    def __init__(self, server, ttl):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, PATH, str(ttl)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=os.environ | server.environment())
        assert "ready\n" == self.process.stdout.readline()

    def ask(self):
        """Tell it to acquire the lock, and later to report whether it was taken over."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self):
        """Return what it says."""
        return self.process.stdout.readline().strip()

    def end(self):
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start(object_store):
    """Start other processes, which may take the lock for `ttl` seconds at a time."""
    started = []

    def one(ttl):
        started.append(Holder(object_store, ttl))
        return started[-1]

    yield one
    for holder in started:
        holder.end()


def acquire(**options):
    return GcsLock.acquire(PATH, locks.describe_this_process("a launcher"), **options)


@pytest.mark.usefixtures("object_store")
def test_a_lock_is_held_until_it_is_released():
    """Other processes see that a lock is held, and by whom; a released lock leaves no object."""
    assert (False, None) == (locks.is_held(PATH), locks.read_holder(PATH))
    with locks.acquire(PATH, locks.describe_this_process("a launcher")) as lock:
        assert (True, False) == (locks.is_held(PATH), lock.taken_over)
        holder = locks.read_holder(PATH)
        assert ("a launcher", os.getpid(), os.uname().nodename) == (
            holder["what"], holder["pid"], holder["host"])
        with pytest.raises(locks.LockHeldError):
            locks.acquire(PATH, {})
    lock.release()
    assert (False, None) == (locks.is_held(PATH), locks.read_holder(PATH))
    acquire().release()


def test_a_lock_on_a_disk_is_a_files(tmp_path, object_store):
    """`locks.acquire` takes a file lock for a path on a disk, without the object store."""
    with locks.acquire(tmp_path / "lock", {"pid": 1}):
        assert locks.is_held(tmp_path / "lock")
    assert [] == object_store.requests


def test_the_holder_of_a_lock_is_named(object_store):
    """The error describes the holder, its last sign of life, how to end it and when it expires."""
    object_store.seconds_ahead = -40.0
    with acquire():
        object_store.seconds_ahead = 0.0
        assert os.getpid() == json.loads(object_store.objects[OBJECT])["pid"]
        with pytest.raises(locks.LockHeldError) as caught:
            acquire()
    assert (
        f"^gs://bucket/w is in use by a launcher on {os.uname().nodename} (pid {os.getpid()} of "
        f"user {locks.describe_this_process('')['user']}, started N s ago), whose last sign of "
        f"life is N s old; wait for it or end it there with `kill {os.getpid()}`, or, if it is "
        "already dead, try again in N s.") == "^" + _without_seconds(str(caught.value))
    assert 38 <= _seconds(str(caught.value), "life is ") <= 45


def _without_seconds(message):
    for before in ("started ", "life is ", "again in "):
        seconds = message.partition(before)[2].partition(" s")[0]
        message = message.replace(f"{before}{seconds} s", f"{before}N s")
    return message


def _seconds(message, before):
    return int(message.partition(before)[2].partition(" s")[0])


def test_of_two_that_race_one_wins(start):
    """Exactly one of two racing processes acquires the lock, however often they try."""
    both = [start(60), start(60)]
    for holder in both:
        holder.ask()
    assert ["has it", "taken"] == sorted(holder.answer() for holder in both)


def test_a_dead_holder_is_taken_over(object_store, start):
    """The lock of a dead holder is acquired once it expires, and no sooner."""
    holder = start(2.0)
    holder.ask()
    assert "has it" == holder.answer()
    holder.end()
    with pytest.raises(locks.LockHeldError):
        acquire()
    died = time.monotonic()
    with acquire(patience=60.0):
        assert 0.5 < time.monotonic() - died
        assert os.getpid() == json.loads(object_store.objects[OBJECT])["pid"]


def test_a_living_holder_is_not_waited_for(start):
    """A renewal by the holder ends the wait long before patience does."""
    holder = start(2.0)
    holder.ask()
    assert "has it" == holder.answer()
    began = time.monotonic()
    with pytest.raises(locks.LockHeldError):
        acquire(patience=600.0)
    assert time.monotonic() - began < 60


def test_a_holder_that_slept_too_long_has_lost_it(start):
    """A holder that slept past the expiry notices, and leaves the new holder's lock alone."""
    holder = start(1.5)
    holder.ask()
    assert "has it" == holder.answer()
    holder.process.send_signal(signal.SIGSTOP)
    with acquire(patience=60.0) as lock:
        holder.process.send_signal(signal.SIGCONT)

        def knows() -> bool:
            holder.ask()
            return "True" == holder.answer()

        supervised.wait_until(knows)
        holder.process.stdin.close()
        assert 0 == holder.process.wait(20)
        assert locks.is_held(PATH)
        assert not lock.taken_over


def test_renewals_keep_it(object_store):
    """A renewed lock is held beyond its time to live, each renewal in a new generation."""
    with acquire(ttl=1.0, renewal=0.1) as lock:
        first = object_store.buckets["bucket"].objects["w/launcher.lock"].generation
        time.sleep(1.5)
        assert (False, True) == (lock.taken_over, locks.is_held(PATH))
        assert first < object_store.buckets["bucket"].objects["w/launcher.lock"].generation


@pytest.mark.parametrize("how", [503, "drop"])
def test_networks_may_fail_for_a_moment(object_store, how):
    """A holder keeps its lock through failures of the network."""
    with acquire(ttl=600.0, renewal=0.05) as lock:
        object_store.fail(how, 3)
        supervised.wait_until(lambda: not object_store.failing)
        assert not lock.taken_over


def test_an_expired_lock_is_renewed_if_it_is_still_free(object_store):
    """A lock that expired while its holder was offline is renewed once it is online again."""
    with acquire(ttl=1.0, renewal=0.1) as lock:
        object_store.fail("drop", 10_000)
        time.sleep(1.5)
        object_store.heal()
        supervised.wait_until(lambda: locks.is_held(PATH))
        assert not lock.taken_over
    assert {} == dict(object_store.objects)


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_a_holder_notices_that_its_lock_was_taken_over(object_store, change):
    """A holder notices that its object was replaced or deleted, and leaves the new one alone."""
    with acquire(ttl=60.0, renewal=0.05) as lock:
        with object_store.lock:
            del object_store.objects[OBJECT]
            if change == "replaced":
                object_store.objects[OBJECT] = b"theirs"
        supervised.wait_until(lambda: lock.taken_over)
    assert ({OBJECT: b"theirs"} if change == "replaced" else {}) == dict(object_store.objects)


def test_a_lost_answer_does_not_lose_the_lock(object_store):
    """A holder recognizes its own object if the answer to a request was lost."""
    object_store.fail("mute", method="POST")
    with acquire(ttl=60.0, renewal=0.05) as lock:
        for _ in range(3):
            object_store.fail("mute", method="POST")
            supervised.wait_until(lambda: not object_store.failing)
            first = object_store.buckets["bucket"].objects["w/launcher.lock"].generation
            supervised.wait_until(lambda first=first: first != object_store.buckets[
                "bucket"].objects["w/launcher.lock"].generation)
        assert not lock.taken_over
    assert {} == dict(object_store.objects)


@pytest.mark.parametrize("seconds", [-86400.0, 86400.0])
def test_this_machines_clock_does_not_matter(object_store, seconds):
    """The age of a lock is measured by the store's clock only."""
    object_store.seconds_ahead = seconds
    with acquire(ttl=30.0, renewal=10.0):
        assert locks.is_held(PATH)
        with pytest.raises(locks.LockHeldError):
            acquire()
        object_store.seconds_ahead = seconds + 31.0
        assert not locks.is_held(PATH)
        with acquire() as second:
            assert not second.taken_over


def test_an_illegible_lock_is_held_for_its_time(object_store):
    """A lock object without a legible holder is respected until it expires."""
    object_store.objects[OBJECT] = b"?"
    with pytest.raises(locks.LockHeldError, match="another process, which holds launcher"):
        acquire()
    assert (True, None) == (locks.is_held(PATH), locks.read_holder(PATH))
    object_store.seconds_ahead = 100.0
    with acquire():
        assert os.getpid() == locks.read_holder(PATH)["pid"]


@pytest.mark.usefixtures("object_store")
def test_problems_with_a_lock_are_reported(object_store):
    """A missing bucket and missing rights are reported in one sentence."""
    with pytest.raises(UserError, match=r"^There is no bucket gs://no\.$"):
        locks.acquire("gs://no/launcher.lock", {})
    object_store.fail(403, 3)
    with pytest.raises(UserError, match=f"^Access to {PATH} was denied: .*does not have storage"):
        acquire()

"""Leases on disks that cannot lock a file for all machines: their holders renew them.

Some file systems of clusters have no `flock`, or one that other machines do not see. There each
contender writes a file of its own beside the lock and then looks for others: of two, at least one
sees the other and withdraws. A holder that dies is known to be dead on its own machine, and on
others once its file has not been renewed for a while, by the clock of the file system.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from deepmac_ablate.launch.supervision import processes
from deepmac_ablate.launch.supervision.lock_holder import (
    RENEWAL,
    TTL,
    Lock,
    LockHeldError,
    in_use_message,
    parse_holder,
)
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.disk import StorageError

# Two that withdraw for one another try again for a while, at random moments.
_SECONDS_OF_TRIES = 1.0
_SECONDS_BETWEEN_READS = 2.0

# Mount options, by type of file system, with which locks do not reach other machines.
_LOCAL_LOCKS = {
    "lustre": {"localflock"}, "nfs": {"nolock", "local_lock=flock", "local_lock=all"},
    "nfs4": {"local_lock=flock", "local_lock=all"}}


class DiskLease(Lock):
    """Lock that is held until `release` or the end of the context, as long as it is renewed.

    Attributes:
        path: Lock file; the lease is another file beside it.
        descriptors: Empty: programs cannot inherit a lease.
    """

    descriptors: Sequence[int] = ()

    def __init__(self, path: Path, holder: Mapping[str, Any], ttl: float, renewal: float) -> None:
        self.path = path
        self._own = path.with_name(f"{path.name}.{uuid.uuid4().hex}.lease")
        self._text = json.dumps({**holder, "ttl": ttl}).encode() + b"\n"
        self._renewal = renewal
        self._taken_over = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease renewal", daemon=True)

    @classmethod
    def acquire(
        cls, path: Path, holder: Mapping[str, Any], patience: float = 0.0, ttl: float = TTL,
        renewal: float = RENEWAL,
    ) -> DiskLease:
        """Acquire a lease.

        Args:
            path: Lock file in an existing folder.
            holder: Description of the holder for others, such as `locks.describe_this_process`.
            patience: Seconds to wait for a holder that does not renew its lease.
            ttl: Seconds without renewal after which the lease expires.
            renewal: Seconds between two renewals.

        Raises:
            LockHeldError: If another process holds the lock; the message describes the holder.
            StorageError: If the folder cannot be written.
        """
        lease = cls(path, holder, ttl, renewal)
        lease._acquire(patience)
        lease._thread.start()
        return lease

    @property
    def taken_over(self) -> bool:
        """True once another process has found the lease expired."""
        return self._taken_over

    def release(self) -> None:
        """Release the lease."""
        if not self._released.is_set():
            self._released.set()
            self._thread.join()
            self._own.unlink(missing_ok=True)

    def _acquire(self, patience: float) -> None:
        started = time.monotonic()
        first: dict[Path, float] = {}
        while True:
            try:
                disk.write(self._own, self._text)
            except OSError as error:
                raise StorageError(
                    f"Cannot write the lease {self._own}: {error.strerror}.") from error
            with disk.translating_errors(self._own):
                others = [each for each in _read_leases(self.path) if each.path != self._own]
                now = self._own.stat().st_mtime
            alive = [each for each in others if each.is_alive(now)]
            if not alive:
                for each in others:
                    each.path.unlink(missing_ok=True)
                # For people, and for those who ask whether there ever was a holder.
                with contextlib.suppress(OSError):
                    disk.write(self.path, self._text)
                return
            self._own.unlink(missing_ok=True)
            renewed = any(each.renewed > first.get(each.path, each.renewed) for each in alive)
            first = {each.path: each.renewed for each in alive} | first
            waited = time.monotonic() - started
            if waited > _SECONDS_OF_TRIES and (renewed or waited > patience):
                raise LockHeldError(_held_message(self.path, alive[0], now))
            time.sleep(
                random.uniform(0.05, 0.2) if waited < _SECONDS_OF_TRIES else _SECONDS_BETWEEN_READS)

    def _renew(self) -> None:
        while not self._released.wait(self._renewal) and not self._taken_over:
            try:
                os.utime(self._own)
            except FileNotFoundError:
                self._taken_over = True
            except OSError:
                # A file system that does not answer now; the lease holds as long as nobody asks.
                continue


class _Lease(NamedTuple):
    """Lease file, the description of its holder, and the time of its last renewal."""

    path: Path
    holder: dict[str, Any]
    renewed: float

    @property
    def ttl(self) -> float:
        """Seconds without renewal after which it expires."""
        ttl = self.holder.get("ttl")
        return ttl if isinstance(ttl, int | float) else TTL

    def is_alive(self, now: float) -> bool:
        """Return whether it has not expired, and its holder is not known to be dead."""
        pid, started = self.holder.get("pid"), self.holder.get("process_started")
        if self.holder.get("host") == os.uname().nodename and pid and started:
            return processes.process_identity(pid) == started
        return now - self.renewed < self.ttl


def read_holder(path: Path) -> dict[str, Any] | None:
    """Return the description of a lock's holder; None if no lease of it is valid."""
    with disk.translating_errors(path):
        leases = _read_leases(path)
    return next((lease.holder for lease in leases if lease.is_alive(time.time())), None)


def find_local_locks(path: Path) -> str:
    """Return why a lock on a disk is not seen by other machines; empty if nothing tells so.

    Returns:
        The type of the file system and the mount option, such as "lustre, localflock".
    """
    folder = os.path.realpath(path.parent)
    mounts = [
        mount for mount in psutil.disk_partitions(all=True)
        if os.path.commonpath([mount.mountpoint, folder]) == mount.mountpoint]
    if not mounts:
        return ""
    mount = max(mounts, key=lambda mount: len(mount.mountpoint))
    options = _LOCAL_LOCKS.get(mount.fstype, set()).intersection(mount.opts.split(","))
    return ", ".join([mount.fstype, *sorted(options)]) if options else ""


def _read_leases(path: Path) -> list[_Lease]:
    """Return the leases of a lock, expired ones included."""
    found = []
    for own in path.parent.glob(f"{path.name}.*.lease"):
        # Leases come and go.
        with contextlib.suppress(FileNotFoundError):
            renewed = own.stat().st_mtime
            text = disk.read(own)
            if text is not None:
                found.append(_Lease(own, parse_holder(text) or {}, renewed))
    return found


def _held_message(path: Path, lease: _Lease, now: float) -> str:
    left = lease.ttl - (now - lease.renewed)
    return (
        f"{in_use_message(path, lease.holder or None)}, whose last sign of life is "
        f"{max(0.0, now - lease.renewed):.0f} s old; wait for it, or end it there with `kill "
        f"{lease.holder.get('pid', 'unknown')}`, or, if it is already dead, try again in "
        f"{max(0.0, left):.0f} s.")

"""Locks on ``gs://``: objects that their holders renew, and that expire without renewal.

An object is created, renewed, taken over and deleted only in the generation that was read before,
so of several processes only one succeeds. The age of a renewal is measured by the store's clock.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from deepmac_ablate.launch.supervision.lock_holder import (
    RENEWAL,
    TTL,
    Lock,
    LockHeldError,
    in_use_message,
    parse_holder,
)
from deepmac_ablate.storage.gcs import ObjectStore, TimeLimits
from deepmac_ablate.storage.gcs_errors import StorageError

# Upper limit between two reads of a lock whose holder gives no sign of life.
_SECONDS_BETWEEN_READS = 5.0
# Well below `TTL`, so that a renewal is tried several times before the lock expires.
_LIMITS = TimeLimits(connect=5.0, read=10.0, tries=12.0)


class GcsLock(Lock):
    """Lock that is held until `release` or the end of the context, as long as it is renewed.

    A thread renews it, and tries again while the store cannot be reached.

    Attributes:
        path: Lock object, such as "gs://bucket/w/launcher.lock".
    """

    def __init__(
        self, path: str, holder: Mapping[str, Any], ttl: float, renewal: float
    ) -> None:
        self.path = path
        self._store = ObjectStore(_LIMITS)
        # Distinguishes our own object from others' if the answer to a request was lost.
        self._token = uuid.uuid4().hex
        self._holder = {**holder, "ttl": ttl, "token": self._token}
        self._renewal = renewal
        self._generation = 0
        self._taken_over = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lock renewal", daemon=True)

    @classmethod
    def acquire(
        cls,
        path: str,
        holder: Mapping[str, Any],
        patience: float = 0.0,
        ttl: float = TTL,
        renewal: float = RENEWAL,
    ) -> GcsLock:
        """Acquire a lock.

        Args:
            path: Lock object, such as "gs://bucket/w/launcher.lock".
            holder: Description of the holder for others, such as `locks.describe_this_process`.
            patience: Seconds to wait for a holder that does not renew the lock. It may be dead,
                which is certain after its `ttl`; once it renews the lock, waiting is useless.
            ttl: Seconds without renewal after which the lock expires.
            renewal: Seconds between two renewals.

        Raises:
            LockHeldError: If another process holds the lock; the message describes the holder.
            StorageError: If the store refuses access or cannot be reached.
        """
        lock = cls(path, holder, ttl, renewal)
        lock._acquire(patience)
        lock._thread.start()
        return lock

    @property
    def taken_over(self) -> bool:
        """True once another process has taken the lock over or deleted it.

        A store that cannot be reached does not make it true: a holder that could not renew the lock
        keeps it as long as no other process asks for it.
        """
        return self._taken_over

    def release(self) -> None:
        """Release the lock, at once if the store can be reached and else when it expires."""
        if self._released.is_set():
            return
        self._released.set()
        self._thread.join()
        with contextlib.suppress(StorageError):
            self._store.delete_generation(self.path, self._generation)

    def _acquire(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        first: _StoredLock | None = None
        generation = 0
        while not self._write(generation):
            stored = _read_lock(self._store, self.path)
            if stored is None:
                # Released in the meantime.
                generation = 0
                continue
            if self._adopt(stored):
                return
            if stored.seconds_left <= 0:
                generation = stored.generation
                continue
            first = first or stored
            left = min(stored.seconds_left, deadline - time.monotonic(), _SECONDS_BETWEEN_READS)
            if stored.generation != first.generation or left <= 0:
                raise LockHeldError(_held_message(self.path, stored))
            time.sleep(left)
            generation = 0

    def _renew(self) -> None:
        while not self._released.wait(self._renewal) and not self._taken_over:
            with contextlib.suppress(StorageError):
                if not self._write(self._generation):
                    stored = _read_lock(self._store, self.path)
                    self._taken_over = stored is None or not self._adopt(stored)

    def _write(self, generation: int) -> bool:
        """Write the object if its generation is this one, where 0 means that it is missing."""
        text = json.dumps(self._holder)
        # Readers use the metadata, which come together with the generation.
        written = self._store.write_generation(
            self.path, f"{text}\n".encode(), {"holder": text}, replaced=generation)
        if written is None:
            return False
        self._generation = written
        return True

    def _adopt(self, stored: _StoredLock) -> bool:
        """Adopt an object that this lock wrote in a request whose answer was lost."""
        if stored.holder.get("token") != self._token:
            return False
        self._generation = stored.generation
        return True


class _StoredLock(NamedTuple):
    """State of a lock object.

    Attributes:
        generation: Generation of the object.
        holder: Description of the holder; empty if it is illegible.
        age: Seconds since the last renewal, by the store's clock.
    """

    generation: int
    holder: dict[str, Any]
    age: float

    @property
    def seconds_left(self) -> float:
        """Seconds until the lock expires."""
        ttl = self.holder.get("ttl")
        return (ttl if isinstance(ttl, int | float) else TTL) - self.age


def read_holder(path: str) -> dict[str, Any] | None:
    """Return the description of a lock's holder; None if the lock is free.

    Raises:
        StorageError: If the store refuses access or cannot be reached.
    """
    stored = _read_lock(ObjectStore(_LIMITS), path)
    return None if stored is None or stored.seconds_left <= 0 else stored.holder


def _read_lock(store: ObjectStore, path: str) -> _StoredLock | None:
    """Return the state of a lock object; None if it is missing."""
    found = store.find_generation(path)
    if found is None:
        return None
    holder = parse_holder(found.metadata.get("holder", "").encode())
    return _StoredLock(found.number, holder or {}, found.age)


def _held_message(path: str, stored: _StoredLock) -> str:
    kill = f"end it there with `kill {stored.holder.get('pid', 'unknown')}`"
    return (
        f"{in_use_message(path, stored.holder or None)}, whose last sign of life is "
        f"{stored.age:.0f} s old; wait for it or {kill}, or, if it is already dead, try again in "
        f"{stored.seconds_left:.0f} s.")

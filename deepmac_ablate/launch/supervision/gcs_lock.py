"""Locks on ``gs://``: objects that their holders renew, and that others take once they are not.

An object is made, renewed, taken over and deleted only in the generation that was seen before, so
that of several processes one does so. How long it was not renewed, the store's clock says.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

from deepmac_ablate.launch.supervision import lock_holder
from deepmac_ablate.launch.supervision.lock_holder import Taken
from deepmac_ablate.storage.gcs import ObjectStore, TimeLimits
from deepmac_ablate.storage.gcs_errors import StorageError

# After so many seconds without renewal others may take a lock.
TTL = 90.0
# Seconds between two renewals.
RENEWAL = 15.0

# Between two looks at a holder that gives no sign of life, at most.
_SECONDS_BETWEEN_LOOKS = 5.0
# Well below `TTL`, so that a renewal is tried several times before others may take the lock.
_LIMITS = TimeLimits(connect=5.0, read=10.0, tries=12.0)


class RemoteLease:
    """A lock that is held until `release` or the end of the context, as long as it is renewed.

    A thread renews it. Where that fails because the store cannot be reached, it is tried again.

    Attributes:
        path: The object.
    """

    def __init__(
        self, path: str, holder: Mapping[str, Any], ttl: float, renewal: float
    ) -> None:
        self.path = path
        self._store = ObjectStore(_LIMITS)
        # Tells our own object from others', where the answer to a request was lost.
        self._token = uuid.uuid4().hex
        self._holder = {**holder, "ttl": ttl, "token": self._token}
        self._ttl = ttl
        self._renewal = renewal
        self._generation = 0
        self._renewed = -float("inf")
        self._is_lost = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    def acquire(
        cls,
        path: str,
        holder: Mapping[str, Any],
        patience: float = 0.0,
        ttl: float = TTL,
        renewal: float = RENEWAL,
    ) -> RemoteLease:
        """Take a lock, or say who has it.

        Args:
            path: Such as "gs://bucket/w/launcher.lock".
            holder: For others to read, such as `holders.this_process`.
            patience: Seconds to wait for a holder that does not renew it. It may be dead, which is
                certain after its `ttl`; once it renews it, there is nothing to wait for.
            ttl: Seconds without renewal after which others may take it.
            renewal: Seconds between two renewals.

        Raises:
            Taken: If another process holds it.
            StorageError: If the store refuses, or cannot be reached.
        """
        lease = cls(path, holder, ttl, renewal)
        lease._acquire(patience)
        lease._thread.start()
        return lease

    @property
    def lost(self) -> bool:
        """Whether somebody else may have it by now.

        That is so for good once somebody has it, and else for as long as it could not be renewed.
        """
        return self._is_lost or time.monotonic() - self._renewed > self._ttl

    @property
    def taken_over(self) -> bool:
        """Whether somebody else has it for certain; a store out of reach is no reason to think so.

        For holders that can do no harm without the store, but would lose what they did so far.
        """
        return self._is_lost

    def release(self) -> None:
        """Let others have it, at once if the store can be reached."""
        if self._released.is_set():
            return
        self._released.set()
        self._thread.join()
        # Otherwise it is free after its time.
        with contextlib.suppress(StorageError):
            self._store.delete_generation(self.path, self._generation)

    def __enter__(self) -> RemoteLease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _acquire(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        first: _Seen | None = None
        generation = 0
        while not self._write(generation):
            seen = _find_lock(self._store, self.path)
            if seen is None:
                # Released meanwhile.
                generation = 0
                continue
            if self._adopts(seen):
                return
            if seen.seconds_left <= 0:
                generation = seen.generation
                continue
            first = first or seen
            left = min(seen.seconds_left, deadline - time.monotonic(), _SECONDS_BETWEEN_LOOKS)
            if seen.generation != first.generation or left <= 0:
                raise Taken(_taken_message(self.path, seen))
            time.sleep(left)
            generation = 0

    def _renew(self) -> None:
        while not self._released.wait(self._renewal) and not self._is_lost:
            # Once more until it works, or somebody else has it.
            with contextlib.suppress(StorageError):
                if not self._write(self._generation):
                    seen = _find_lock(self._store, self.path)
                    self._is_lost = seen is None or not self._adopts(seen)

    def _write(self, generation: int) -> bool:
        """Write the object if it is in a generation, 0 meaning that it is not there."""
        began = time.monotonic()
        text = json.dumps(self._holder)
        # The metadata are what is read: they come together with the generation.
        written = self._store.write_generation(
            self.path, f"{text}\n".encode(), {"holder": text}, replaced=generation)
        if written is None:
            return False
        self._generation, self._renewed = written, began
        return True

    def _adopts(self, seen: _Seen) -> bool:
        """Take an object for what was written last, if it is our own: the answer was lost."""
        if seen.holder.get("token") != self._token:
            return False
        self._generation, self._renewed = seen.generation, time.monotonic() - seen.age
        return True


class _Seen(NamedTuple):
    """A lock's object.

    Attributes:
        generation: Of the object.
        holder: What its holder wrote; empty where it is not legible.
        age: Seconds since it was renewed, by the store's clock.
    """

    generation: int
    holder: dict[str, Any]
    age: float

    @property
    def seconds_left(self) -> float:
        """Seconds until others may take it."""
        ttl = self.holder.get("ttl")
        return (ttl if isinstance(ttl, int | float) else TTL) - self.age


def _find_lock(store: ObjectStore, path: str) -> _Seen | None:
    """Return the lock that is there; None where there is none."""
    found = store.find_generation(path)
    if found is None:
        return None
    try:
        holder = json.loads(found.metadata.get("holder", ""))
    except ValueError:
        holder = {}
    return _Seen(found.number, holder if isinstance(holder, dict) else {}, found.age)


def holder(path: str) -> dict[str, Any] | None:
    """Return what the holder of a lock wrote; None where nobody holds it.

    Raises:
        StorageError: If the store refuses, or cannot be reached.
    """
    seen = _find_lock(ObjectStore(_LIMITS), path)
    return None if seen is None or seen.seconds_left <= 0 else seen.holder


def _taken_message(path: str, seen: _Seen) -> str:
    kill = f"end it there with `kill {seen.holder.get('pid', 'unknown')}`"
    return (
        f"{lock_holder.in_use(path, seen.holder or None)}, whose last sign of life is "
        f"{seen.age:.0f} s old; wait for it or {kill}, or, if it is dead already, try again in "
        f"{seen.seconds_left:.0f} s.")

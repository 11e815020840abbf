"""Finished trials that were read before: a thousand of them are a table again within a second.

One file for each workdir on a disk, in the user's cache folder. It only saves time: a trial whose
files have changed is read anew, and so are all where the file is broken or of another version.
"""

from __future__ import annotations

import array
import contextlib
import functools
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.results.loading import source, trial_folder
from deepmac_ablate.results.loading.source import Record
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.user_cache import user_cache

_METRICS = Record._fields.index("metrics")
_DIGEST = 32
_LENGTH = struct.Struct("<Q")


class Entry(NamedTuple):
    """A finished trial.

    Attributes:
        stamps: What `stamps` returned before it was read.
        record: The trial, as `trial_folder.read` returned it.
    """

    stamps: list[Any]
    record: Record


def stamps(folder: str) -> list[Any]:
    """Return what changes when the files of a finished trial do, on a disk."""
    return [
        None if (stamp := bindings.file_stamp(f"{folder}/{name}")) is None else list(stamp)
        for name in trial_folder.WATCHED]


def load(workdir: str) -> dict[str, Entry]:
    """Return the finished trials of a workdir that were kept, by the names of their folders."""
    # What cannot be read is nothing that was kept by this version.
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError, struct.error):
        content = _path(workdir).read_bytes()
        digest, body = content[:_DIGEST], memoryview(content)[_DIGEST:]
        if digest == _digest(body):
            return _decoded(body)
    return {}


def save(workdir: str, entries: Mapping[str, Entry]) -> None:
    """Keep finished trials in place of those that were kept before.

    Args:
        workdir: Their sweep's, on a disk.
        entries: By the names of their folders.
    """
    body, path = _encoded(entries), _path(workdir)
    # A home without room or rights is no reason to show nothing.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write(path, _digest(body) + body)


def _encoded(entries: Mapping[str, Entry]) -> bytes:
    """Return the length of a JSON text, the text, and all numbers, as they are most of it.

    Names of numbers, which are mostly the same, are written only once.
    """
    names: dict[tuple[str, ...], int] = {}
    trials, numbers = [], array.array("d")
    for folder, (stamps_, kept) in entries.items():
        fields = list(kept._replace(levels=dict(kept.levels), metrics={}))
        trials.append([folder, stamps_, names.setdefault(tuple(kept.metrics), len(names)), fields])
        numbers.extend(kept.metrics.values())
    text = json.dumps({"names": list(names), "trials": trials}).encode()
    return _LENGTH.pack(len(text)) + text + numbers.tobytes()


def _decoded(body: memoryview) -> dict[str, Entry]:
    [length] = _LENGTH.unpack_from(body)
    content = json.loads(bytes(body[_LENGTH.size : _LENGTH.size + length]))
    numbers = array.array("d")
    numbers.frombytes(body[_LENGTH.size + length :])
    values = iter(numbers.tolist())
    entries = {}
    for folder, stamps_, number, fields in content["trials"]:
        # The names end first, so that no number of the next trial is taken.
        fields[_METRICS] = dict(zip(content["names"][number], values, strict=False))
        entries[folder] = Entry(stamps_, Record(*fields))
    return entries


def _path(workdir: str) -> Path:
    name = hashlib.sha256(os.path.realpath(workdir).encode()).hexdigest()[:16]
    return user_cache("results", f"{name}.json")


def _digest(body: bytes | memoryview) -> bytes:
    """Return a hash of a content and of the code that made it of files."""
    digest = hashlib.sha256(_code())
    digest.update(body)
    return digest.digest()


@functools.cache
def _code() -> bytes:
    modules = (__file__, source.__file__, trial_folder.__file__)
    return b"".join(Path(module).read_bytes() for module in modules)

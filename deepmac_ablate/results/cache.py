"""Finished trials that were read before: ten thousand of them are a table again within seconds.

One file for each workdir on a disk, in the user's cache folder. It only saves time: a trial whose
files have changed is read anew, and so are all where the file is broken or of another version.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deepmac_ablate import bindings, disk
from deepmac_ablate.results.sources import record, trial_folder
from deepmac_ablate.results.sources.record import Record
from deepmac_ablate.sweep import verdict_cache

_METRICS = Record._fields.index("metrics")
_DIGEST = 32


class Entry(NamedTuple):
    """A finished trial.

    Attributes:
        stamps: What `stamps` returned before it was read.
        record: The trial, as `trial_folder.read` returned it.
    """

    stamps: list[Any]
    record: Record


def stamps(folder: str) -> list[Any]:
    """Returns what changes when the files of a finished trial do, on a disk."""
    return [
        None if (stamp := bindings.stamp(f"{folder}/{name}")) is None else list(stamp)
        for name in trial_folder.WATCHED]


def load(workdir: str) -> dict[str, Entry]:
    """Returns the finished trials of a workdir that were kept, by the names of their folders."""
    # What cannot be read is nothing that was kept by this version.
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
        content = _path(workdir).read_bytes()
        digest, text = content[:_DIGEST], content[_DIGEST:]
        if digest == _digest(text):
            return _decoded(json.loads(text))
    return {}


def save(workdir: str, entries: Mapping[str, Entry]) -> None:
    """Keeps finished trials in place of those that were kept before.

    Args:
        workdir: Their sweep's, on a disk.
        entries: By the names of their folders.
    """
    text = json.dumps(_encoded(entries), ensure_ascii=False).encode()
    path = _path(workdir)
    # A home without room or rights is no reason to show nothing.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write(path, _digest(text) + text)


def _encoded(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Returns trials as JSON has them; names of numbers, which are mostly the same, only once."""
    names: dict[tuple[str, ...], int] = {}
    trials = []
    for folder, (stamps_, kept) in entries.items():
        fields = list(kept)
        fields[_METRICS] = list(kept.metrics.values())
        trials.append([folder, stamps_, names.setdefault(tuple(kept.metrics), len(names)), fields])
    return {"names": list(names), "trials": trials}


def _decoded(content: Mapping[str, Any]) -> dict[str, Entry]:
    names, entries = content["names"], {}
    for folder, stamps_, number, fields in content["trials"]:
        fields[_METRICS] = dict(zip(names[number], fields[_METRICS], strict=True))
        entries[folder] = Entry(stamps_, Record(*fields))
    return entries


def _path(workdir: str) -> Path:
    name = hashlib.sha256(os.path.realpath(workdir).encode()).hexdigest()[:16]
    return verdict_cache.default_path().parent / "results" / f"{name}.json"


def _digest(text: bytes) -> bytes:
    """Returns a hash of a content and of the code that made it of files."""
    return hashlib.sha256(_code() + text).digest()


@functools.cache
def _code() -> bytes:
    modules = (__file__, record.__file__, trial_folder.__file__)
    return b"".join(Path(module).read_bytes() for module in modules)

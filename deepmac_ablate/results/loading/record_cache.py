"""Cache of the records of finished trials, so that a large workdir loads quickly again.

Each local workdir has one file in the user's cache folder. The cache only saves time: a trial whose
files have changed is read again, and so are all trials if the file is broken or was written by
another version.
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
from deepmac_ablate.results.loading.source import TrialRecord
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.user_cache import user_cache_path

_METRICS = TrialRecord._fields.index("metrics")
_DIGEST = 32
_LENGTH = struct.Struct("<Q")


class CachedTrial(NamedTuple):
    """The record of a finished trial.

    Attributes:
        stamps: The result of `file_stamps` before the files were read.
        record: The result of `trial_folder.read_trial_folder`.
    """

    stamps: list[Any]
    record: TrialRecord


def file_stamps(folder: str) -> list[Any]:
    """Return values that change when the files of a finished trial on a disk change."""
    return [
        None if (stamp := bindings.file_stamp(f"{folder}/{name}")) is None else list(stamp)
        for name in trial_folder.WATCHED]


def read_cache(workdir: str) -> dict[str, CachedTrial]:
    """Return the cached trials of a workdir by the names of their folders."""
    # A file that cannot be decoded was not written by this version.
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError, struct.error):
        content = _cache_path(workdir).read_bytes()
        digest, body = content[:_DIGEST], memoryview(content)[_DIGEST:]
        if digest == _digest(body):
            return _decode(body)
    return {}


def write_cache(workdir: str, trials: Mapping[str, CachedTrial]) -> None:
    """Replace the cached trials of a workdir.

    Args:
        workdir: The workdir of a sweep on a disk.
        trials: The trials by the names of their folders.
    """
    body, path = _encode(trials), _cache_path(workdir)
    # Results can be shown even if the cache folder is full or read-only.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write(path, _digest(body) + body)


def _encode(trials: Mapping[str, CachedTrial]) -> bytes:
    """Return the length of a JSON text, the text, and the metrics of all trials in binary.

    The metrics are most of the content. Their names, which most trials share, are written once.
    """
    names: dict[tuple[str, ...], int] = {}
    encoded, numbers = [], array.array("d")
    for folder, (stamps, record) in trials.items():
        fields = list(record._replace(levels=dict(record.levels), metrics={}))
        group = names.setdefault(tuple(record.metrics), len(names))
        encoded.append([folder, stamps, group, fields])
        numbers.extend(record.metrics.values())
    text = json.dumps({"names": list(names), "trials": encoded}).encode()
    return _LENGTH.pack(len(text)) + text + numbers.tobytes()


def _decode(body: memoryview) -> dict[str, CachedTrial]:
    [length] = _LENGTH.unpack_from(body)
    content = json.loads(bytes(body[_LENGTH.size : _LENGTH.size + length]))
    numbers = array.array("d")
    numbers.frombytes(body[_LENGTH.size + length :])
    values = iter(numbers.tolist())
    trials = {}
    for folder, stamps, group, fields in content["trials"]:
        # zip stops at the end of the names without taking a number of the next trial.
        fields[_METRICS] = dict(zip(content["names"][group], values, strict=False))
        trials[folder] = CachedTrial(stamps, TrialRecord(*fields))
    return trials


def _cache_path(workdir: str) -> Path:
    name = hashlib.sha256(os.path.realpath(workdir).encode()).hexdigest()[:16]
    return user_cache_path("results", f"{name}.json")


def _digest(body: bytes | memoryview) -> bytes:
    """Return a hash of the content and of the code that reads trials."""
    digest = hashlib.sha256(_code())
    digest.update(body)
    return digest.digest()


@functools.cache
def _code() -> bytes:
    modules = (__file__, source.__file__, trial_folder.__file__)
    return b"".join(Path(module).read_bytes() for module in modules)

"""Reads the files that W&B's client writes, `run-<id>.wandb`, without a network or a server.

The format is that of LevelDB's log: blocks of 32 KiB, in which chunks of 7 bytes of header (CRC-32
of what follows, length, kind) and their content make up records, here `wandb_internal_pb2.Record`.
The file begins with 7 bytes of its own, which count as part of the first block. Written for wandb
0.31, whose own reader is no longer in Python.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from etils import epath

from deepmac_ablate.errors import UserError

_FILE_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_CHUNK_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class WandbRun(NamedTuple):
    """What a run is called in W&B.

    Attributes:
        run_id: The same for all attempts at a trial.
        project: Where it is listed.
        group: The runs that it is shown with.
        job_type: "train" or "eval".
        name: What people read.
        tags: Sorted as they were given.
        config: Values by name, as in the project's table of runs.
        started: When, in seconds since 1970.
    """

    run_id: str
    project: str
    group: str
    job_type: str
    name: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    started: float


class WandbFile(NamedTuple):
    """The content of a file.

    Attributes:
        run: None where the client was killed before it had written that much.
        history: What was logged, a dictionary a call, in order.
        summary: The last value of everything.
        exit_code: None where the client was killed, or is at work still.
    """

    run: WandbRun | None
    history: tuple[dict[str, Any], ...]
    summary: dict[str, Any]
    exit_code: int | None


def read(path: epath.PathLike) -> WandbFile:
    """Reads a file as far as it goes.

    A client that was killed leaves part of a record at the end, which is left out.

    Raises:
        UserError: If it is no such file, or of another version.
    """
    from wandb.proto import wandb_internal_pb2

    run, exit_code = None, None
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    for payload in _records(epath.Path(path).read_bytes(), str(path)):
        record = wandb_internal_pb2.Record.FromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            _update(config, run.config)
        elif kind == "config":
            _update(config, record.config)
        elif kind == "history":
            history.append(_tree(record.history.item))
        elif kind == "summary":
            _update(summary, record.summary)
        elif kind == "exit":
            exit_code = record.exit.exit_code
    return WandbFile(run and _named(run, config), tuple(history), summary, exit_code)


def _named(run: Any, config: dict[str, Any]) -> WandbRun:  # noqa: ANN401 - of protobuf
    started = run.start_time.seconds + run.start_time.nanos * 1e-9
    config = {name: value for name, value in config.items() if name != "_wandb"}
    return WandbRun(
        run.run_id, run.project, run.run_group, run.job_type, run.display_name, tuple(run.tags),
        config, started)


def _records(data: bytes, where: str) -> Iterator[bytes]:
    """Yields records up to the first that is not whole."""
    if data[: len(_FILE_HEADER)] != _FILE_HEADER[: len(data)]:
        raise UserError(f"{where} is no file of W&B's, or of a version other than 0.")
    at, parts = len(_FILE_HEADER), b""
    while True:
        if (left := _BLOCK - at % _BLOCK) < _CHUNK_HEADER.size:
            # No chunk begins where its header does not fit.
            at += left
        if at + _CHUNK_HEADER.size > len(data):
            return
        checksum, length, kind = _CHUNK_HEADER.unpack_from(data, at)
        begin = at + _CHUNK_HEADER.size
        content = data[begin : begin + length]
        # The checksum is of kind and content. Zeros are the rest of a block never written.
        if len(content) < length or zlib.crc32(data[begin - 1 : begin + length]) != checksum:
            return
        at = begin + length
        parts = content if kind in (_FULL, _FIRST) else parts + content
        if kind in (_FULL, _LAST):
            yield parts


def _update(values: dict[str, Any], changes: Any) -> None:  # noqa: ANN401 - of protobuf
    """Applies what a record of config or summary changes."""
    for item in changes.update:
        _set(values, _path(item), json.loads(item.value_json))
    for item in changes.remove:
        *parents, name = _path(item)
        inner = values
        for parent in parents:
            inner = inner.get(parent, {})
        inner.pop(name, None)


def _tree(items: Sequence[Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        _set(values, _path(item), json.loads(item.value_json))
    return values


def _path(item: Any) -> list[str]:  # noqa: ANN401 - of protobuf
    """Returns the names that lead to a value; dots in them are part of a name."""
    return list(item.nested_key) or [item.key]


def _set(values: dict[str, Any], path: Sequence[str], value: Any) -> None:  # noqa: ANN401 - JSON
    *parents, name = path
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[name] = value

"""Atomic reading and writing of files on disk; `storage` adds ``gs://``.

This is a module of its own because processes that only watch another one must not wait for the
imports of other file systems.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """Entry of a folder.

    Attributes:
        name: Last part of its path.
        is_folder: True for a folder.
        size: Size in bytes; meaningless for a folder.
        changed: Unix time of the last change in seconds; 0 for a folder on ``gs://``.
    """

    name: str
    is_folder: bool
    size: int = 0
    changed: float = 0.0


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is in an object store, where objects cannot be appended to."""
    return "://" in os.fspath(path)


def read(path: str | os.PathLike[str], tail: int | None = None) -> bytes | None:
    """Return the content of a file, or its last `tail` bytes; None if it does not exist."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            if tail is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - tail))
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def list_folder(folder: str | os.PathLike[str]) -> list[Entry]:
    """Return the entries of a folder, sorted by name; none if it does not exist."""
    found = []
    try:
        with os.scandir(folder) as there:
            for each in there:
                stat = each.stat()
                found.append(Entry(each.name, each.is_dir(), stat.st_size, stat.st_mtime))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write or replace a file atomically, and flush it to disk to survive a power failure.

    Args:
        path: File in a folder that exists.
        data: New content.

    Raises:
        OSError: If the file cannot be written; the previous file then remains.
    """
    folder, name = os.path.split(os.fspath(path))
    folder = folder or "."
    # With the process id, so that two writers never share a temporary file.
    temporary = f"{folder}/.{name}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # The folder holds the new name, so it has to reach the disk as well.
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

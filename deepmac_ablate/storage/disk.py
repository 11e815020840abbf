"""Files on a disk that are whole or not there at all; `storage` adds ``gs://``.

Apart from `storage`, as what only watches another process must not wait for its file systems.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """File or folder in a folder.

    Attributes:
        name: The last part of its path.
        is_folder: True for a folder.
        size: In bytes; of a folder it means nothing.
        changed: Unix time in seconds; 0 for a folder on ``gs://``.
    """

    name: str
    is_folder: bool
    size: int = 0
    changed: float = 0.0


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return True for a path in an object store, where objects are replaced, never appended to."""
    return "://" in os.fspath(path)


def read(path: str | os.PathLike[str], tail: int | None = None) -> bytes | None:
    """Return the content of a file, or its last `tail` bytes; None where there is no such file."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            if tail is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - tail))
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def entries(folder: str | os.PathLike[str]) -> list[Entry]:
    """Return the files and folders in a folder, by name; nothing where there is no folder."""
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
    """Write a file in one step, and to the disk itself, so that it survives a power failure.

    Args:
        path: In a folder that exists.
        data: The new content.

    Raises:
        OSError: If it cannot be written; what was there before is then still there.
    """
    folder, name = os.path.split(os.fspath(path))
    folder = folder or "."
    # The process's number, so that two writers never share a temporary file.
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
        # The new name is in the folder, which has to reach the disk as well.
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

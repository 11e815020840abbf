"""Atomic reading and writing of files on disk; `storage` adds ``gs://``.

This is a module of its own because processes that only watch another one must not wait for the
imports of other file systems.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate.errors import UserError


class StorageError(UserError, OSError):
    """Failure of a disk or an object store, described in one sentence.

    It is an `OSError` for callers that continue without a file. It is a `UserError` because the
    usual causes are permissions, a wrong name or the network.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.strerror = sentence


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


@contextlib.contextmanager
def translating_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Translate every `OSError` of reading into a `StorageError` that names a path."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{os.fspath(path)} cannot be read: {reason}.") from error


def read(path: str | os.PathLike[str], tail: int | None = None) -> bytes | None:
    """Return the content of a file, or its last `tail` bytes; None if it does not exist.

    Raises:
        StorageError: If it cannot be read, or is not a file.
    """
    with translating_errors(path):
        try:
            # Without O_NONBLOCK, opening a named pipe would wait for a writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StorageError(f"{os.fspath(path)} cannot be read: it is not a file.")
        with open(descriptor, "rb") as file:  # noqa: PTH123
            if tail is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - tail))
            return file.read()


def list_folder(folder: str | os.PathLike[str]) -> list[Entry]:
    """Return the entries of a folder, sorted by name; none if it does not exist.

    Raises:
        StorageError: If it cannot be listed.
    """
    found = []
    with translating_errors(folder):
        try:
            with os.scandir(folder) as there:
                for each in there:
                    found.append(_entry(each))
        except FileNotFoundError:
            return []
    return sorted(filter(None, found))


def _entry(each: os.DirEntry[str]) -> Entry | None:
    """Return an entry of a folder; None if it has vanished or links to nothing."""
    try:
        status = each.stat()
    except FileNotFoundError:
        return None
    except OSError:
        # Reading it reports the error.
        return Entry(each.name, is_folder=False)
    return Entry(each.name, stat.S_ISDIR(status.st_mode), status.st_size, status.st_mtime)


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
    temporary = f"{folder}/.{shorten_name(name)}.{os.getpid()}.tmp"
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


def shorten_name(name: str) -> str:
    """Return a name that leaves room for an ending; names have at most 255 bytes, letters 4."""
    return name if len(os.fsencode(name)) < 230 else name[:55]

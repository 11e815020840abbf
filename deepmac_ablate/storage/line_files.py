"""Files of lines that grow while others read them, on a disk and on ``gs://``.

Objects cannot be appended to, and each may be replaced about once a second. So a line on ``gs://``
is first an object of its own, a part, and the store itself appends parts to the file from time to
time. A writer that is killed at any moment leaves at most parts, which the next writer appends, and
which `read_lines` reads. Anyone else may read the file alone: it lacks the lines of seconds.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Sequence

from etils import epath

from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.disk import StorageError, is_remote

_PART = ".part-"
_SECONDS_BETWEEN_MERGES = 10.0
# The store appends at most 31 objects to another in one request.
_MOST_PARTS = 31


def read_lines(path: str | os.PathLike[str]) -> list[bytes]:
    """Return the lines of a file and of its parts; none if it does not exist.

    An incomplete last line, left by a killed writer, is dropped.
    """
    # Parts first: those that are appended meanwhile are then in the file.
    found = file_io.read_many(_list_parts(path))
    lines = (file_io.read(path) or b"").split(b"\n")[:-1]
    known = set(lines) if found else ()
    return lines + [
        line for text in found.values() for line in (text or b"").split(b"\n")[:-1]
        if line not in known]


def append_line(path: epath.Path, line: str, at_once: bool = False) -> None:
    """Append a line; an incomplete last line, left by a killed writer, is removed first.

    Args:
        path: File to append to or to create, by one process at a time. On ``gs://``, lines must
            differ, as those with a time do.
        line: Text without a line break.
        at_once: Whether the file itself must have the line when this returns.
    """
    if is_remote(path):
        appender = _appender(os.fspath(path))
        appender.append(line)
        if at_once:
            appender.merge()
        return
    with open(path, "a+b") as file:  # noqa: PTH123
        end = file.tell()
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(f"{line}\n".encode())


def merge_parts(path: str | os.PathLike[str]) -> None:
    """Make a file hold all of its lines: append its parts, and drop an incomplete last line."""
    parts = _list_parts(path)
    content = file_io.read(path)
    if parts or (content and not content.endswith(b"\n")):
        replace_lines(path, read_lines(path))


def replace_lines(path: str | os.PathLike[str], lines: Sequence[bytes]) -> None:
    """Replace all lines of a file and its parts."""
    parts = _list_parts(path)
    file_io.write(epath.Path(path), b"".join(line + b"\n" for line in lines))
    for part in parts:
        epath.Path(part).unlink(missing_ok=True)


def _list_parts(path: str | os.PathLike[str]) -> list[str]:
    """Return the paths of a file's parts in the order of their times."""
    folder, _, name = os.fspath(path).rpartition("/")
    entries = file_io.list_folders([folder])[folder] if folder else []
    return [
        f"{folder}/{entry.name}" for entry in entries if entry.name.startswith(f"{name}{_PART}")]


def _appender(path: str) -> _Appender:
    # Tests use several emulators, one after another.
    return _cached_appender(path, os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())


@functools.lru_cache(maxsize=64)
def _cached_appender(path: str, emulator: str | None, pid: int) -> _Appender:
    del emulator, pid
    return _Appender(path)


class _Appender:
    """Appends the lines of this process to a file on ``gs://``.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._parts: list[str] = []
        self._merged_at = float("-inf")
        self._start_over()

    def append(self, line: str) -> None:
        """Append a line, which is stored when this returns."""
        part = f"{self._path}{_PART}{time.time_ns():020}"
        file_io.write(epath.Path(part), f"{line}\n")
        self._parts.append(part)
        waited = time.monotonic() - self._merged_at
        if waited > _SECONDS_BETWEEN_MERGES or (len(self._parts) >= _MOST_PARTS and waited > 1.0):
            self.merge()

    def merge(self) -> None:
        """Let the store append the parts to the file, and delete them."""
        from deepmac_ablate.storage import gcs

        store = gcs.shared_store()
        while self._parts:
            some = self._parts[:_MOST_PARTS]
            generation = store.append_objects(self._path, some, self._generation)
            if generation is None:
                # The answer to such a request was lost, or the file was replaced.
                self._start_over()
                return
            self._generation, self._merged_at = generation, time.monotonic()
            del self._parts[:_MOST_PARTS]
            # Those that remain are in the file, and not read twice.
            with contextlib.suppress(StorageError):
                store.delete(some)

    def _start_over(self) -> None:
        """Append the parts that are there by reading them."""
        from deepmac_ablate.storage import gcs

        merge_parts(self._path)
        found = gcs.shared_store().find_generation(self._path)
        self._generation = 0 if found is None else found.number
        self._parts.clear()

"""Files on a disk or on ``gs://`` that are whole or not there at all.

Results outlive the machine that wrote them, so a reader must never meet half a file, whether the
writer was killed, preempted or out of disk space.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from etils import epath

from deepmac_ablate.errors import UserError

# Makes `gs://` paths this project's own.
from deepmac_ablate.storage import disk, gcs_path  # noqa: F401
from deepmac_ablate.storage.disk import Entry, is_remote


def write(path: epath.Path, content: str | bytes) -> None:
    """Write a file in one step, and to the disk itself, so that it survives a power failure.

    Args:
        path: In a folder that exists.
        content: Text is written as UTF-8.

    Raises:
        OSError: If it cannot be written; what was there before is then still there.
    """
    data = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        path.write_bytes(data)
        return
    disk.write(path, data)


def read(path: str | os.PathLike[str]) -> bytes | None:
    """Return the content of a file; None where there is no such file.

    To make an `epath.Path` of a name on a disk would take longer than to read the file.
    """
    if not is_remote(path):
        return disk.read(path)
    try:
        return epath.Path(path).read_bytes()
    except FileNotFoundError:
        return None


def read_many(paths: Iterable[str], tail: int | None = None) -> dict[str, bytes | None]:
    """Return the contents of files, or their last `tail` bytes; None where there is no such file.

    On ``gs://`` many are read at a time.
    """
    paths = list(paths)
    remote = [path for path in paths if is_remote(path)]
    found = dict.fromkeys(paths)
    if remote:
        from deepmac_ablate.storage import gcs

        found |= zip(remote, gcs.store().read_many(remote, tail), strict=True)
    return found | {path: disk.read(path, tail) for path in paths if not is_remote(path)}


def read_tail(path: str | os.PathLike[str], size: int) -> bytes | None:
    """Return the last bytes of a file, at most `size`; None where there is no such file."""
    return read_many([os.fspath(path)], size)[os.fspath(path)]


def entries_of_many(folders: Iterable[str]) -> dict[str, list[Entry]]:
    """Return the files and folders in folders, by name; nothing where there is no such folder."""
    folders = list(folders)
    remote = [folder for folder in folders if is_remote(folder)]
    found: dict[str, list[Entry]] = {}
    if remote:
        from deepmac_ablate.storage import gcs

        found |= zip(remote, gcs.store().list_entries_of_many(remote), strict=True)
    return found | {
        folder: disk.entries(folder) for folder in folders if not is_remote(folder)}


def read_lines(path: str | os.PathLike[str]) -> list[bytes]:
    """Return the lines of a file; none where there is no such file.

    A last line without its end is left out: its writer was killed, maybe within a character.
    """
    return (read(path) or b"").split(b"\n")[:-1]


def append_line(path: epath.Path, line: str) -> None:
    """Append a line; a last line without its end, from a killed writer, is cut off before.

    Args:
        path: A file that exists or not.
        line: Without line break.
    """
    if is_remote(path):
        lines = [*read_lines(path), line.encode()]
        path.write_bytes(b"".join(each + b"\n" for each in lines))
        return
    with open(path, "a+b") as file:  # noqa: PTH123
        end = file.tell()
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(f"{line}\n".encode())


def refuse_existing(path: epath.Path) -> None:
    """Raise a UserError if there is something at a path that is about to be written."""
    if path.exists():
        raise UserError(f"There is something at {path} already; name another place or delete it.")


@contextlib.contextmanager
def whole_folder(path: epath.Path) -> Iterator[epath.Path]:
    """Yield a folder to fill, which gets its name once the context ends well.

    Args:
        path: On a disk, in folders that exist or not; there is nothing there yet.

    Raises:
        UserError: If there is something at `path`.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        refuse_existing(path)
        temporary.rename(path)
    except BaseException:
        temporary.rmtree(missing_ok=True)
        raise

"""Files on a disk or on ``gs://`` that are whole or not there at all.

Results outlive the machine that wrote them, so a reader must never meet half a file, whether the
writer was killed, preempted or out of disk space.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

# Without this, `gs://` loads TensorFlow's file system, 8 s before a table is printed. TensorFlow's
# remains the fallback where gcsfs is not installed. Read by etils at the first `gs://` path.
if importlib.util.find_spec("gcsfs"):
    os.environ.setdefault("EPATH_USE_TF", "false")

from etils import epath

from deepmac_ablate import disk
from deepmac_ablate.errors import UserError


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an object store's, whose objects appear whole and cannot be appended."""
    return "://" in os.fspath(path)


def write(path: epath.Path, content: str | bytes) -> None:
    """Writes a file in one step, and to the disk itself, so that it survives a power failure.

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


def read(path: epath.Path) -> bytes | None:
    """Returns what is in a file, or None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_lines(path: epath.Path) -> list[bytes]:
    """Returns the lines of a file; none where there is no such file.

    A last line without its end is left out: its writer was killed, maybe within a character.
    """
    return (read(path) or b"").split(b"\n")[:-1]


def append_line(path: epath.Path, line: str) -> None:
    """Appends a line; a last line without its end, from a killed writer, is cut off before.

    Args:
        path: A file that exists or not.
        line: Without line break.
    """
    if is_remote(path):
        lines = [*read_lines(path), line.encode()]
        path.write_bytes(b"".join(it + b"\n" for it in lines))
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
    """Raises a UserError if there is something at a path that is about to be written."""
    if path.exists():
        raise UserError(f"There is something at {path} already; name another place or delete it.")


@contextlib.contextmanager
def whole_folder(path: epath.Path) -> Iterator[epath.Path]:
    """Yields a folder to fill, which gets its name once the context ends well.

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

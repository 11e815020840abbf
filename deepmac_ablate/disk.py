"""Files on a disk that are whole or not there at all; `storage` adds ``gs://``.

Apart from `storage`, as what only watches another process must not wait for its file systems.
"""

from __future__ import annotations

import os
from pathlib import Path


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file in one step, and to the disk itself, so that it survives a power failure.

    Args:
        path: In a folder that exists.
        data: What shall be in it.

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

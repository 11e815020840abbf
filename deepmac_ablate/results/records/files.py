"""The bytes of files on a disk or on ``gs://``, read by the thousand."""

from __future__ import annotations

from etils import epath

from deepmac_ablate import storage


def read(path: str) -> bytes | None:
    """Returns what is in a file, or None where there is none.

    To make an `epath.Path` takes longer than to read a small file, hence `open` on disks.
    """
    if storage.is_remote(path):
        return storage.read(epath.Path(path))
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None

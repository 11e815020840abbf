"""Follows a file that another process appends to, and now and then replaces by a shorter one."""

from __future__ import annotations

import os

from etils import epath

from deepmac_ablate import storage


class Tail:
    """The lines of a file as they come.

    Args:
        path: A file that may not be there yet.
    """

    def __init__(self, path: epath.Path) -> None:
        self._path = path
        self._file_number: int | None = None
        self._offset = 0

    def new_lines(self) -> list[bytes]:
        """Returns the whole lines that were not returned before.

        Where the file was replaced, all of its lines count as new.
        """
        if storage.is_remote(self._path):
            # Objects are replaced by each line.
            return storage.read_lines(self._path)
        try:
            file = open(self._path, "rb")  # noqa: PTH123, SIM115
        except FileNotFoundError:
            return []
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._file_number or status.st_size < self._offset:
                self._file_number, self._offset = status.st_ino, 0
            file.seek(self._offset)
            # The rest is a line that is being written, or whose writer was killed.
            lines = file.read().split(b"\n")[:-1]
        self._offset += sum(len(line) + 1 for line in lines)
        return lines

"""Output of a command, copied to its log without secrets, as any library may print them."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from deepmac_ablate.safe_text import Redactor

_BYTES_AT_ONCE = 1 << 20
# A private key is recognised as a whole only.
_OPEN_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(?!.*-----END )", re.DOTALL)
# A TensorFlow traceback takes about 20 kB.
_BYTES_OF_ENDING = 1 << 16


class RedactedOutput:
    """Output that is copied to a log line by line, see `safe_text`.

    The command writes to a file without a name, so that it neither waits for a reader nor dies
    without one, and nothing unredacted is left behind, however it ends.

    Args:
        log: Log that people read; overwritten from its beginning.
        secrets: Values to redact.
        echo: Second destination of the redacted output, such as stdout of the container.
    """

    def __init__(self, log: Path, secrets: Iterable[str], echo: BinaryIO | None = None) -> None:
        self._log = log
        self._redactor = Redactor(secrets)
        self._echo = echo
        self._file: BinaryIO | None = None
        self._bytes_read = 0
        self._bytes_written = 0

    def open(self) -> int:
        """Return a descriptor for the command to write to; the log and its folder are created.

        Raises:
            OSError: If a file cannot be created.
        """
        self._log.parent.mkdir(exist_ok=True)
        self._log.touch()
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._log.parent)  # noqa: SIM115 - until `close`
        return self._file.fileno()

    def transfer(self, final: bool = False) -> None:
        """Copy new lines to the log; on a full disk, they are copied by a later call.

        Args:
            final: True once the command has ended, so that an unfinished line is copied, too.
        """
        with contextlib.suppress(OSError):
            while self._file is not None and self._transfer_chunk(self._file.fileno(), final):
                pass

    def ending(self) -> str:
        """Return the end of the redacted output, also where the log could not be written."""
        if self._file is None:
            return ""
        descriptor = self._file.fileno()
        start = max(0, os.fstat(descriptor).st_size - _BYTES_OF_ENDING)
        data = os.pread(descriptor, _BYTES_OF_ENDING, start)
        if start:
            # The first line may begin within a secret.
            data = data.partition(b"\n")[2]
        return self._redactor.redact(data).decode(errors="replace")

    def close(self) -> None:
        """Delete the command's file."""
        if self._file is not None:
            self._file.close()

    def _transfer_chunk(self, descriptor: int, final: bool) -> bool:
        """Copy one chunk; return whether there may be more."""
        # Without moving the position, which the command shares.
        data = os.pread(descriptor, _BYTES_AT_ONCE, self._bytes_read)
        if not final and len(data) < _BYTES_AT_ONCE and (key := _OPEN_KEY.search(data)):
            data = data[:key.start()]
        size = self._complete_size(data) or (len(data) if final else 0)
        if not size:
            return False
        text = self._redactor.redact(data[:size])
        self._log.parent.mkdir(exist_ok=True)
        with self._log.open("r+b" if self._bytes_written else "wb") as file:
            # Overwrites what an earlier call wrote in part before the disk was full.
            file.seek(self._bytes_written)
            file.write(text)
        self._bytes_read += size
        self._bytes_written += len(text)
        if self._echo is not None:
            with contextlib.suppress(OSError):
                self._echo.write(text)
                self._echo.flush()
        return True

    def _complete_size(self, data: bytes) -> int:
        """Return the size in bytes of the complete lines; those of progress bars end with CR."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end or len(data) < _BYTES_AT_ONCE:
            return end
        # One endless line: all bytes that cannot be part of an incomplete secret.
        end = len(data) - self._redactor.max_length
        for match in self._redactor.known.finditer(data):
            if match.start() < end < match.end():
                return match.start()
        return end

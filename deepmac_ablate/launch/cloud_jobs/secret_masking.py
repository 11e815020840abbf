"""Secret masking: removes secrets from the output of a command, as any library may print them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

_MASK = b"***"
_BYTES_AT_ONCE = 1 << 20

_SECRET_NAME = re.compile(r"key|token|secret|passw", re.IGNORECASE)
# Shorter values may be ordinary words: TOKENIZERS_PARALLELISM=false.
_MIN_SECRET_LENGTH = 8


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """Return the values of environment variables whose names suggest a secret."""
    return [
        value for name, value in environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _MIN_SECRET_LENGTH]


class MaskedOutput:
    """Output that is copied to a log line by line, with `***` in place of secrets.

    The command writes to a file of its own, so that it neither waits for a reader nor dies without
    one.

    Args:
        path: File that the command writes to, private to this machine.
        log: Log that people read; overwritten from its beginning.
        secrets: Secrets to mask.
        echo: Second destination of the masked output, such as stdout of the container.
    """

    def __init__(
        self, path: Path, log: Path, secrets: Iterable[str], echo: BinaryIO | None = None
    ) -> None:
        self.path = path
        self._log = log
        self._echo = echo
        # Each line of a secret, such as a key file, is a secret of its own.
        lines = {
            line for secret in secrets for line in (secret.splitlines() or [secret])
            if line and (line == secret or len(line) >= _MIN_SECRET_LENGTH)}
        found = sorted((line.encode(errors="surrogateescape") for line in lines), key=len)
        self._max_length = len(found[-1]) if found else 0
        # Longer alternatives first, as one secret may be the beginning of another.
        self._secrets = re.compile(b"|".join(map(re.escape, reversed(found))) or b"(?!)")
        self._bytes_read = 0
        self._bytes_written = 0

    def transfer(self, final: bool = False) -> None:
        """Copy new lines to the log; on a full disk, they are copied by a later call."""
        with contextlib.suppress(OSError):
            while self._transfer_chunk(final):
                pass

    def _transfer_chunk(self, final: bool) -> bool:
        """Copy one chunk; return whether there may be more."""
        with self.path.open("rb") as file:
            file.seek(self._bytes_read)
            data = file.read(_BYTES_AT_ONCE)
        size = self._complete_size(data) or (len(data) if final else 0)
        if not size:
            return False
        text = self._secrets.sub(_MASK, data[:size])
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
        end = len(data) - self._max_length
        for match in self._secrets.finditer(data):
            if match.start() < end < match.end():
                return match.start()
        return end

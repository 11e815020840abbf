"""Output of a command without the secrets that it was given, which any library may print."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

_MASK = b"***"
_BYTES_AT_ONCE = 1 << 20

_SECRET_NAME = re.compile(r"key|token|secret|passw", re.IGNORECASE)
# What is shorter may be any word: TOKENIZERS_PARALLELISM=false.
_SHORTEST_VALUE = 8


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """Return the values of variables whose names say that they are secret."""
    return [
        value for name, value in environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_VALUE]


class MaskedOutput:
    """Output that is brought to its log, and shown, line by line and without secrets.

    The command writes to a file of its own, so that it neither waits for a reader nor dies without
    one.

    Args:
        path: That file, on this machine and nobody else's.
        log: Where people read it; written from its beginning.
        secrets: What `***` stands for there.
        shown: Where it is shown as well, such as what the machine's own logs are made of.
    """

    def __init__(
        self, path: Path, log: Path, secrets: Iterable[str], shown: BinaryIO | None = None
    ) -> None:
        self.path = path
        self._log = log
        self._shown = shown
        # A secret of several lines, such as a key file's, is one secret for each.
        lines = {
            line for secret in secrets for line in (secret.splitlines() or [secret])
            if line and (line == secret or len(line) >= _SHORTEST_VALUE)}
        found = sorted((line.encode(errors="surrogateescape") for line in lines), key=len)
        self._longest = len(found[-1]) if found else 0
        # Of two that begin alike the longer one is looked for first.
        self._secrets = re.compile(b"|".join(map(re.escape, reversed(found))) or b"(?!)")
        self._taken = 0
        self._kept = 0

    def keep(self, last: bool = False) -> None:
        """Bring the lines that have been written since; what a full disk refuses comes later."""
        with contextlib.suppress(OSError):
            while self._keep_some(last):
                pass

    def _keep_some(self, last: bool) -> bool:
        """Bring some; returns whether there may be more."""
        with self.path.open("rb") as file:
            file.seek(self._taken)
            data = file.read(_BYTES_AT_ONCE)
        taken = self._end_of_lines(data) or (len(data) if last else 0)
        if not taken:
            return False
        text = self._secrets.sub(_MASK, data[:taken])
        self._log.parent.mkdir(exist_ok=True)
        with self._log.open("r+b" if self._kept else "wb") as file:
            # Over what did not fit the last time.
            file.seek(self._kept)
            file.write(text)
        self._taken += taken
        self._kept += len(text)
        if self._shown is not None:
            with contextlib.suppress(OSError):
                self._shown.write(text)
                self._shown.flush()
        return True

    def _end_of_lines(self, data: bytes) -> int:
        """Return how many bytes are whole lines; those of a progress bar end with a return."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end or len(data) < _BYTES_AT_ONCE:
            return end
        # One endless line: all but what may be the beginning of a secret.
        end = len(data) - self._longest
        for match in self._secrets.finditer(data):
            if match.start() < end < match.end():
                return match.start()
        return end

"""Where the output of a command goes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Output(Protocol):
    """What takes the output of a command.

    Attributes:
        path: The file that the command writes to.
    """

    path: Path

    def keep(self, last: bool = False) -> None:
        """Brings what the command has written since to where people read it.

        Args:
            last: Whether nothing more will come, so that an unfinished line is brought too.
        """


class LogOutput:
    """Output that goes straight to the log.

    Args:
        log: The log; its folder is made once the command starts.
    """

    def __init__(self, log: Path) -> None:
        self.path = log

    def keep(self, last: bool = False) -> None:
        """Does nothing: it is there already."""

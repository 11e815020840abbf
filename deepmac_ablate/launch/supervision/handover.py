"""Handover: a trainer that has finished a trial takes the next one, from its supervisor.

Imports, the model and its traced programs are then paid for once, not by each seed of an arm. The
supervisor sends the next command over a socket, with the open output and locks of the next trial,
so that each trial has its own log and holds its own lock while the trainer lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# Environment variable of a trainer: numbers of its descriptors, first the socket, then the locks.
VARIABLE = "DEEPMAC_ABLATE_HANDOVER"

_FINISHED = b"\n"
# A command has a few hundred bytes; the output and one lock come with it.
_MOST_BYTES = 1 << 16
_MOST_DESCRIPTORS = 8


class Offer:
    """A supervisor's end of the connection to a trainer.

    Attributes:
        descriptor: Descriptor of the trainer's end, which the trainer must inherit.
    """

    def __init__(self) -> None:
        self._socket, self._trainer = socket.socketpair()
        self._socket.setblocking(False)
        self.descriptor = self._trainer.fileno()

    def environment(self, locks: Sequence[int]) -> Mapping[str, str]:
        """Return the variables by which a trainer that inherits `locks` finds its end."""
        return {VARIABLE: " ".join(map(str, [self.descriptor, *locks]))}

    def close_trainers_end(self) -> None:
        """Close this process's copy of the trainer's end, once the trainer has started."""
        self._trainer.close()

    def has_finished(self) -> bool:
        """Return whether the trainer has finished its trial and waits for the next."""
        with contextlib.suppress(OSError):
            return self._socket.recv(1) == _FINISHED
        return False

    def send(self, command: Sequence[str], output: int, locks: Sequence[int]) -> None:
        """Send a trainer that waits its next command.

        Args:
            command: Program and arguments, as if the program were started anew.
            output: Descriptor that the command's output goes to.
            locks: Descriptors of the locks that the trainer shall hold.

        Raises:
            OSError: If the trainer has ended.
        """
        socket.send_fds(self._socket, [json.dumps(list(command)).encode()], [output, *locks])

    def close(self) -> None:
        """End the offer: the trainer exits once it has finished."""
        self._socket.close()


class _Connection(NamedTuple):
    """A trainer's end: its socket, and the locks of the trial that it runs."""

    socket: socket.socket
    locks: Sequence[int]


def next_command() -> list[str] | None:
    """Report the trial of this process as finished, and wait for the next one.

    The output of the process then belongs to the next trial.

    Returns:
        Program and arguments of the next command; None if there is none.
    """
    connection = _connection()
    if connection is None:
        return None
    for lock in connection.locks:
        os.close(lock)
    try:
        connection.socket.sendall(_FINISHED)
        text, received, _, _ = socket.recv_fds(connection.socket, _MOST_BYTES, _MOST_DESCRIPTORS)
    except OSError:
        text = b""
    if not text:
        del os.environ[VARIABLE]
        connection.socket.close()
        return None
    output, *locks = received
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ[VARIABLE] = " ".join(map(str, [connection.socket.detach(), *locks]))
    return json.loads(text)


def _connection() -> _Connection | None:
    value = os.environ.get(VARIABLE)
    if value is None:
        return None
    end, *locks = map(int, value.split())
    return _Connection(socket.socket(fileno=end), locks)

"""A sleep that signals end."""

from __future__ import annotations

import os
import select
import signal


class Bell:
    """Wakes its owner at signals, and notes the first that asks the process to end.

    There is one to a process, in its main thread; it stays until the process ends.

    Attributes:
        asked_by: The first of SIGTERM, SIGINT and SIGHUP that came; None before.
    """

    def __init__(self) -> None:
        self.asked_by: signal.Signals | None = None
        self._read_end, write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for asking in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # nohup ignores SIGHUP so that the programs it starts do, too.
            if asking is not signal.SIGHUP or signal.getsignal(asking) is not signal.SIG_IGN:
                signal.signal(asking, self._note)
        # Only what has a handler wakes.
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)

    def wait(self, seconds: float) -> None:
        """Return after some time, or at once when a signal comes or came since the last wait."""
        if select.select([self._read_end], [], [], max(0.0, seconds))[0]:
            os.read(self._read_end, 4096)

    def _note(self, signum: int, frame: object) -> None:
        del frame
        if self.asked_by is None:
            self.asked_by = signal.Signals(signum)

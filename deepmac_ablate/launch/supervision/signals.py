"""Interruptible sleep: returns early when the process receives a signal."""

from __future__ import annotations

import os
import select
import signal


class SignalListener:
    """Wakes its owner on signals and records the first request to stop the process.

    Create at most one per process, in the main thread; it stays active until the process ends.

    Attributes:
        stop_signal: First SIGTERM, SIGINT or SIGHUP received; None before that.
    """

    def __init__(self) -> None:
        self.stop_signal: signal.Signals | None = None
        self._read_end, write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # nohup ignores SIGHUP on behalf of the programs that it starts.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._record)
        # Only signals with a handler write to the wakeup descriptor.
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)

    def wait(self, seconds: float) -> None:
        """Wait for a time, or less if a signal arrives or has arrived since the last wait."""
        if select.select([self._read_end], [], [], max(0.0, seconds))[0]:
            os.read(self._read_end, 4096)

    def _record(self, signum: int, frame: object) -> None:
        del frame
        if self.stop_signal is None:
            self.stop_signal = signal.Signals(signum)

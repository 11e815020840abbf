"""End notice: tells the worker of a TPU slice that a host of the slice is asked to end.

The worker runs on the coordinator, which a preemption of the hosts does not reach. Each host that
is asked to end writes the file, and serves until it is gone, see `training.tpu_server`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from etils import epath

from deepmac_ablate.storage import file_io

# A host that is preempted may have 15 s in all.
_SECONDS_BETWEEN_POLLS = 1.0
# Time from the signal of a host to that of the worker, on which the worker cannot count.
SECONDS_TO_ARRIVE = 2.0


@contextlib.contextmanager
def listening_for_end(path: str | None) -> Iterator[None]:
    """Send this process SIGTERM once the notice is there; the notice is removed at the end.

    A notice that an earlier job has left is removed first.

    Args:
        path: The file, on ``gs://`` or on a disk; None: no notice is expected.
    """
    if path is None:
        yield
        return
    _remove(path)
    ended = threading.Event()
    thread = threading.Thread(target=_listen, args=(path, ended), name="end notice", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _remove(path)


def _listen(path: str, ended: threading.Event) -> None:
    while not ended.wait(_SECONDS_BETWEEN_POLLS):
        # A store that does not answer is no reason to end a trainer.
        with contextlib.suppress(OSError):
            if (notice := file_io.read(path)) is not None:
                print(f"deepmac-ablate: {notice.decode().strip()}", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGTERM)
                return


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        epath.Path(path).unlink(missing_ok=True)

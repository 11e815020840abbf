"""TensorFlow's server for each host of a TPU slice of several hosts.

A slice of one host needs none. On a larger one, every host runs this, and a coordinator without
TPUs runs the trainer with ``Runtime.tpu = 'grpc://h0:8470,grpc://h1:8470'``. The variables of a
training are on the chips of the hosts. So a host that is asked to end keeps serving, and tells the
coordinator by a file, which removes it once its trainer has saved a checkpoint and ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import NoReturn

import tensorflow as tf
from etils import epath

from deepmac_ablate import errors
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import file_io

_JOB = "tpu_worker"
_SECONDS_BETWEEN_POLLS = 0.5
# The platform kills a process at the end of its grace period; the server ends a little before.
_SECONDS_TO_EXIT = 1.0


def serve(port: int, end_notice: str | None = None, grace: float = 0.0) -> NoReturn:
    """Serve this host's TPUs until a signal ends the process, with the exit status "interrupted".

    The process must block SIGTERM and SIGINT in all threads, from before TensorFlow is imported.

    Args:
        port: The port to listen on, at all addresses of the host, as the coordinator is another
            machine.
        end_notice: File, on ``gs://`` or on a disk, that is written when a signal arrives; serving
            then goes on until the file is gone. None: serving ends with the signal.
        grace: Seconds from the signal until the platform kills the process.

    Raises:
        UserError: If the port cannot be opened.
    """
    if end_notice is not None:
        # The client of gs:// takes a second to import and to authorise, which a signal would not
        # leave.
        _is_there(end_notice)
    try:
        server = tf.distribute.Server({_JOB: [f"localhost:{port}"]}, job_name=_JOB, task_index=0)
    except tf.errors.OpError as error:
        raise UserError(
            f"Cannot serve on port {port}: {str(error).strip().splitlines()[0]}.") from error
    print(f"Serving at {server.target}", flush=True)
    # Not `server.join()`, during which Python handles no signals.
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    if end_notice is not None:
        _wait_for_coordinator(end_notice, time.monotonic() + grace - _SECONDS_TO_EXIT)
    # The server cannot be stopped, and the interpreter would wait for it forever.
    os._exit(errors.INTERRUPTED)


def _wait_for_coordinator(end_notice: str, deadline: float) -> None:
    """Write the notice, and wait until the coordinator has removed it or time is up."""
    path, told = epath.Path(end_notice), True
    try:
        if not _is_there(end_notice):
            file_io.write(path, f"The host {os.uname().nodename} was asked to end.\n")
    except OSError as error:
        # The coordinator may have been asked to end, too.
        told = False
        print(f"deepmac-ablate: {error}", file=sys.stderr)
    print("Asked to end; serving until the trainer has ended", flush=True)
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _SECONDS_BETWEEN_POLLS))
        if told and not _is_there(end_notice):
            return
    # Without a coordinator nobody removes it, and the next one would take it for new.
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _is_there(path: str) -> bool:
    """Return whether a file exists; True if that cannot be found out now."""
    try:
        return file_io.read(path) is not None
    except OSError:
        return True

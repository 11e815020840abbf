"""TensorFlow's server for each host of a TPU slice of several hosts.

A slice of one host needs none. On a larger one, every host runs this, and a coordinator without
TPUs runs the trainer with ``Runtime.tpu = 'grpc://h0:8470,grpc://h1:8470'``.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import NoReturn

import tensorflow as tf

from deepmac_ablate import errors
from deepmac_ablate.errors import UserError

_JOB = "tpu_worker"
_SECONDS_BETWEEN_POLLS = 1.0


def serve(port: int) -> NoReturn:
    """Serve this host's TPUs until a signal ends the process, with the exit status "interrupted".

    Args:
        port: The port to listen on, at all addresses of the host, as the coordinator is another
            machine.

    Raises:
        UserError: If the port cannot be opened.
    """
    try:
        server = tf.distribute.Server({_JOB: [f"localhost:{port}"]}, job_name=_JOB, task_index=0)
    except tf.errors.OpError as error:
        raise UserError(
            f"Cannot serve on port {port}: {str(error).strip().splitlines()[0]}.") from error
    print(f"Serving at {server.target}", flush=True)
    stopping = threading.Event()
    _listen_for_signals(stopping)
    # Not `server.join()`, during which Python handles no signals. TensorFlow takes over SIGTERM
    # with every new connection and ignores it, so the handler is installed again.
    while not stopping.wait(_SECONDS_BETWEEN_POLLS):
        _listen_for_signals(stopping)
    # The server cannot be stopped, and the interpreter would wait for it forever.
    os._exit(errors.INTERRUPTED)


def _listen_for_signals(stopping: threading.Event) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())

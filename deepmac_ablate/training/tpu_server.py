"""What a host of a TPU slice runs for the machine that trains on it: TensorFlow's server.

A slice of one host needs none. On one of several, every host runs this, and a coordinator without
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
_SECONDS_BETWEEN_LOOKS = 1.0


def serve(port: int) -> NoReturn:
    """Serve whoever connects, and ends this process, as interrupted, when that is asked for.

    Args:
        port: On all of the host's addresses, as the coordinator is another machine.

    Raises:
        UserError: If the port cannot be had.
    """
    try:
        server = tf.distribute.Server({_JOB: [f"localhost:{port}"]}, job_name=_JOB, task_index=0)
    except tf.errors.OpError as error:
        raise UserError(
            f"Cannot serve on port {port}: {str(error).strip().splitlines()[0]}.") from error
    print(f"Serving at {server.target}", flush=True)
    asked = threading.Event()
    _listen(asked)
    # Not `server.join()`, during which Python heeds no signal. TensorFlow takes SIGTERM over
    # whenever somebody connects, and does nothing with it.
    while not asked.wait(_SECONDS_BETWEEN_LOOKS):
        _listen(asked)
    # The server cannot be stopped, and the interpreter would wait for it for ever.
    os._exit(errors.INTERRUPTED)


def _listen(asked: threading.Event) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: asked.set())

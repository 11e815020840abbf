"""Limits of a build, so that an arm without end is a problem of that arm, not of the plan."""

from __future__ import annotations

import contextlib
import math
import resource
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import tensorflow as tf

from deepmac_ablate.errors import UserError

# The largest published models are built in a minute, also on a busy machine.
SECONDS = 600
# Ten times the parameters of the largest published model.
PARAMETERS = 2_000_000_000


class OutOfTimeError(BaseException):
    """A build takes too long; no `Exception`, so that no code on the way handles it."""


@contextlib.contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """Raise an `OutOfTimeError` in the block after some seconds; for the main thread only."""
    def stop(signum: int, frame: object) -> None:
        raise OutOfTimeError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def limited_parameters(most: int) -> Iterator[None]:
    """Raise a UserError in the block before its variables take more memory than any model needs."""
    created = 0

    def count(create: Callable[..., tf.Variable], **options: Any) -> tf.Variable:  # noqa: ANN401
        nonlocal created
        created += math.prod(options.get("shape") or ())
        if created > most:
            raise UserError(
                f"It cannot be built: the model has more than {most:,} parameters.")
        return create(**options)

    with tf.variable_creator_scope(count):
        yield


def limit_memory() -> None:
    """Let this process have no more memory than the machine, so that it fails before others do."""
    most = psutil.virtual_memory().total
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))

"""One backbone for many models, where only what models are made of is asked for.

Making a backbone takes seconds, and the arms of an ablation of mask heads all have the same.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import tf_keras

Networks = tuple[tf_keras.Model, tf_keras.layers.Layer]

_SHELF: contextvars.ContextVar[list[Networks] | None] = contextvars.ContextVar(
    "shelf", default=None)


@contextlib.contextmanager
def shared(shelf: list[Networks]) -> Iterator[None]:
    """Makes all models that are made within share one backbone and decoder, weights included.

    Args:
        shelf: where they lie; empty before the first model is made.
    """
    before = _SHELF.set(shelf)
    try:
        yield
    finally:
        _SHELF.reset(before)


def networks(build: Callable[[], Networks]) -> Networks:
    """Returns backbone and decoder: those that are shared, or else new ones.

    Args:
        build: makes them.
    """
    shelf = _SHELF.get()
    if shelf is None:
        return build()
    if not shelf:
        shelf.append(build())
    return shelf[0]

"""AutoGraph for the user's own classes, and for nothing else.

AutoGraph rewrites the source of every function that is traced, so that a Python `if` or `for` may
depend on a tensor. This takes longer than the tracing itself, and the layers here, Model Garden's
and those of Keras do without it. So whatever traces a model switches it off, and `call_part`
switches it on again for parts that contain a class from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# Packages whose classes have no Python control flow that depends on a tensor.
_LIBRARIES = ("deepmac_ablate", "official", "tensorflow", "tf_keras")

# The state of AutoGraph outside of every traced function, in which it converts what it is given.
_OUTSIDE = tf.__internal__.autograph.control_status_ctx()

disabled = tf.autograph.experimental.do_not_convert


def is_own(part: object) -> bool:
    """Return whether an object's class is derived from a library's, but defined elsewhere."""
    own, *bases = type(part).__mro__
    return not _is_library(own) and any(map(_is_library, bases))


def needs_autograph(*parts: object) -> bool:
    """Return whether a part, one of its attributes or a layer in it is of a class of one's own."""
    return any(is_own(each) for part in parts for each in _contents(part))


def call_part(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Call a part of a model, or its method, with AutoGraph if it needs it and is being traced.

    Args:
        function: The part, such as a layer, or one of its methods.
        *args: Arguments.
        **kwargs: Arguments by name.
    """
    part = getattr(function, "__self__", function)
    if not tf.executing_eagerly() and needs_autograph(part):
        function = tf.__internal__.autograph.tf_convert(function, _OUTSIDE)
    return function(*args, **kwargs)


def call_in_float32(part: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Call a part and cast its outputs, since bfloat16 is too coarse for boxes and losses."""
    return tf.nest.map_structure(
        lambda x: tf.cast(x, tf.float32), call_part(part, *args, **kwargs))


def _contents(part: object) -> Iterator[object]:
    yield part
    yield from getattr(part, "__dict__", {}).values()
    if isinstance(part, tf.Module):
        yield from part.submodules


def _is_library(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in _LIBRARIES

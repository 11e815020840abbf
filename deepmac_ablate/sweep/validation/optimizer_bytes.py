"""How many bytes an optimizer adds to a checkpoint, counted from its own variables."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf
import tf_keras

from deepmac_ablate.sweep.validation.architecture import num_bytes

Optimizer = tf_keras.optimizers.Optimizer
Shape = tuple[int, ...]


class OptimizerBytes:
    """Builds optimizers for one variable of each shape and remembers what they added."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Shape | None], int] = {}

    def count(
        self, optimizer: Optimizer, make: Callable[[], Optimizer], shapes: Iterable[Shape]
    ) -> int:
        """Counts the bytes of an optimizer's variables.

        Args:
            optimizer: without its variables.
            make: makes another one like it.
            shapes: of all variables that it moves.
        """
        kind = _kind(optimizer)

        def of(shape: Shape | None) -> int:
            if (kind, shape) not in self._known:
                fresh = make()
                moved = [] if shape is None else [tf.Variable(tf.zeros(shape))]
                fresh.build(moved)
                self._known[kind, shape] = num_bytes(_kept(fresh, moved))
            return self._known[kind, shape]

        # Beside what it keeps for each variable, an optimizer counts its steps.
        alone = of(None)
        number = collections.Counter(shapes)
        return alone + sum(times * (of(shape) - alone) for shape, times in number.items())


def _kept(optimizer: Optimizer, moved: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Returns the variables that a checkpoint of an optimizer holds.

    `Optimizer.variables` would leave out the present learning rate.
    """
    theirs = {id(variable) for variable in moved}
    return [
        one for one in tf.train.TrackableView(optimizer).descendants()
        if isinstance(one, tf.Variable) and id(one) not in theirs]


def _kind(optimizer: Optimizer) -> str:
    """Returns what an optimizer's variables may depend on, as text: all but its learning rate."""
    settings = optimizer.get_config()
    settings.pop("learning_rate", None)
    kind = type(optimizer)
    return f"{kind.__module__}.{kind.__qualname__} {json.dumps(settings, default=repr)}"

"""Optimizer and learning-rate schedules."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

import gin
import tensorflow as tf
import tf_keras
from official.modeling.optimization import lr_schedule

from deepmac_ablate.bindings.ranges import Range, Share, Steps
from deepmac_ablate.errors import UserError, count_noun, shorten

Schedule = tf_keras.optimizers.schedules.LearningRateSchedule
Rate = Annotated[float, Range(1e-10, 1000)]


@gin.register(module="deepmac_ablate.modeling.optimization")
def stepwise(
    boundaries: Sequence[Steps] = gin.REQUIRED, values: Sequence[Rate] = gin.REQUIRED
) -> Schedule:
    """Build a learning rate that is constant between given steps.

    Args:
        boundaries: Steps after which the rate changes, in ascending order.
        values: Rates before, between and after the boundaries; one more than there are boundaries.

    Raises:
        UserError: If the boundaries do not ascend, or the number of values is not one more.
    """
    if len(values) != len(boundaries) + 1:
        raise UserError(
            f"stepwise.values has {count_noun(len(values), 'entry', 'entries')} for "
            f"{count_noun(len(boundaries), 'boundary', 'boundaries')}; it needs "
            f"{len(boundaries) + 1}.")
    if any(later <= earlier for earlier, later in itertools.pairwise(boundaries)):
        raise UserError(f"stepwise.boundaries must ascend, got {shorten(list(boundaries))}.")
    return tf_keras.optimizers.schedules.PiecewiseConstantDecay(
        list(boundaries), [float(value) for value in values])


@gin.register(module="deepmac_ablate.modeling.optimization")
def constant_rate(value: Rate = gin.REQUIRED) -> Schedule:
    """Build a learning rate that is the same at every step.

    Args:
        value: Rate at every step.
    """
    return tf_keras.optimizers.schedules.PiecewiseConstantDecay([1], [float(value)] * 2)


@gin.register(module="deepmac_ablate.modeling.optimization")
def cosine(initial: Rate = gin.REQUIRED, steps: Steps = gin.REQUIRED) -> Schedule:
    """Build a learning rate that falls to 0 along half a cosine.

    Args:
        initial: Rate at step 0.
        steps: Step at which the rate reaches 0.
    """
    return tf_keras.optimizers.schedules.CosineDecay(float(initial), steps)


@gin.register(module="deepmac_ablate.modeling.optimization")
def warm_up(
    then: Schedule = gin.REQUIRED, steps: Steps = 500,
    start: Annotated[float, Range(0, 1000)] = 0.0067,
) -> Schedule:
    """Build a learning rate that rises linearly and then follows another schedule.

    Args:
        then: Schedule that follows; the warm-up ends at its rate at that step.
        steps: Number of steps of the warm-up.
        start: Rate at step 0.
    """
    return lr_schedule.LinearWarmup(then, steps, start)


def warm_up_steps(optimizer: tf_keras.optimizers.Optimizer) -> int:
    """Return the number of steps of an optimizer's warm-up; 0 if it has none."""
    schedule = getattr(optimizer, "_learning_rate", None)
    is_warm_up = isinstance(schedule, lr_schedule.LinearWarmup)
    return schedule.get_config()["warmup_steps"] if is_warm_up else 0


@gin.register(module="deepmac_ablate.modeling.optimization")
class SGD(tf_keras.optimizers.SGD):
    """Stochastic gradient descent with momentum.

    Attributes:
        learning_rate: Schedule of the learning rate.
        momentum: Share of the last update that is added to the next one.
        clip_norm: Largest norm of the gradient of all variables together; longer gradients are
            scaled down. None: no limit.
    """

    def __init__(
        self,
        learning_rate: Schedule = gin.REQUIRED,
        momentum: Share = 0.9,
        clip_norm: Annotated[float, Range(1e-6, 1e6)] | None = None,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, global_clipnorm=clip_norm,
            jit_compile=False)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Update a variable and its momentum, in one pass over memory instead of five."""
        momentum = self.momentums[self._index_dict[self._var_key(variable)]]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle, accum=momentum.handle,
            lr=tf.cast(self.learning_rate, variable.dtype),
            grad=tf.convert_to_tensor(gradient),
            momentum=tf.cast(self.momentum, variable.dtype))

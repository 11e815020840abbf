"""SGD with momentum, and the learning rate by step."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tf_keras
from official.modeling.optimization import lr_schedule

from deepmac_ablate.errors import UserError

Schedule = tf_keras.optimizers.schedules.LearningRateSchedule


@gin.register(module="deepmac_ablate.modeling.optimization")
def stepwise(boundaries: Sequence[int] = gin.REQUIRED, values: Sequence[float] = gin.REQUIRED
             ) -> Schedule:
    """A learning rate that falls in steps.

    Args:
        boundaries: after these steps ...
        values: ... the rate changes from one of these values to the next; one more than boundaries.

    Raises:
        UserError: if the two do not fit each other.
    """
    if len(values) != len(boundaries) + 1:
        raise UserError(
            f"stepwise.values has {len(values)} entries for {len(boundaries)} boundaries; "
            f"it needs {len(boundaries) + 1}.")
    return tf_keras.optimizers.schedules.PiecewiseConstantDecay(
        list(boundaries), [float(value) for value in values])


@gin.register(module="deepmac_ablate.modeling.optimization")
def cosine(initial: float = gin.REQUIRED, steps: int = gin.REQUIRED) -> Schedule:
    """A learning rate that falls to 0 along half a cosine.

    Args:
        initial: the rate at step 0.
        steps: where it is 0.
    """
    return tf_keras.optimizers.schedules.CosineDecay(float(initial), steps)


@gin.register(module="deepmac_ablate.modeling.optimization")
def warm_up(then: Schedule = gin.REQUIRED, steps: int = 500, start: float = 0.0067) -> Schedule:
    """Raise the rate linearly, and go on with another schedule.

    Args:
        then: the schedule that follows; its rate at the end of the warm-up is what is reached.
        steps: how long the warm-up is.
        start: the rate at step 0.
    """
    return lr_schedule.LinearWarmup(then, steps, start)


@gin.register(module="deepmac_ablate.modeling.optimization")
class SGD(tf_keras.optimizers.SGD):
    """Stochastic gradient descent with momentum.

    Attributes:
        momentum: share of the last update that goes into the next.
        clip_norm: the gradient of all variables together is scaled down to this norm if longer;
            None: never.
    """

    def __init__(
        self,
        learning_rate: Schedule = gin.REQUIRED,
        momentum: float = 0.9,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, global_clipnorm=clip_norm,
            jit_compile=False)

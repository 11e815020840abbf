"""The processes that train one trial together, mostly one: what they tell each other.

Each takes the same steps in the same order, as TensorFlow adds up their gradients within a step.
What one of them alone knows, such as a signal or a clock, must not decide what it does next, or the
others wait for ever: it is exchanged first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.training import tf_config

# What TensorFlow raises in all workers within some ten seconds once one of them is gone.
_LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.DeadlineExceededError)


class WorkerLost(Exception):  # noqa: N818 (nothing went wrong here)
    """One of the processes that train together is gone, so none of them can go on."""


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Turn what TensorFlow raises where another process is gone into one sentence.

    Raises:
        WorkerLost: if another process of the cluster is gone or cannot be reached.
    """
    try:
        yield
    except _LOST as error:
        if tf_config.task().number == 1:
            raise
        raise WorkerLost(
            "Another worker of the cluster is gone or cannot be reached; start all of them again "
            f"to go on ({str(error).strip().splitlines()[0]}).") from error


class Workers:
    """This process and those that it trains with.

    All of them must call the same methods in the same order; each call waits for the others.

    Attributes:
        chief: whether this process is the one that writes files.
        number: how many there are.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        """Find out which process this is.

        Args:
            strategy: what the processes share.

        Raises:
            UserError: if there are several processes, but the strategy knows only this one.
        """
        task = tf_config.task()
        self.chief, self.number = task
        together = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if self.number > 1 and not together:
            raise UserError(
                f"The variable TF_CONFIG names {self.number} processes, each of which would train "
                "the trial alone; bind Runtime.strategy = 'multi_worker_mirrored' or unset it.")
        self._strategy = strategy

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in any process."""
        return any(self.all(flag))

    def of_chief(self, number: int) -> int:
        """Return the number that the chief gives, whatever the others give."""
        return self.all(number)[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.all(0)

    def all(self, number: int) -> list[int]:
        """Return the numbers of all processes, the chief's first."""
        if self.number == 1:
            return [int(number)]
        replicas = self._strategy.num_replicas_in_sync

        def own(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            return number * tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=tf.float64)

        # A sum of vectors in which each has its own place, as there is no other exchange that
        # TensorFlow offers outside of a step on all devices.
        values = self._strategy.experimental_distribute_values_from_function(own)
        gathered = self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
        return np.rint(gathered.numpy()[:: replicas // self.number]).astype(int).tolist()

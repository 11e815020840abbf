"""Communication between the processes that train one trial together (usually just one).

All of them take the same steps in the same order, as TensorFlow adds up their gradients within a
step. Anything that only one of them knows, such as a signal or a clock, must be exchanged before it
may decide what comes next; otherwise the others would wait forever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.training import tf_config

# Raised by TensorFlow in all workers within about ten seconds of losing one of them.
_LOSS_ERRORS = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.DeadlineExceededError)


class WorkerLost(Exception):  # noqa: N818 (nothing went wrong here)
    """One of the processes that train together is gone, so none of them can continue."""


@contextlib.contextmanager
def translating_worker_loss() -> Iterator[None]:
    """Turn TensorFlow's errors about a lost process into one sentence.

    Raises:
        WorkerLost: If another process of the cluster, or a host of a TPU slice, is gone or cannot
            be reached.
    """
    try:
        yield
    except _LOSS_ERRORS as error:
        if tf_config.read_task().num_workers == 1 and not _has_remote_devices():
            raise
        raise WorkerLost(
            "Another worker of the cluster is gone or cannot be reached; start all of them again "
            f"to continue ({str(error).strip().splitlines()[0]}).") from error


def _has_remote_devices() -> bool:
    """Return whether this process is connected to the hosts of a TPU slice."""
    return any(device.name.startswith("/job:") for device in tf.config.list_logical_devices())


class Workers:
    """The processes that train a trial together, seen from one of them.

    All of them must call the same methods in the same order; each call waits for the others.

    Attributes:
        is_chief: Whether this process is the one that writes files.
        count: The number of processes.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        """Determine this process's part.

        Args:
            strategy: The strategy that the processes share.

        Raises:
            UserError: If there are several processes, but the strategy knows only this one.
        """
        self.is_chief, self.count = tf_config.read_task()
        shared = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if self.count > 1 and not shared:
            raise UserError(
                f"The variable TF_CONFIG names {self.count} processes, each of which would train "
                "the trial alone; bind Runtime.strategy = 'multi_worker_mirrored' or unset it.")
        self._strategy = strategy

    def any_true(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return any(self.gather(flag))

    def broadcast_from_chief(self, number: int) -> int:
        """Return the number that the chief passes; those of the others are ignored."""
        return self.gather(number)[0]

    def wait_for_all(self) -> None:
        """Wait until all processes have arrived here."""
        self.gather(0)

    def gather(self, number: int) -> list[int]:
        """Return the numbers that all processes pass, the chief's first."""
        if self.count == 1:
            return [int(number)]
        replicas = self._strategy.num_replicas_in_sync

        def place_number(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            return number * tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=tf.float64)

        # A sum of vectors in which each replica has its own element, as TensorFlow offers no other
        # exchange outside of a step on all devices.
        values = self._strategy.experimental_distribute_values_from_function(place_number)
        gathered = self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
        return np.rint(gathered.numpy()[:: replicas // self.count]).astype(int).tolist()

"""How a trial runs, as opposed to what it computes: devices, compilation, checkpoints, logging."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Literal

import gin
import tensorflow as tf

from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.training import tf_config


@gin.register(module="deepmac_ablate.runtime")
class Runtime:
    """Settings that leave the results of a trial as they are.

    Attributes:
        jit_compile: whether the training step is compiled by XLA.
        deterministic: whether TensorFlow's kernels are kept to a fixed order of operations.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of them stay, the last ones.
        log_every: steps between two lines of metrics.jsonl; a signal to stop is heeded as often.
    """

    def __init__(
        self,
        strategy: Literal["one_device", "mirrored", "multi_worker_mirrored", "tpu"] = "one_device",
        tpu: str = "local",
        jit_compile: bool = False,
        deterministic: bool = False,
        checkpoint_every: int = 1000,
        keep_checkpoints: int = 2,
        log_every: int = 20,
    ) -> None:
        """Record the settings.

        Args:
            strategy: how the work is spread over devices; "one_device" takes the first GPU, or the
                CPU.
            tpu: where the TPU is, for the strategy "tpu": "local" on its own host; for a slice of
                several hosts, whose `deepmac-ablate tpu-server` this process tells what to do,
                their addresses: "grpc://h0:8470,grpc://h1:8470".
            jit_compile: whether the training step is compiled by XLA.
            deterministic: whether TensorFlow's kernels are kept to a fixed order of operations.
            checkpoint_every: steps between checkpoints.
            keep_checkpoints: how many of them stay, the last ones.
            log_every: steps between two lines of metrics.jsonl.

        Raises:
            UserError: if a number is not at least 1.
        """
        check_at_least(
            1, Runtime__checkpoint_every=checkpoint_every,
            Runtime__keep_checkpoints=keep_checkpoints, Runtime__log_every=log_every)
        self.jit_compile = jit_compile
        # XLA fixes the order on a TPU. Where TensorFlow is asked for it as well, it refuses to
        # compile the gradient of max pooling.
        self.deterministic = deterministic and strategy != "tpu"
        self.checkpoint_every = checkpoint_every
        self.keep_checkpoints = keep_checkpoints
        self.log_every = log_every
        self._strategy = strategy
        self._tpu = tpu

    def strategy(self) -> tf.distribute.Strategy:
        """Connect to the devices.

        Raises:
            UserError: if there is no TPU for the strategy "tpu", or no cluster for
                "multi_worker_mirrored".
        """
        if self._strategy == "mirrored":
            return tf.distribute.MirroredStrategy()
        if self._strategy == "multi_worker_mirrored":
            if not os.environ.get(tf_config.NAME):
                raise UserError(
                    "Runtime.strategy = 'multi_worker_mirrored', but the variable TF_CONFIG, which "
                    "names the processes, is not set; on one machine use 'mirrored'.")
            return tf.distribute.MultiWorkerMirroredStrategy()
        if self._strategy == "tpu":
            return self._tpu_strategy()
        gpus = tf.config.list_logical_devices("GPU")
        return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/cpu:0")

    def _tpu_strategy(self) -> tf.distribute.Strategy:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(self._tpu)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
        except tf.errors.NotFoundError as error:
            raise UserError(
                "Runtime.strategy = 'tpu', but this TensorFlow knows no TPUs: the package "
                "tensorflow-tpu must be installed in place of tensorflow; bind 'one_device' "
                "elsewhere.") from error
        except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
            raise UserError(
                f"Runtime.strategy = 'tpu', but no TPU answers at Runtime.tpu = {self._tpu!r} "
                f"({str(error).strip().splitlines()[0]}); it is 'local' on a TPU's own host, and "
                "'grpc://host:8470,...' for the hosts of a slice.") from error
        return tf.distribute.TPUStrategy(resolver)


class StopRequest:
    """Notes that the process was asked to end."""

    def __init__(self) -> None:
        self.requested = False

    @classmethod
    @contextlib.contextmanager
    def listening(cls) -> Iterator[StopRequest]:
        """Record SIGTERM and SIGINT instead of dying of them, while the context lasts."""
        request = cls()

        def note(signum: int, frame: object) -> None:
            del signum, frame
            request.requested = True

        previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield request
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)

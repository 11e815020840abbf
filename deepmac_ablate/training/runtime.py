"""Settings of a run that are not part of a trial: devices, compilation, checkpoints, logging."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import gin
import tensorflow as tf

from deepmac_ablate.bindings.ranges import Range, Steps
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.training import tf_config

# From the widest on; TensorFlow chooses its kernels by them.
_VECTORS = {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}


@gin.register(module="deepmac_ablate.runtime")
class Runtime:
    """Settings of a run that are not part of a trial's identity.

    Devices, XLA and determinism change the order of additions, and so the last digits of a step
    and, over a training, the numbers: as another seed would, not more. Results name them
    (`describe_platform`), and tables mark arms that mix them.

    Attributes:
        jit_compile: Whether XLA compiles the training step.
        deterministic: Whether TensorFlow's kernels keep to a fixed order of operations.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: The number of checkpoints to keep; the oldest are deleted.
        log_every: Steps between lines of metrics.jsonl.
    """

    def __init__(
        self,
        strategy: Literal["one_device", "mirrored", "multi_worker_mirrored", "tpu"] = "one_device",
        tpu: str = "local",
        jit_compile: bool = False,
        deterministic: bool = False,
        checkpoint_every: Steps = 1000,
        keep_checkpoints: Annotated[int, Range(1, 10_000)] = 2,
        log_every: Steps = 20,
    ) -> None:
        """Record the settings.

        Args:
            strategy: The devices to use; "one_device" is the first GPU, or the CPU if there is
                none.
            tpu: Address of the TPU, for the strategy "tpu": "local" on the TPU's own host; for a
                slice of several hosts, which each run `deepmac-ablate tpu-server`, their addresses,
                such as "grpc://h0:8470,grpc://h1:8470".
            jit_compile: Whether XLA compiles the training step.
            deterministic: Whether TensorFlow's kernels keep to a fixed order of operations.
            checkpoint_every: Steps between checkpoints.
            keep_checkpoints: The number of checkpoints to keep; the oldest are deleted.
            log_every: Steps between lines of metrics.jsonl.
        """
        self.jit_compile = jit_compile
        # On a TPU, XLA fixes the order. TensorFlow, asked for it as well, would refuse to compile
        # the gradient of max pooling.
        self.deterministic = deterministic and strategy != "tpu"
        self.checkpoint_every = checkpoint_every
        self.keep_checkpoints = keep_checkpoints
        self.log_every = log_every
        self._strategy = strategy
        self._tpu = tpu

    def create_strategy(self) -> tf.distribute.Strategy:
        """Connect to the devices.

        Raises:
            UserError: If there is no TPU for the strategy "tpu", or TF_CONFIG is not set for
                "multi_worker_mirrored".
        """
        if self._strategy == "mirrored":
            return tf.distribute.MirroredStrategy()
        if self._strategy == "multi_worker_mirrored":
            if not os.environ.get(tf_config.VARIABLE):
                raise UserError(
                    "Runtime.strategy = 'multi_worker_mirrored', but the variable TF_CONFIG, which "
                    "names the processes, is not set; on one machine, bind 'mirrored'.")
            return tf.distribute.MultiWorkerMirroredStrategy()
        if self._strategy == "tpu":
            return self._create_tpu_strategy()
        gpus = tf.config.list_logical_devices("GPU")
        return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/cpu:0")

    def describe_platform(self) -> str:
        """Describe what the last digits of numbers depend on beside the seed.

        Returns:
            Such as "AMD EPYC (AVX2), 2 threads", "4 x NVIDIA A100, XLA, deterministic" or "8 x
            TPU". The first part is the device that computes, with the widest vectors of a
            processor.
        """
        parts = [_describe_devices()]
        if self._strategy not in ("one_device", "tpu"):
            parts.append(self._strategy)
        parts += ["XLA"] * self.jit_compile + ["deterministic"] * self.deterministic
        return ", ".join(parts)

    def _create_tpu_strategy(self) -> tf.distribute.Strategy:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(self._tpu)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
        except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
            if "No OpKernel" in str(error):
                raise UserError(
                    "Runtime.strategy = 'tpu', but this TensorFlow does not support TPUs: install "
                    "the package tensorflow-tpu in place of tensorflow, or bind 'one_device' on a "
                    "machine without a TPU.") from error
            raise UserError(
                f"Runtime.strategy = 'tpu', but no TPU answers at Runtime.tpu = {self._tpu!r} "
                f"({str(error).strip().splitlines()[0]}); bind 'local' on the TPU's own host, or "
                "'grpc://host:8470,...' for the hosts of a slice.") from error
        return tf.distribute.TPUStrategy(resolver)


def processor_name() -> str:
    """Return the name of the processor and its widest vector instructions."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = {name.strip(): text.strip() for name, _, text in (
            line.partition(":") for line in reversed(lines))}
        flags = fields.get("flags", "").split()
        vectors = next((name for flag, name in _VECTORS.items() if flag in flags), "")
        name = fields.get("model name") or platform.machine()
        return f"{name} ({vectors})" if vectors else name
    return platform.processor() or platform.machine()


def _describe_devices() -> str:
    for kind in ("TPU", "GPU"):
        if devices := tf.config.list_logical_devices(kind):
            physical = tf.config.list_physical_devices(kind)
            details = tf.config.experimental.get_device_details(physical[0]) if physical else {}
            name = details.get("device_name", kind)
            return f"{len(devices)} x {name}" if len(devices) > 1 else name
    threads = tf.config.threading.get_intra_op_parallelism_threads() or int(
        os.environ.get("TF_NUM_INTRAOP_THREADS") or 0) or len(os.sched_getaffinity(0))
    return f"{processor_name()}, {count_noun(threads, 'thread')}"


class StopRequest:
    """Flag that is set once the process is asked to stop.

    Attributes:
        requested: Whether a signal has arrived.
    """

    def __init__(self) -> None:
        self.requested = False

    @classmethod
    @contextlib.contextmanager
    def listening(cls) -> Iterator[StopRequest]:
        """Catch SIGTERM and SIGINT while the context lasts, instead of being ended by them."""
        request = cls()

        def record_signal(signum: int, frame: object) -> None:
            del signum, frame
            request.requested = True

        previous = {s: signal.signal(s, record_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield request
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)

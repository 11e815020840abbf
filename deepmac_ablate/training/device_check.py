"""Check of the device: TensorFlow's import, what it sees, a matrix product, and training steps.

It runs in a process of its own, as a driver may end it or block it. That process prints each
finding as a line of JSON once it is known.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepmac_ablate.training import tpu_environment

_SIDE = 2048
_PRODUCTS = 5
_STEPS = 4

# As small as a complete model can be.
_RECIPE = """\
include 'gin/experiments/shapes_small.gin'
include 'gin/mask_heads/default.gin'
TRAIN = '{data}/train'
VAL = '{data}/val'
DATASET = None
IMAGE_SIZE = (64, 64)
BATCH_SIZE = {batch_size}
STEPS = {steps}
warm_up.steps = 1
Anchors.min_level = 4
ResNetFPN.depth = 10
ResNetFPN.width_multiplier = 0.25
ResNetFPN.fpn_filters = 16
ConvMaskHead.num_convs = 1
ConvMaskHead.width = 4
ConvMaskHead.crop_size = 8
RegionProposals.num_proposals = 10
RegionSampler.num_samples = 8
BoxHead.fc_dims = 16
Runtime.log_every = 1
"""


def run_in_process(
    runtime: Sequence[str], patience: float
) -> Iterator[dict[str, Any] | str]:
    """Run the check in a process of its own.

    Args:
        runtime: Bindings of `Runtime` for this machine.
        patience: Seconds without a new finding after which the process is killed.

    Yields:
        What `findings` yields, and at the end a sentence if the process has failed.
    """
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
            [sys.executable, "-m", "deepmac_ablate.training.device_check", *runtime],
            stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            for line in process.stdout or ():
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        try:
            while (line := lines.get(timeout=patience)) is not None:
                yield json.loads(line)
        except queue.Empty:
            process.kill()
            yield f"nothing for {patience:.0f} s"
            return
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.kill()
        if code := process.wait():
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip().splitlines()
            reason = text[-1] if text else ""
            ended = f"signal {-code}" if code < 0 else f"exit status {code}"
            yield f"{ended}: {reason}"


def findings(runtime: list[str]) -> Iterator[dict[str, Any]]:
    """Yield what is found, one part after the other.

    Args:
        runtime: Bindings of `Runtime` for this machine.

    Yields:
        `import_seconds`, with the number of `modules` and of those `compiled` for want of bytecode;
        then `devices` by kind; then `gflops` of a float32 matrix product on the first device; then
        `first_step_seconds`, `step_seconds` and `loss` of training.
    """
    started = time.monotonic()
    import tensorflow as tf

    files = [module.__cached__ for module in list(sys.modules.values())
             if getattr(module, "__cached__", None)]
    yield {"import_seconds": time.monotonic() - started, "modules": len(files),
           "compiled": sum(not os.path.exists(file) for file in files)}  # noqa: PTH110
    devices: dict[str, int] = {}
    for device in tf.config.list_logical_devices():
        devices[device.device_type] = devices.get(device.device_type, 0) + 1
    yield {"devices": devices}
    yield {"gflops": _matrix_rate()}
    yield _train(runtime, max(sum(n for kind, n in devices.items() if kind != "CPU"), 2))


def _matrix_rate() -> float:
    """Return 10^9 floating-point operations a second of a matrix product."""
    import tensorflow as tf

    matrix = tf.random.stateless_normal([_SIDE, _SIDE], [0, 1])
    times = []
    for _ in range(_PRODUCTS):
        started = time.monotonic()
        # On an accelerator, only fetching a value waits for the product.
        float(tf.linalg.matmul(matrix, matrix)[0, 0])
        times.append(time.monotonic() - started)
    return 2 * _SIDE**3 / min(times) / 1e9


def _train(runtime: list[str], batch_size: int) -> dict[str, Any]:
    """Train the smallest model for a few steps; return their seconds and the last loss."""
    from deepmac_ablate.data.shapes import generate
    from deepmac_ablate.training.run import run_trial
    from deepmac_ablate.trial.trial import Trial
    from deepmac_ablate.trial.trial_workdir import TrialWorkdir

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        generate.generate_dataset(data, num_train=batch_size, num_val=1, size=64)
        recipe = Path(folder) / "smallest.gin"
        recipe.write_text(_RECIPE.format(data=data, batch_size=batch_size, steps=_STEPS))
        started = time.time()
        workdir = TrialWorkdir(Path(folder) / "trial")
        run_trial(Trial((str(recipe),), (), 0, "check"), workdir, "train", runtime)
        lines = workdir.read_metrics()
    times = [line["wall_time"] for line in lines]
    return {
        "first_step_seconds": times[0] - started,
        "step_seconds": (times[-1] - times[0]) / (len(times) - 1),
        "loss": lines[-1]["train/total_loss"]}


def main() -> None:
    """Print the findings; what TensorFlow and the trainer print goes to stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tpu_environment.prepare_for_tpu(os.environ)
    logging.disable(logging.WARNING)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.redirect_stdout(io.StringIO()):
        for found in findings(sys.argv[1:]):
            out.write(json.dumps(found) + "\n")
            out.flush()


if __name__ == "__main__":
    main()

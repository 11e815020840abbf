"""Check of the device: TensorFlow's import, what it sees, a matrix product, and training steps.

It runs in a process of its own, as a driver may end it or block it::

    python -m deepmac_ablate.training.device_check

Each finding is printed as a line of JSON once it is known.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
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


def findings(runtime: list[str]) -> Iterator[dict[str, Any]]:
    """Yield what is found, one part after the other.

    Args:
        runtime: Bindings of `Runtime` for this machine.

    Yields:
        `import_seconds`; then `devices` by kind; then `gflops` of a float32 matrix product on the
        first device; then `first_step_seconds`, `step_seconds` and `loss` of training.
    """
    started = time.monotonic()
    import tensorflow as tf

    yield {"import_seconds": time.monotonic() - started}
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

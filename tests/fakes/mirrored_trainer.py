"""Trial without TensorFlow that writes files as training does.

    python -m tests.fakes.mirrored_trainer

It resumes from the last checkpoint, prints "started" before its first step, and waits before the
steps at which the test wants to interrupt it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from deepmac_ablate.trial.tracking.start_mirror import mirroring
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

TRIAL_ID = "0123456789ab"
CONFIG = """\
WIDTH = 64
Training.steps = 100
Training.seen_classes = ['box', 3]
Training.model = @MaskRCNN
Training.losses = @masks/Losses()
Training.data = @TrainingData()
TrainingData.image_size = (64, %WIDTH)
masks/Losses.weight = 1.5
Runtime.deterministic = True
Unused.number = 7
"""


class Stopped(Exception):  # noqa: N818
    """Stand-in for `training.Interrupted`."""


def write(workdir: TrialWorkdir, stop_at: int | None, end: str, pause: float) -> None:
    """Take steps up to 100 from the last checkpoint, saving one every 40 steps."""
    workdir.start(Trial((), (), 5, "deep"), TRIAL_ID, CONFIG)
    checkpoint = Path(workdir.path) / "checkpoints" / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    workdir.drop_metrics_after(first)
    for step in range(first + 10, 101, 10):
        time.sleep(pause)
        workdir.append_metrics(step, metrics(step))
        if step % 40 == 0:
            checkpoint.write_text(str(step))
            workdir.append_evaluation(step, evaluation(step))
        if step == stop_at:
            print("stopped", flush=True)
            if end == "hang":
                # Not for ever, should the test fail before it kills this.
                time.sleep(90)
            if end == "interrupted":
                raise Stopped
            if end == "failed":
                raise RuntimeError("Out of memory.")
    workdir.write_overlays({7: png(), 12: png()})
    workdir.write_result({"step": 100, **evaluation(100)})


def metrics(step: int) -> dict[str, float]:
    """Return metrics that depend only on the step, as those of a deterministic trial."""
    return {"train/total_loss": 1 / step, "train/learning_rate": 0.1 + step}


def evaluation(step: int) -> dict[str, float | None]:
    """Return metrics of an evaluation, one of which is undefined."""
    return {"groundtruth/iou/novel": step / 200, "jittered0.1/iou/seen": None}


def png() -> bytes:
    """Return a PNG image of one colour."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, format="PNG")
    return buffer.getvalue()


def main() -> None:
    """Run the rest of the trial."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--mode", default="offline")
    parser.add_argument("--job_type", default="train")
    parser.add_argument("--stop_at", type=int)
    parser.add_argument("--end", default="finished")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--wait_seconds", type=float, default=20.0)
    args = parser.parse_args()
    started = time.monotonic()
    with mirroring(args.folder, args.mode, args.job_type, Stopped, args.wait_seconds, 0.05):
        print(f"within after {time.monotonic() - started}", flush=True)
        write(TrialWorkdir(args.folder), args.stop_at, args.end, args.pause)
        print(f"wrote until {time.monotonic() - started}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

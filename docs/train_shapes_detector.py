"""Train the detector of the built-in synthetic dataset, and keep its weights in gin/checkpoints.

::

    .venv/bin/python docs/train_shapes_detector.py

Its images are drawn with another seed than those of `deepmac-ablate data shapes`, so it has seen
none of the images that experiments train or evaluate on. It is trained on the boxes of all classes
and never sees a mask. On 2 CPU cores that takes about half an hour; killed, it goes on where it
stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tensorflow as tf

from deepmac_ablate.data.shapes.generate import generate_dataset
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.training.session import prepare_model
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_TRAINED = ("backbone", "decoder", "rpn_head", "detection_head")
_IMAGES = 6000


def train_detector(workdir: Path, output: Path) -> None:
    """Train the detector and write its weights.

    Args:
        workdir: Folder of the dataset and of the trial.
        output: Path of the checkpoint without extension.
    """
    data = workdir / "data"
    if not (data / "val-info.json").exists():
        generate_dataset(data, seed=1, num_train=_IMAGES, num_val=300)
    trial = Trial(
        ("gin/experiments/shapes_detector.gin",),
        (f"TRAIN = '{data / 'train'}'", f"VAL = '{data / 'val'}'", "DATASET = None",
         "Runtime.checkpoint_every = 250"), 0, "detector")
    files = TrialWorkdir(str(workdir / "trial"))
    result = run_trial(trial, files)
    prepared = prepare_model(trial)
    restore_latest(prepared, files)
    parts = checkpoints.named_parts(prepared.model)
    output.parent.mkdir(parents=True, exist_ok=True)
    written = tf.train.Checkpoint(**{name: parts[name] for name in _TRAINED}).write(str(output))
    size = sum(path.stat().st_size for path in output.parent.glob(f"{output.name}.*"))
    print(f"{written}: {size / 1e6:.1f} MB, box AP {100 * result['detections/box_ap/all']:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the detector of the synthetic dataset.")
    parser.add_argument("--workdir", type=Path, default=Path("runs/shapes_detector"), metavar="DIR")
    parser.add_argument(
        "--output", type=Path, metavar="PREFIX", default=Path("gin/checkpoints/shapes_detector"))
    train_detector(**vars(parser.parse_args()))

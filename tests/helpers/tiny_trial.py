"""A trial that takes seconds: a few small images and a minimal model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from deepmac_ablate.data.shapes import generate
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# Entries of result.json that depend on the machine, and on what else ran on it.
DURATIONS = (
    "train_seconds", "step_seconds", "evaluation_seconds", "setup_seconds", "trials_before")

STEPS = 50
CHECKPOINT_EVERY = 10

_RECIPE = """\
include 'gin/experiments/shapes_small.gin'
include 'gin/mask_heads/default.gin'

TRAIN = '{folder}/data/train'
DATASET = '{dataset}'
VAL = '{folder}/data/val'
IMAGE_SIZE = (64, 64)
BATCH_SIZE = 2
STEPS = {steps}
LEARNING_RATE = 0.01
warm_up.steps = 2

Anchors.min_level = 4
ResNetFPN.depth = 10
ResNetFPN.width_multiplier = 0.25
ResNetFPN.fpn_filters = 16
ConvMaskHead.num_convs = 1
ConvMaskHead.width = 4
ConvMaskHead.crop_size = 8
TrainingData.mask_crop_size = 16
RegionProposals.num_filters = 16
RegionProposals.pre_nms_top_k = 20
RegionProposals.num_proposals = 10
RegionProposals.test_pre_nms_top_k = 20
RegionProposals.test_num_proposals = 10
RegionSampler.num_samples = 8
BoxHead.fc_dims = 16
Detections.max_per_image = 5
# After so few steps nothing scores much.
Detections.score_threshold = 0.01
# Does not divide the 7 images.
EvaluationData.batch_size = 4

Runtime.log_every = 1
Runtime.checkpoint_every = {checkpoint_every}
Runtime.deterministic = True
"""


@contextlib.contextmanager
def op_by_op() -> Iterator[None]:
    """Run functions operation by operation: of a few batches, tracing would be the longest part.

    For tests of what surrounds a model; those of models and of training have graphs, as users do.
    """
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


class Recipe(NamedTuple):
    """A gin file for tiny trials, and the datasets that it names."""

    gin_file: Path
    data: Path

    def trial(self, *bindings: str, seed: int = 0) -> Trial:
        """A trial of this recipe with some bindings replaced."""
        return Trial((str(self.gin_file),), bindings, seed, "tiny")


def write_recipe(folder: Path) -> Recipe:
    """Draw 24 + 7 images of 64 x 64 pixels and write a recipe for them."""
    data = generate.generate_dataset(folder / "data", num_train=24, num_val=7, size=64)
    path = folder / "tiny.gin"
    path.write_text(_RECIPE.format(
        folder=folder, dataset=data.train.info.identity, steps=STEPS,
        checkpoint_every=CHECKPOINT_EVERY))
    return Recipe(path, folder / "data")


class Witness(TrialWorkdir):
    """A workdir that records its files at certain moments of training."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.before_first_step: set[str] = set()
        self.after_first_step: set[str] = set()

    def drop_metrics_after(self, step: int) -> None:
        """Training calls this before its first step."""
        self.before_first_step = self.files()
        super().drop_metrics_after(step)

    def append_metrics(self, step: int, scalars: dict[str, float]) -> None:
        """Training calls this after each step here, the second time with all files written."""
        if step == 2:
            self.after_first_step = self.files()
        super().append_metrics(step, scalars)

    def files(self) -> set[str]:
        """Return the relative paths of all files and folders."""
        return {str(path.relative_to(self.path)) for path in Path(self.path).rglob("*")}


class Finished(NamedTuple):
    """A trial that was trained and then evaluated, in two calls."""

    recipe: Recipe
    trial: Trial
    workdir: Witness
    returned: tuple[dict | None, dict | None]

    def trial_with(self, *bindings: str, seed: int = 0) -> Trial:
        """The trial with some bindings or the seed replaced."""
        return self.recipe.trial(*bindings, seed=seed)

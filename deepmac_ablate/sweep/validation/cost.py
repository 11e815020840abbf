"""What an arm costs: parameters, multiply-adds and bytes, as plain numbers.

They are counted from the layers that training would build, without running any of them. Time is
not among them, as it depends on the machine; multiply-adds (MACs) compare arms on any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

# A backward pass takes two products for each one of the forward pass: for the inputs' gradients and
# for the weights'.
_FORWARD_PASSES_PER_STEP = 3


class Ratios(NamedTuple):
    """How many times as much as another arm; None where the other has none of it."""

    parameters: float | None
    gmacs_per_image: float | None
    training_gmacs: float | None
    disk_bytes: float | None


@dataclasses.dataclass(frozen=True)
class Cost:
    """What an arm costs, for one seed.

    Attributes:
        parameters: numbers that the model consists of, statistics of normalisation included.
        trainable_parameters: those that the optimizer moves.
        backbone_gmacs: 10^9 multiply-adds of backbone and decoder, per image.
        box_gmacs: those of the region proposal network and of the box head on the regions that it
            is trained on, per image. An evaluation runs the box head on all proposals instead.
        mask_gmacs: those of the mask head and its further inputs, per box.
        mask_boxes: boxes per image that the mask head is trained in: its slots, empty ones
            included.
        checkpoint_bytes: the variables in a checkpoint: model and optimizer.
        checkpoints: how many of them are there at the end.
        steps: of training.
        batch_size: images per step, over all replicas.
    """

    parameters: int
    trainable_parameters: int
    backbone_gmacs: float
    box_gmacs: float
    mask_gmacs: float
    mask_boxes: int
    checkpoint_bytes: int
    checkpoints: int
    steps: int
    batch_size: int

    @property
    def gmacs_per_image(self) -> float:
        """10^9 multiply-adds of a forward pass in training, per image."""
        return self.backbone_gmacs + self.box_gmacs + self.mask_boxes * self.mask_gmacs

    @property
    def training_gmacs(self) -> float:
        """10^9 multiply-adds of all steps: an estimate, three forward passes each.

        It counts frozen parts like all others, and no evaluation.
        """
        return _FORWARD_PASSES_PER_STEP * self.gmacs_per_image * self.steps * self.batch_size

    @property
    def disk_bytes(self) -> int:
        """Bytes that the checkpoints take at the end; while one is written, it comes on top."""
        return self.checkpoint_bytes * self.checkpoints

    def relative_to(self, baseline: Cost) -> Ratios:
        """Return this cost over that of a baseline."""
        return Ratios(*(
            getattr(self, name) / of if (of := getattr(baseline, name)) else None
            for name in Ratios._fields))

    def to_json(self) -> dict[str, int | float]:
        """Return the attributes by name."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Cost:
        """Make what `to_json` returned.

        Raises:
            TypeError: If an attribute is missing or unknown.
        """
        return cls(**fields)

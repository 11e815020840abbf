"""Cost of an arm in parameters, multiply-adds and bytes.

The numbers are counted from the layers that training would build, without running them. Time is not
among them, as it depends on the machine; multiply-adds (MACs) compare arms on any machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import COUNT, check_fields, from_json, number

# A backward pass takes two products for each product of the forward pass: one for the gradients of
# the inputs, one for those of the weights.
_FORWARD_PASSES_PER_STEP = 3


_REMEDY = "launch the sweep again to write it anew"


class Ratios(NamedTuple):
    """Cost of an arm divided by that of another; None where the other cost is zero."""

    parameters: float | None
    gmacs_per_image: float | None
    training_gmacs: float | None
    disk_bytes: float | None


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of one trial of an arm.

    Attributes:
        parameters: The number of parameters of the model, normalization statistics included.
        trainable_parameters: The number of parameters that the optimizer updates.
        backbone_gmacs: 10^9 multiply-adds of backbone and decoder, per image.
        box_gmacs: 10^9 multiply-adds of the region proposal network, and of the box head on the
            regions it is trained on, per image. Evaluation runs the box head on all proposals.
        mask_gmacs: 10^9 multiply-adds of the mask head and its additional inputs, per box.
        mask_boxes: The number of boxes per image in which the mask head is trained: its slots,
            empty ones included.
        checkpoint_bytes: The bytes of the variables in a checkpoint, of model and optimizer.
        checkpoints: The number of checkpoints at the end of training.
        steps: The number of training steps.
        batch_size: The number of images per step, over all replicas.
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
        """Estimated 10^9 multiply-adds of all steps, at three forward passes per step.

        Frozen parts count like all others; evaluation is not included.
        """
        return _FORWARD_PASSES_PER_STEP * self.gmacs_per_image * self.steps * self.batch_size

    @property
    def disk_bytes(self) -> int:
        """Bytes of the checkpoints at the end; one more is on disk while it is being written."""
        return self.checkpoint_bytes * self.checkpoints

    def relative_to(self, baseline: Cost) -> Ratios:
        """Return this cost divided by that of a baseline."""
        return Ratios(*(
            getattr(self, name) / base if (base := getattr(baseline, name)) else None
            for name in Ratios._fields))

    def to_json(self) -> dict[str, int | float]:
        """Return the attributes by name."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Cost:
        """Return the cost that `to_json` has written.

        Raises:
            UserError: If an attribute is missing or not a valid number.
            TypeError: If an attribute is unknown.
        """
        check_fields(fields, _FIELDS, "The cost")
        return cls(**fields)


def parse_costs(text: bytes, where: str) -> tuple[dict[str, Cost], str]:
    """Return the costs in costs.json by the ids of trials, and a sentence about broken ones.

    Raises:
        UserError: If the file is not a JSON object.
    """
    costs, broken = {}, ""
    for trial, fields in from_json(text, where, _REMEDY).items():
        entry = f"The entry {trial!r} of {where}"
        try:
            check_fields(fields, _FIELDS, entry, _REMEDY)
            costs[trial] = Cost(**{name: fields[name] for name in _FIELDS})
        except UserError as error:
            broken = broken or str(error)
    return costs, broken


_FIELDS = {
    field.name: COUNT if field.type == "int" else number(0) for field in dataclasses.fields(Cost)}

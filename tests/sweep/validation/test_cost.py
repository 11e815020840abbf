"""The cost of an arm, derived from its counts."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deepmac_ablate.sweep.validation.cost import Cost, Ratios

COST = Cost(
    parameters=46_000_000, trainable_parameters=45_000_000, backbone_gmacs=144.0, box_gmacs=117.0,
    mask_gmacs=0.5, mask_boxes=100, checkpoint_bytes=364, checkpoints=2, steps=10, batch_size=4)

# What changes with each attribute.
PER_IMAGE = ["gmacs_per_image", "training_gmacs"]
CHANGED = {
    "parameters": ["parameters"],
    "trainable_parameters": [],
    "backbone_gmacs": PER_IMAGE,
    "box_gmacs": PER_IMAGE,
    "mask_gmacs": PER_IMAGE,
    "mask_boxes": PER_IMAGE,
    "checkpoint_bytes": ["disk_bytes"],
    "checkpoints": ["disk_bytes"],
    "steps": ["training_gmacs"],
    "batch_size": ["training_gmacs"],
}


def test_a_step_is_three_forward_passes_of_its_batch():
    """Calculated by hand."""
    assert 311.0 == COST.gmacs_per_image
    assert 3 * 311.0 * 10 * 4 == COST.training_gmacs


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Cost)])
def test_every_count_counts(name):
    """Doubling one changes what is derived from it, and from it alone."""
    doubled = dataclasses.replace(COST, **{name: 2 * getattr(COST, name)})
    ratios = doubled.relative_to(COST)._asdict()
    assert CHANGED[name] == [name for name, ratio in ratios.items() if ratio != 1.0]


def test_costs_are_compared_with_a_baseline():
    """Twice the checkpoints are twice the bytes, and nothing has no multiple."""
    other = dataclasses.replace(COST, checkpoints=4)
    assert Ratios(1.0, 1.0, 1.0, 2.0) == other.relative_to(COST)
    none = dataclasses.replace(COST, steps=0)
    assert COST.relative_to(none).training_gmacs is None


def test_costs_survive_json():
    """A cost survives being written as plain JSON and read again."""
    assert COST == Cost.from_json(json.loads(json.dumps(COST.to_json())))
    with pytest.raises(TypeError, match="seconds"):
        Cost.from_json(COST.to_json() | {"seconds": 1})

"""Matching and sampling of regions against Model Garden's sampler."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers import roi_sampler

from deepmac_ablate.modeling.detectors import Regions
from deepmac_ablate.modeling.detectors.region_parts import (
    Detections,
    RegionSampler,
    StaticDetections,
)

NUMBER = 40


def annotations() -> tuple[np.ndarray, np.ndarray]:
    """Boxes [2, 5, 4] and classes [2, 5]; the second image has two instances."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (2, 5, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (2, 5, 2))], -1)
    classes = rng.integers(1, 9, (2, 5))
    boxes[1, 2:], classes[1, 2:] = -1.0, -1
    return boxes.astype(np.float32), classes.astype(np.int32)


def proposals() -> np.ndarray:
    """[2, 40, 4]: boxes near objects and elsewhere."""
    rng = np.random.default_rng(1)
    near = np.repeat(annotations()[0], 4, axis=1) + rng.normal(scale=4.0, size=(2, 20, 4))
    corner = rng.uniform(0, 60, (2, 20, 2))
    far = np.concatenate([corner, corner + rng.uniform(5, 40, (2, 20, 2))], -1)
    return np.clip(np.concatenate([near, far], axis=1), 0.0, 100.0).astype(np.float32)


def sample(sampler: RegionSampler, seed: int = 0) -> Regions:
    boxes, classes = annotations()
    return sampler.sample(
        tf.constant(proposals()), tf.constant(boxes), tf.constant(classes), tf.constant([seed, 1]))


def rows(regions: tuple[tf.Tensor, ...], image: int) -> list[tuple[float, ...]]:
    """An image's regions as sorted tuples of all their fields."""
    fields = [np.asarray(field)[image].reshape(len(regions[0][image]), -1) for field in regions]
    return sorted(map(tuple, np.concatenate(fields, axis=1).round(4).tolist()))


@pytest.mark.parametrize("mix_gt_boxes", [True, False])
@pytest.mark.parametrize(("foreground", "background"), [(0.5, 0.5), (0.6, 0.3)])
def test_all_regions_equal_model_gardens(
    mix_gt_boxes: bool, foreground: float, background: float
) -> None:
    """If all candidates are taken, boxes, classes and matches are Model Garden's."""
    number = NUMBER + 5 * mix_gt_boxes
    ours = sample(RegionSampler(
        number, foreground_iou=foreground, background_iou=background, mix_gt_boxes=mix_gt_boxes))
    theirs = roi_sampler.ROISampler(
        mix_gt_boxes, number, foreground_iou_threshold=foreground,
        background_iou_high_threshold=background)(
            tf.constant(proposals()), *map(tf.constant, annotations()))
    for image in range(2):
        assert rows(theirs, image) == rows(ours, image)
    assert (ours.gt_classes.numpy() > 0).sum() > 5


def test_foreground_is_bounded_and_background_fills() -> None:
    """A quarter of sixteen regions are objects, the rest is background."""
    regions = sample(RegionSampler(16))
    assert (regions.gt_classes.numpy() > 0).sum(axis=1).tolist() == [4, 4]
    background = regions.gt_classes.numpy() == 0
    assert (regions.gt_index.numpy()[background] == -1).all()
    assert (regions.gt_boxes.numpy()[background] == 0).all()


def test_each_region_names_its_instance() -> None:
    """An object's index leads to the box and class that it carries."""
    boxes, classes = annotations()
    regions = sample(RegionSampler(16))
    image, slot = np.nonzero(regions.gt_classes.numpy() > 0)
    index = regions.gt_index.numpy()[image, slot]
    np.testing.assert_array_equal(boxes[image, index], regions.gt_boxes.numpy()[image, slot])
    np.testing.assert_array_equal(classes[image, index], regions.gt_classes.numpy()[image, slot])


def test_the_seed_decides() -> None:
    """The same seed draws the same regions, another seed others."""
    first, again, other = (sample(RegionSampler(8), seed).boxes.numpy() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    "change",
    [{"num_samples": 12}, {"foreground_fraction": 0.5}, {"foreground_iou": 0.8},
     {"background_iou": 0.1}, {"mix_gt_boxes": False}],
    ids=lambda change: next(iter(change)))
def test_each_setting_matters(change: dict[str, float]) -> None:
    """Changing a setting changes the sampled regions."""
    plain = sample(RegionSampler(16))
    changed = sample(RegionSampler(**{"num_samples": 16, **change}))
    assert any(
        a.shape != b.shape or (a.numpy() != b.numpy()).any()
        for a, b in zip(plain, changed, strict=True))


def test_each_setting_has_a_case() -> None:
    """A new setting of the sampler needs a case in the test above."""
    mark = next(m for m in test_each_setting_matters.pytestmark if m.name == "parametrize")
    cases = {name for change in mark.args[1] for name in change}
    assert {field.name for field in dataclasses.fields(RegionSampler)} == cases


@pytest.mark.slow
def test_static_detections_are_the_same_detections() -> None:
    """Only where and how fast they run tells the two from each other."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (2, 30, 2))
    regions = np.concatenate([corners, corners + rng.uniform(4, 24, (2, 30, 2))], axis=-1)
    arguments = [
        rng.normal(0, 1, (2, 30, 5 * 4)), rng.normal(0, 2, (2, 30, 5)), regions,
        np.full((2, 2), 64)]
    one, other = (
        kind(max_per_image=100).build()(
            *(tf.constant(a, tf.float32) for a in arguments), [10.0, 10.0, 5.0, 5.0])
        for kind in (Detections, StaticDetections))
    assert 10 < int(one["num_detections"][0]) < 100
    for key, value in one.items():
        np.testing.assert_allclose(other[key], value, rtol=1e-5, atol=1e-4)

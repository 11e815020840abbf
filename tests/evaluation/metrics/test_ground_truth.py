"""Ground truth for metrics: of scored images only, encoded as RLE, and immutable."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
from pycocotools import mask as rle

from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from tests.evaluation.metrics.test_average_precision import dataset, square
from tests.helpers import coco_tiny
from tests.helpers.noisy_detections import quiet_coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.slow
def test_every_annotated_mask_is_the_one_that_pycocotools_reads():
    """Masks of real polygons and crowds agree pixel by pixel."""
    annotations = coco_tiny.instances("instances_val")
    coco = quiet_coco(copy.deepcopy(annotations))
    ground_truth = GroundTruth.from_coco(annotations)
    assert list(coco.anns) == [annotation.id for annotation in ground_truth.annotations]
    for annotation in ground_truth.annotations:
        expected = coco.annToMask(coco.anns[annotation.id])
        np.testing.assert_array_equal(rle.decode(annotation.region), expected)


def test_an_object_without_a_mask_has_its_box_as_region():
    """Its region is the pixels of the box, and it is marked as having no mask."""
    truth = dataset(square(1) | {"segmentation": []}, square(2))
    bare, masked = GroundTruth.from_coco(truth).annotations
    assert [False, True] == [bare.has_mask, masked.has_mask]
    # The mask is the whole box.
    np.testing.assert_array_equal(rle.decode(bare.region), rle.decode(masked.region))


def test_only_scored_images_are_kept_in_the_order_of_the_file():
    """Images, annotations and groups are of the scored images; other ids are known."""
    truth = dataset(
        square(4, 3), square(9, 1), square(2, 2), square(5, 3, iscrowd=1), images=4)
    ground_truth = GroundTruth.from_coco(truth, np.array([4, 3, 1]))
    assert [1, 3, 4] == list(ground_truth.image_sizes)
    assert (100, 120) == ground_truth.image_sizes[3]
    assert [4, 9, 5] == [a.id for a in ground_truth.annotations]
    assert [4, 9] == [a.id for a in ground_truth.objects]
    by_image = {i: [a.id for a in some] for i, some in ground_truth.objects_by_image.items()}
    assert {1: [9], 3: [4], 4: []} == by_image
    assert {1, 2, 3, 4} == ground_truth.known_image_ids
    assert {2, 4, 5, 9} == ground_truth.known_annotation_ids


def test_ground_truth_cannot_be_changed():
    """Neither it nor its groups can be modified."""
    ground_truth = GroundTruth.from_coco(dataset(square(1)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        ground_truth.annotations = ()
    with pytest.raises(AttributeError):
        ground_truth.annotations[0].area = 0
    for mapping in (
            ground_truth.image_sizes, ground_truth.class_names, ground_truth.objects_by_image,
            ground_truth.annotations_by_image):
        with pytest.raises(TypeError):
            mapping[1] = None


def test_a_file_is_as_good_as_its_content(tmp_path):
    """A file, given as a path or as text, gives the same as its content."""
    truth = dataset(square(1), square(2, 2))
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(truth))
    expected = GroundTruth.from_coco(truth, [2]).annotations
    assert expected == GroundTruth.load(path, [2]).annotations
    assert expected == GroundTruth.load(str(path), [2]).annotations


def test_impossible_ground_truth_is_refused(tmp_path):
    """Unknown or no images, annotations without area, and unreadable files are named."""
    truth = dataset(square(1))
    with pytest.raises(UserError, match=r"2 scored images are not in the .* \(ids 7, 9\)"):
        GroundTruth.from_coco(truth, [1, 9, 7])
    with pytest.raises(UserError, match="no image was scored"):
        GroundTruth.from_coco(truth, [])
    del truth["annotations"][0]["area"]
    with pytest.raises(UserError, match=r"1 annotation has no `area` \(ids 1\)"):
        GroundTruth.from_coco(truth)
    with pytest.raises(UserError, match=r"absent.json' does not exist"):
        GroundTruth.load(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match=r"broken.json' is not JSON: Expecting"):
        GroundTruth.load(tmp_path / "broken.json")

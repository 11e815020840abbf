"""Peculiarities of a dataset are noted with their number and place, and are no problems."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmac_ablate.data import convert_coco
from deepmac_ablate.data.check import check_dataset
from deepmac_ablate.data.record_notes import mask_bounds
from tests.helpers.data_fixtures import document, square, write

_RECTANGLES = "3 of 3 masks are filled rectangles, like boxes that were exported as masks."
_UNUSED = "No objects: 1 class (leaf)."


def _triangle(annotation):
    x, y, width, height = annotation["bbox"]
    annotation["segmentation"] = [[x, y, x + width, y, x, y + height]]
    return annotation


def _content():
    """Three images with one triangle each."""
    content = document(3)
    content["annotations"] = [_triangle(annotation) for annotation in content["annotations"]]
    return content


def _notes(folder, content, pictures=None):
    """Return the notes on a converted document, of which some images have other pixels."""
    images, annotations = write(folder, content)
    for name, pixels in (pictures or {}).items():
        Image.fromarray(pixels).save(images / name)
    convert_coco.convert_dataset(images, annotations, folder / "train")
    report = check_dataset(folder / "train", folder / "drawn", 0)
    assert [] == report.problems
    assert [] == report.notes or "Notes:" in report.lines()
    return report.notes


def test_an_ordinary_dataset_has_no_notes(tmp_path):
    """Beyond a class that no object has."""
    assert [_UNUSED] == _notes(tmp_path, _content())


def test_images_without_objects_are_counted(tmp_path):
    """A crowd is no object."""
    content = _content()
    content["annotations"][0]["iscrowd"] = 1
    del content["annotations"][2]
    [unused, empty] = _notes(tmp_path, content)
    assert _UNUSED == unused
    assert empty in ("No objects: 2 images (1; 3).", "No objects: 2 images (3; 1).")


def test_images_with_more_objects_than_coco_counts(tmp_path):
    """100 objects are fine."""
    content = _content()
    content["annotations"] = [
        _triangle(square(i, 1 + i // 101, i % 10, i // 10 % 20, 8)) for i in range(1, 202)]
    [empty, _, crowded] = sorted(_notes(tmp_path, content), key=len)
    assert "No objects: 1 image (3)." == empty
    assert crowded.startswith("More than 100 objects, of which training uses TrainingData.max_inst")
    assert crowded.endswith(": 1 image (2).")


def test_pictures_that_show_nothing_or_the_same(tmp_path):
    """One colour; and the same pixels in another file."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    pictures = {"1.png": np.full((30, 40, 3), 9, np.uint8), "2.png": noise, "3.png": noise}
    [_, constant, repeated] = sorted(_notes(tmp_path, _content(), pictures), key=len)
    assert "Only one colour: 1 image (1)." == constant
    what = "The same pixels as in another image: 1 image"
    assert repeated in (f"{what} (2 (as 3)).", f"{what} (3 (as 2)).")


@pytest.mark.parametrize(("width", "height", "noted"), [(264, 8, True), (6, 240, True),
                                                       (256, 8, False)])
def test_strips_are_noted(tmp_path, width, height, noted):
    """Their objects vanish when they are resized to the model's input."""
    content = _content()
    content["images"][0] |= {"width": width, "height": height}
    content["annotations"][0] = _triangle(square(1, 1, 0, 0, 5))
    strip = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    notes = _notes(tmp_path, content, {"1.png": strip})
    assert noted == any(f"image (1 ({width} x {height}))" in note for note in notes)


def test_boxes_that_do_not_fit_their_masks(tmp_path):
    """Much larger than the mask, or with a mask that sticks out; a few pixels are no difference."""
    content = _content()
    content["images"][0] |= {"width": 80, "height": 60}
    tails = [[30, 5, 48, 5, 48, 6, 30, 6], [5, 30, 6, 30, 6, 48, 5, 48]]
    corners = [4, 4, 30, 4, 30, 30, 4, 30]
    content["annotations"] = [
        square(1, 1, 4, 4, 26, segmentation=[corners, *tails]),
        _triangle(square(2, 1, 50, 30, 20)) | {"bbox": [40, 20, 32, 36]},
        _triangle(square(3, 2, 10, 10, 4)) | {"bbox": [8, 8, 8, 8]},
        _triangle(square(4, 3, 10, 10, 10))]
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    assert [
        _UNUSED,
        "IoU of box and bounds of the mask below 0.5: 1 object (image 1, instance 0 (box)).",
        "Box of more than twice the area that its mask extends over: 1 object (image 1, instance 1 "
        "(box))."] == _notes(tmp_path, content, {"1.png": pixels})


def test_boxes_exported_as_masks(tmp_path):
    """Noted if most masks are rectangles."""
    content = document(3)
    assert [_UNUSED, _RECTANGLES] == _notes(tmp_path / "a", content)
    content["annotations"][:2] = map(_triangle, content["annotations"][:2])
    assert [_UNUSED] == _notes(tmp_path / "b", content)


def test_bounds_of_masks():
    """Tight, with exclusive ends; zeros for an empty mask."""
    masks = np.zeros((3, 5, 7))
    masks[0, 1, 2] = masks[0, 3, 1] = masks[2, 4, 6] = 1
    assert [[1, 1, 4, 3], [0, 0, 0, 0], [4, 6, 5, 7]] == mask_bounds(masks).tolist()
    assert (0, 4) == mask_bounds(np.zeros((0, 5, 7))).shape

"""Segmentations in the notations of other tools are read or refused, never lost."""

from __future__ import annotations

import pytest

from deepmac_ablate.data.masks import MaskError, count_pixels, decode_segmentation
from deepmac_ablate.data.segmentations import NO_SEGMENTATION, TOO_FEW_CORNERS, read_segmentation

SQUARE = [6, 4, 16, 4, 16, 14, 6, 14]
PAIRS = [[6, 4], [16, 4], [16, 14], [6, 14]]
RUNS = {"size": [30, 40], "counts": [600, 10, 590]}


def test_segmentations_of_coco_stay_as_they_are():
    """Polygons and run lengths are returned without a note."""
    for value in ([SQUARE], [SQUARE, [0.5, 1, 2, 1, 2, 2.5]], RUNS):
        assert (value, "", "") == read_segmentation(value, 30, 40)


@pytest.mark.parametrize(("value", "note"), [
    (SQUARE, "single list of numbers"),
    (PAIRS, "[x, y] pairs"),
    ([PAIRS], "[x, y] pairs"),
    ([[SQUARE]], "nested too deeply"),
    ([[point] for point in PAIRS], "nested too deeply"),
    ([[[point] for point in PAIRS]], "nested too deeply"),
    ([SQUARE, [1, 2, 3, 4]], "fewer than three corners"),
])
def test_another_notation_is_read_and_told(value, note):
    """One list, points as pairs, contours of OpenCV and surplus brackets can mean only one mask."""
    read = read_segmentation(value, 30, 40)
    assert [SQUARE] == read.value
    assert note in read.note


@pytest.mark.parametrize(("value", "reason"), [
    (None, NO_SEGMENTATION), ([], NO_SEGMENTATION), ({}, NO_SEGMENTATION), ([[]], NO_SEGMENTATION),
    ([[6, 4, 16, 14]], TOO_FEW_CORNERS), ([6, 4, 16, 14], TOO_FEW_CORNERS),
])
def test_a_missing_mask_has_a_reason(value, reason):
    """Two corners of a rectangle are not the same as no segmentation."""
    assert (None, reason, "") == read_segmentation(value, 30, 40)


@pytest.mark.parametrize(("value", "message"), [
    ([{"x": 6, "y": 4}], r"holds \{'x': 6, 'y': 4\}; COCO's is \[\[x0, y0,"),
    ({"size": [30, 40], "points": [1]}, "object of 'size', 'points'; COCO's is"),
    (float("nan"), "must be a list or an object, not nan"),
    ([SQUARE, 3], "holds 3"),
    ([[6, 4, float("nan"), 4, 16, 14]], "corner at nan"),
    ([[6, 4, float("inf"), 4, 16, 14]], "corner at inf"),
    ([[6, 4, 1e8, 4, 16, 14]], "corner at 100000000.0, .* outside the image of 40 x 30"),
    ([[6, 4, 10**400, 4, 16, 14]], r"corner at 10{56}\.\.\.,"),
    ([[6, 4, True, 4, 16, 14]], "holds True, which is not a number"),
    ([[6, 4, "16", 4, 16, 14]], "holds '16', which is not a number"),
    ([[0, 0, 99_999, 0] * 60], "outline of a polygon is longer than 10000000 pixels"),
    ({**RUNS, "counts": [-1, 1201]}, "not run lengths"),
    ({**RUNS, "counts": [True, 1199]}, "not run lengths"),
    ({**RUNS, "counts": [2**64, 1]}, "cover 18446744073709551617 of 1200 pixels"),
    ({**RUNS, "size": [30.0, 40.0]}, r"size is \[30.0, 40.0\]"),
    ({"size": [2**31, 2**31], "counts": [2**62]}, "size is"),
    ({**RUNS, "counts": "b'abc'"}, "text of a Python bytes object"),
])
def test_what_cannot_be_meant_is_refused(value, message):
    """The sentence has the value; C code sees none of these."""
    with pytest.raises(MaskError, match=message):
        read_segmentation(value, 30, 40)


def test_polygons_of_a_crop_reach_far_outside():
    """A corner 50,000 pixels away is drawn, as polygons of a large scene are in its tiles."""
    wide = [[-50_000, 10, 50_000, 10, 50_000, 20, -50_000, 20]]
    assert 400 == count_pixels(read_segmentation(wide, 30, 40).value, 30, 40)
    assert 400 == decode_segmentation(wide, 30, 40).sum()

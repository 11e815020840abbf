"""COCO segmentations to masks."""

from __future__ import annotations

import io

import numpy as np
import pycocotools.mask as mask_util
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from deepmac_ablate.data import masks

_SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
_MASKS = _SHAPES.flatmap(lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, 1)))


@given(_MASKS)
def test_packed_run_lengths_of_pycocotools_are_expanded_exactly(mask):
    """Any mask packed by pycocotools comes back pixel by pixel."""
    packed = mask_util.encode(np.asfortranarray(mask))
    segmentation = {"size": list(mask.shape), "counts": packed["counts"].decode()}

    np.testing.assert_array_equal(mask, masks.decode_segmentation(segmentation, *mask.shape))


@given(_MASKS)
def test_encoded_runs_mean_the_same_to_pycocotools(mask):
    """Segmentations written here are read alike by pycocotools."""
    np.testing.assert_array_equal(mask, mask_util.decode(masks.encode_runs(mask)))


@given(_MASKS, st.tuples(*[st.integers(0, 3)] * 4))
def test_a_region_is_encoded_as_the_whole_image_is_and_decoded_alone(mask, margins):
    """A mask in part of an image has pycocotools' run lengths, and comes back without margins."""
    top, bottom, left, right = margins
    whole = np.pad(mask, ((top, bottom), (left, right)))
    packed = mask_util.encode(np.asfortranarray(whole))

    encoded = masks.encode_region(masks.Region(mask > 0, left, top), *whole.shape)
    assert {"size": list(whole.shape), "counts": packed["counts"].decode()} == encoded
    for segmentation in (packed, encoded):
        region = masks.decode_region(segmentation)
        height, width = region.pixels.shape
        assert [region.x, region.y, width, height] == (
            mask_util.toBbox(packed).tolist() if whole.any() else [0, 0, 0, 0])
        np.testing.assert_array_equal(
            whole[region.y : region.y + height, region.x : region.x + width], region.pixels)


def test_run_lengths_go_down_the_columns_beginning_outside():
    """A worked example of COCO's order."""
    expected = [[0, 1, 0], [1, 1, 0]]

    runs = {"size": [2, 3], "counts": [1, 3, 2]}
    assert expected == masks.decode_segmentation(runs, 2, 3).tolist()


def test_several_polygons_are_one_mask():
    """A mask is the union of its polygons."""
    left, right = [0, 0, 2, 0, 2, 4, 0, 4], [5, 0, 8, 0, 8, 4, 5, 4]
    expected = np.zeros((4, 8), np.uint8)
    expected[:, :2] = expected[:, 5:] = 1

    np.testing.assert_array_equal(expected, masks.decode_segmentation([left, right], 4, 8))


@pytest.mark.parametrize("polygons", [[], [[]], [[1, 1, 3, 3]], [[1, 1, 1, 1, 1, 1]]])
def test_polygons_that_enclose_nothing_are_an_empty_mask(polygons):
    """Degenerate polygons are not an error of the reader's."""
    assert not masks.decode_segmentation(polygons, 8, 8).any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ("x", "a list or a dict, not str"),
        ([[1, 2, 3, 4, 5, 6, 7]], "list of x, y pairs"),
        ([1, 2, 3, 4, 5, 6], "list of x, y pairs"),
        ([[1, 2, 3, 4, 5, "6"]], "not a number"),
        ({"size": [8, 4], "counts": [32]}, r"size is \[8, 4\].* is \[4, 8\]"),
        ({"size": [4, 8], "counts": [10, 5]}, "cover 15 of 32 pixels"),
        ({"size": [4, 8], "counts": [33]}, "cover 33 of 32 pixels"),
        ({"size": [4, 8], "counts": [-1, 33]}, "not run lengths"),
        ({"size": [4, 8], "counts": None}, "not run lengths"),
        ({"size": [4, 8], "counts": ""}, "not packed run lengths"),
        ({"size": [4, 8], "counts": "\x7f\x7f"}, "not packed run lengths"),
        ({"size": [4, 8], "counts": "PP"}, "not packed run lengths"),
        ({"size": [4, 8], "counts": "P" * 20 + "0"}, "not packed run lengths"),
    ],
)
def test_malformed_segmentations_say_what_is_wrong(segmentation, message):
    """Several of these pycocotools answers with memory that is not its own."""
    with pytest.raises(masks.MaskError, match=message):
        masks.decode_segmentation(segmentation, 4, 8)


@given(_MASKS)
def test_pixels_are_counted_without_drawing(mask):
    """The count of run lengths is that of the drawn mask."""
    segmentation = masks.encode_runs(mask)
    assert mask.sum() == masks.count_pixels(segmentation, *mask.shape)


def test_png_keeps_the_values_0_and_1():
    """Model Garden's decoder takes the PNG's values as the mask's, so 1 must not become 255."""
    mask = np.eye(5, dtype=np.uint8)

    np.testing.assert_array_equal(mask, Image.open(io.BytesIO(masks.encode_png(mask))))

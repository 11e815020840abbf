"""Instances drawn into pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmac_ablate.data import drawing

_GREY = np.full((400, 500, 3), 100, np.uint8)
_BOX = np.array([[100.0, 150.0, 300.0, 350.0]])


def _mask():
    mask = np.zeros((1, 400, 500), bool)
    mask[0, 150:250, 200:300] = True
    return mask


def _draw(masks=None, roles=None, labels=("dog",), boxes=_BOX, scores=None, image=_GREY):
    return np.asarray(drawing.draw_instances(image, boxes, masks, labels, roles, scores))


def test_a_mask_is_tinted_with_a_contour_and_the_rest_is_left_alone():
    """Inside the mask picture and colour mix; its edge is the colour; outside nothing changes."""
    actual = _draw(_mask()).astype(int)
    red = np.array([255, 38, 38])

    np.testing.assert_array_equal(red, actual[150, 250])
    np.testing.assert_array_equal(red, actual[200, 299])
    np.testing.assert_allclose(0.6 * 100 + 0.4 * red, actual[200, 250], atol=1)
    np.testing.assert_array_equal([100, 100, 100], actual[200, 199])
    np.testing.assert_array_equal([100, 100, 100], actual[200, 300])


def test_a_box_encloses_its_pixels():
    """A box from 100 to 300 is drawn on the rows 100 and 299, columns 150 and 349."""
    changed = (_draw(labels=("",)) != 100).any(axis=-1)
    rows, columns = np.flatnonzero(changed[:, 250]), np.flatnonzero(changed[200])

    assert [100, 299] == rows.tolist()
    assert [150, 349] == columns.tolist()


def test_novel_boxes_are_dashed_and_seen_ones_are_not():
    """Roles can be told apart without colours."""
    seen = (_draw(roles=["seen"]) != 100).any(axis=-1)[299, 150:350]
    novel = (_draw(roles=["novel"]) != 100).any(axis=-1)[299, 150:350]

    assert seen.all()
    assert 0.4 < novel.mean() < 0.6


def test_nothing_is_written_for_an_empty_label():
    """Not the role either: there is only the dashed box."""
    changed = (_draw(labels=("",), roles=["novel"]) != 100).any(axis=-1)

    assert not changed[:100].any()
    assert not changed[101:299, 151:349].any()


def test_wide_lines_grow_into_the_mask_and_out_of_the_box():
    """Of two pixels: two of the mask's edge, and one beside the box; the rest is as before."""
    wide = np.asarray(drawing.draw_instances(_GREY, _BOX, _mask(), [""], line_width=2))
    red = [255, 38, 38]

    assert [red, red] == wide[[150, 151], 250].tolist()
    assert red != wide[152, 250].tolist()
    assert [[100] * 3, red, red, [100] * 3] == wide[[98, 99, 100, 101], 250].tolist()


def test_roles_and_scores_are_written_out():
    """The label of a novel class and of a scored one is longer."""

    def width_of_label(**options):
        return (_draw(**options) != 100).any(axis=-1)[95, :].sum()

    assert width_of_label() < width_of_label(scores=[0.5])
    assert width_of_label() < width_of_label(roles=["novel"])
    assert width_of_label() == width_of_label(roles=["seen"])


def test_instances_have_distinct_colours():
    """Ten neighbours cannot be mistaken for each other."""
    boxes = np.array([[40 * i, 0, 40 * i + 39, 39] for i in range(10)], float)
    masks = np.zeros((10, 400, 500), bool)
    for i in range(10):
        masks[i, 40 * i : 40 * i + 39, :39] = True
    actual = _draw(masks, labels=[""] * 10, boxes=boxes).astype(int)
    colours = np.array([actual[40 * i + 30, 30] for i in range(10)])

    distances = np.abs(colours[:, None] - colours[None]).max(axis=-1)
    assert distances[~np.eye(10, dtype=bool)].min() > 15


@pytest.mark.parametrize("box", [[0, 0, 20, 30], [0, 480, 20, 500], [390, 490, 400, 500]])
def test_labels_stay_inside_the_picture(box):
    """In every corner the whole label is readable."""
    roomy = (_draw(labels=("a long label",)) != 100).any(axis=-1)
    area = roomy[:100].sum()
    changed = (_draw(labels=("a long label",), boxes=np.array([box], float)) != 100).any(axis=-1)

    assert changed.sum() >= area


def test_small_pictures_are_enlarged_with_boxes_and_masks():
    """A picture of 128 pixels is drawn three times as large."""
    image = np.full((128, 128, 3), 100, np.uint8)
    mask = np.zeros((1, 128, 128), bool)
    mask[0, 40:60, 50:80] = True
    actual = _draw(mask, labels=("",), boxes=np.array([[40, 50, 60, 80]]), image=image)
    changed = (actual != 100).any(axis=-1)

    assert (384, 384, 3) == actual.shape
    assert [120, 179] == np.flatnonzero(changed.any(axis=1))[[0, -1]].tolist()
    assert [150, 239] == np.flatnonzero(changed.any(axis=0))[[0, -1]].tolist()


@pytest.mark.parametrize(("size", "shown"), [
    ((4, 3000), (4, 3000)), ((4, 1000), (16, 4000)), ((9000, 1), (9000, 1)), ((1, 1), (320, 320))])
def test_strips_are_not_enlarged_without_limit(size, shown):
    """A picture file of a strip can still be opened."""
    image = np.full((*size, 3), 100, np.uint8)
    actual = _draw(np.ones((1, *size)), boxes=np.array([[0, 0, *size]]), image=image)

    assert (*shown, 3) == actual.shape


def test_an_image_without_instances_is_left_alone():
    """Nothing to draw, nothing drawn; and the input is never written to."""
    np.testing.assert_array_equal(_GREY, _draw(labels=(), boxes=np.zeros((0, 4))))
    _draw(_mask())
    assert (_GREY == 100).all()


def test_a_contact_sheet_shows_every_image_in_rows():
    """Three images in two columns, in order, captions between the rows."""
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    images = [Image.new("RGB", (50, 40), color) for color in colors]
    sheet = np.asarray(drawing.contact_sheet(images, 2, ["a", "b", "c"]))

    places = {}
    for color in colors:
        rows, columns = np.nonzero((sheet == color).all(axis=-1))
        assert (2000, 39, 49) == (len(rows), np.ptp(rows), np.ptp(columns))
        places[color] = (rows.min(), columns.min())
    assert places[colors[0]][0] == places[colors[1]][0]
    assert places[colors[0]][1] < places[colors[1]][1]
    assert places[colors[2]][1] == places[colors[0]][1]
    assert places[colors[2]][0] > places[colors[0]][0] + 40
    gap = sheet[places[colors[0]][0] + 40 : places[colors[2]][0], :50]
    assert (gap < 128).any(), "no caption"


def test_a_contact_sheet_of_fewer_images_than_columns_is_narrow():
    """No empty columns."""
    sheet = drawing.contact_sheet([Image.new("RGB", (50, 40))], 4)

    assert sheet.width < 100

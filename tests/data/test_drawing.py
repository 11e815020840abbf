"""Instances drawn into pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmac_ablate.data import drawing

_GREY = np.full((400, 500, 3), 100, np.uint8)
# The colour of the first instance.
_GREEN = [43, 255, 38]
_BOX = np.array([[100.0, 150.0, 300.0, 350.0]])


def _mask():
    mask = np.zeros((1, 400, 500), bool)
    mask[0, 150:250, 200:300] = True
    return mask


def _draw(masks=None, roles=None, labels=("dog",), boxes=_BOX, scores=None, image=_GREY):
    return np.asarray(drawing.draw_instances(image, boxes, masks, labels, roles, scores))


def _luminance(colour):
    """Return the relative luminance (https://www.w3.org/TR/WCAG21/#dfn-relative-luminance)."""
    shares = np.asarray(colour, float) / 255
    linear = np.where(shares <= 0.03928, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def _contrast(one, other):
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_mask_is_tinted_with_a_contour_and_the_rest_is_left_alone():
    """Inside, picture and colour mix; the edge is light, a dark pixel follows, then nothing."""
    actual = _draw(_mask()).astype(int)

    np.testing.assert_array_equal([_GREEN] * 2, actual[[150, 200], [250, 299]])
    np.testing.assert_allclose(0.6 * 100 + 0.4 * np.array(_GREEN), actual[200, 250], atol=1)
    np.testing.assert_array_equal([[0] * 3] * 2, actual[200, [199, 300]])
    np.testing.assert_array_equal([[100] * 3] * 2, actual[200, [198, 301]])


@pytest.mark.parametrize("background", [
    (255, 255, 255), (0, 0, 0), (128, 128, 128), (255, 0, 0), (0, 0, 255), (255, 255, 0),
    (90, 90, 90), (255, 150, 150)])
def test_a_contour_is_visible_on_any_colour(background):
    """For every instance, one of its two lines has a contrast of at least 3 with the picture."""
    image = np.empty((400, 500, 3), np.uint8)
    image[:] = background
    places = [(10 + 40 * (i % 12), 10 + 60 * (i // 12)) for i in range(36)]
    masks = np.zeros((36, 400, 500), bool)
    for mask, (left, top) in zip(masks, places, strict=True):
        mask[top : top + 20, left : left + 20] = True
    boxes = np.array([[top - 5, left - 5, top + 25, left + 25] for left, top in places], float)
    actual = _draw(masks, labels=[""] * 36, boxes=boxes, image=image)
    for left, top in places:
        line, edge = actual[top + 10, left], actual[top + 10, left - 1]
        assert max(_contrast(background, line), _contrast(background, edge)) >= 3
        assert _contrast(line, edge) >= 8.9
        box_line, box_edge = actual[top + 10, left - 5], actual[top + 10, left - 6]
        assert max(_contrast(background, box_line), _contrast(background, box_edge)) >= 3


def test_a_box_encloses_its_pixels():
    """A box from 100 to 300 is light on the rows 100 and 299, columns 150 and 349."""
    actual = _draw(labels=("",))
    light = (actual == _GREEN).all(axis=-1)

    assert [100, 299] == np.flatnonzero(light[:, 250]).tolist()
    assert [150, 349] == np.flatnonzero(light[200]).tolist()
    # With a dark pixel around it.
    changed = (actual != 100).any(axis=-1)
    assert [99, 100, 299, 300] == np.flatnonzero(changed[:, 250]).tolist()


def test_novel_boxes_are_dashed_and_seen_ones_are_not():
    """Roles can be told apart without colours."""
    seen = (_draw(roles=["seen"]) == _GREEN).all(axis=-1)[299, 150:350]
    novel = (_draw(roles=["novel"]) == _GREEN).all(axis=-1)[299, 150:350]

    assert seen.all()
    assert 0.4 < novel.mean() < 0.6


def test_nothing_is_written_for_an_empty_label():
    """Not the role either: there is only the dashed box."""
    changed = (_draw(labels=("",), roles=["novel"]) != 100).any(axis=-1)

    assert not changed[:99].any()
    assert not changed[101:299, 151:349].any()


def test_wide_lines_grow_into_the_mask_and_out_of_the_box():
    """Of two pixels: two of the mask's edge, and one beside the box; the rest is as before."""
    wide = np.asarray(drawing.draw_instances(_GREY, _BOX, _mask(), [""], line_width=2))
    black, grey = [0] * 3, [100] * 3

    assert [black, _GREEN, _GREEN] == wide[[149, 150, 151], 250].tolist()
    assert _GREEN != wide[152, 250].tolist()
    assert [grey, black, _GREEN, _GREEN, grey] == wide[[97, 98, 99, 100, 101], 250].tolist()


def test_outcomes_have_colours_and_are_written_out():
    """A false detection is magenta and says so; a missed object has a contour but no tint."""

    def draw(outcome):
        return np.asarray(drawing.draw_instances(
            _GREY, _BOX, _mask(), ["dog"], outcomes=[outcome])).astype(int)

    drawn = {name: draw(name) for name in ("true", "false", "missed", None)}
    red, green, blue = drawn["false"][200, 250] - 100
    assert min(red, blue) > green
    np.testing.assert_array_equal(drawing.OUTCOMES["false"], drawn["false"][150, 250])
    np.testing.assert_array_equal(drawing.OUTCOMES["missed"], drawn["missed"][150, 250])
    np.testing.assert_array_equal([100] * 3, drawn["missed"][200, 250])
    width = {name: (picture != 100).any(axis=-1)[95].sum() for name, picture in drawn.items()}
    assert width[None] < width["true"] < width["missed"]


def test_pixels_are_compared_with_an_annotated_mask():
    """Pixels of both, of the mask only and of the annotation only have the outcomes' colours."""
    annotated = np.roll(_mask()[0], 50, axis=1)
    picture = np.asarray(drawing.draw_instances(
        _GREY, _BOX, _mask(), [""], annotated=[annotated])).astype(int)
    for outcome, column in (("false", 225), ("true", 275), ("missed", 325)):
        expected = 0.6 * 100 + 0.4 * np.array(drawing.OUTCOMES[outcome])
        np.testing.assert_allclose(expected, picture[200, column], atol=1)
    # The contour is that of the mask, and of what it misses.
    np.testing.assert_array_equal([255] * 3, picture[200, 299])
    np.testing.assert_array_equal(drawing.OUTCOMES["missed"], picture[150, 325])


def _label_pixels(boxes, masks=None, label="a long label"):
    """Return the pixels that labels change, [h, w]."""
    boxes = np.array(boxes, float)
    with_labels, without = (
        _draw(masks, labels=[text] * len(boxes), boxes=boxes) for text in (label, ""))
    return (with_labels != without).any(axis=-1)


def test_labels_leave_small_objects_free():
    """A label has room above its box, but there is a small object: it goes below."""
    large, small = [100, 100, 200, 200], [86, 110, 94, 118]
    alone = _label_pixels([large])
    assert alone[:100].any()
    both = _label_pixels([large, small])
    assert not both[86:94, 110:118].any()
    # An object of the label's size is not covered by its own label either, even in a corner.
    for corner in ([0, 0, 14, 60], [386, 440, 400, 500], [0, 440, 14, 500]):
        covered = _label_pixels([corner])
        assert covered.any()
        assert not covered[corner[0] : corner[2], corner[1] : corner[3]].any()


def test_labels_of_neighbours_do_not_cover_each_other():
    """Six boxes at the same place have six whole labels."""
    together = _label_pixels([[200, 200, 220, 300]] * 6).sum()
    assert together > 5.5 * _label_pixels([[200, 200, 220, 300]]).sum()


def test_large_objects_do_not_hide_small_ones():
    """Whatever the order, the small mask is drawn over the large one."""
    masks = np.zeros((2, 400, 500), bool)
    masks[0, 40:60, 40:60], masks[1] = True, True
    boxes = np.array([[40, 40, 60, 60], [0, 0, 400, 500]], float)
    for order in ([0, 1], [1, 0]):
        picture = _draw(masks[order], labels=["", ""], boxes=boxes[order]).astype(int)
        assert abs(picture[50, 50] - picture[200, 200]).max() > 30


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
    assert _label_pixels([box]).sum() >= _label_pixels([[100, 150, 300, 350]]).sum()


def test_small_pictures_are_enlarged_with_boxes_and_masks():
    """A picture of 128 pixels is drawn three times as large."""
    image = np.full((128, 128, 3), 100, np.uint8)
    mask = np.zeros((1, 128, 128), bool)
    mask[0, 40:60, 50:80] = True
    actual = _draw(mask, labels=("",), boxes=np.array([[40, 50, 60, 80]]), image=image)
    changed = (actual != 100).any(axis=-1)

    assert (384, 384, 3) == actual.shape
    # The box with its dark edge.
    assert [119, 180] == np.flatnonzero(changed.any(axis=1))[[0, -1]].tolist()
    assert [149, 240] == np.flatnonzero(changed.any(axis=0))[[0, -1]].tolist()


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

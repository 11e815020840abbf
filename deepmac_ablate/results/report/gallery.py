"""Which annotated objects are worth a look, and their pictures with every arm's mask.

Chosen and shown are the masks of one trial an arm, predicted in ground-truth boxes, so that no
detector decides what there is to see.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from deepmac_ablate.data import drawing, masks
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.statistics import mean_interval

GROUPS: dict[str, str] = {
    "disagreement": "Where arms disagree most: the largest range of IoU over the arms",
    "worst": "What is segmented worst: the lowest mean IoU over the arms",
    "random": "Drawn at random",
}
# Of each group; the rest are seen classes, to compare with.
_NOVEL_SHARE = 2 / 3


class Chosen(NamedTuple):
    """An annotated object, and how well each arm segments it.

    Attributes:
        annotation_id: In the annotations.
        image_id: Of its image.
        category_id: Of its class.
        name: Of its class.
        role: "seen" or "novel".
        ious: In [0, 1], by arm.
    """

    annotation_id: int
    image_id: int
    category_id: int
    name: str
    role: str
    ious: Mapping[str, float]


def choose(instances: pd.DataFrame, count: int, seed: int = 0) -> dict[str, list[Chosen]]:
    """Choose objects of each group: novel classes first, two thirds where there are so many.

    Args:
        instances: One row per object and arm: `arm`, `annotation_id`, `image_id`, `category_id`,
            `name`, `role`, `iou`. Objects that an arm lacks are left out.
        count: Of each group; fewer where there are fewer.
        seed: Of the group that is drawn at random.

    Returns:
        The groups in the order of `GROUPS`; equal objects in the order of their ids.
    """
    if instances.empty or count < 1:
        return {name: [] for name in GROUPS}
    facts = instances.groupby("annotation_id").first().sort_index()
    ious = instances.pivot(index="annotation_id", columns="arm", values="iou").dropna()
    facts = facts.loc[ious.index]
    orders = {
        "disagreement": (ious.min(axis=1) - ious.max(axis=1)).sort_values(kind="stable").index,
        "worst": ious.mean(axis=1).sort_values(kind="stable").index,
        "random": ious.sample(frac=1.0, random_state=seed).index,
    }
    arms = list(dict.fromkeys(instances["arm"]))
    return {
        name: [_chosen(key, facts, ious, arms) for key in _novel_first(orders[name], facts, count)]
        for name in GROUPS}


def _novel_first(order: Sequence[int], facts: pd.DataFrame, count: int) -> list[int]:
    """Take from both roles, and more of one where the other has too few."""
    novel = [key for key in order if facts.at[key, "role"] == "novel"]
    seen = [key for key in order if facts.at[key, "role"] != "novel"]
    wanted = max(round(count * _NOVEL_SHARE), count - len(seen))
    return [*novel[:wanted], *seen[: count - len(novel[:wanted])]]


def _chosen(key: int, facts: pd.DataFrame, ious: pd.DataFrame, arms: Sequence[str]) -> Chosen:
    fact = facts.loc[key]
    return Chosen(
        int(key), int(fact["image_id"]), int(fact["category_id"]), str(fact["name"]),
        str(fact["role"]), {arm: float(ious.at[key, arm]) for arm in arms})


class Selection(NamedTuple):
    """Arms to draw.

    Attributes:
        arms: In the order in which they were given.
        note: Which ones they are, where there are others; else empty.
    """

    arms: Sequence[ArmTrials]
    note: str


def telling(arms: Sequence[ArmTrials], metric: str, most: int) -> Selection:
    """Select the baselines and the arms that are best on novel classes.

    Args:
        arms: In order.
        metric: `<reading>/<metric>`.
        most: How many, at least one.
    """
    if len(arms) <= most:
        return Selection(arms, "")

    def rank(place: int) -> tuple[bool, bool, float]:
        values = list(arms[place].by_seed(f"{metric}/novel").values())
        return not arms[place].baseline, not values, -mean_interval(values).mean if values else 0.0

    chosen = sorted(sorted(range(len(arms)), key=rank)[:most])
    note = (
        f"Shown are {most} of {len(arms)} arms: the baseline and those with the highest mean on "
        "novel classes, which chance favours the more the more arms there are.")
    return Selection([arms[place] for place in chosen], note)


# In pixels; the least that is drawn in without being enlarged again. Shown at half of it, it is
# sharp on every screen.
SIDE = 320
_LINE_WIDTH = 2
# Around the box, as a share of its longer side.
_MARGIN = 0.35
_LEAST_SIDE = 24.0
_GREY = 122
_QUALITY = 72


class Window(NamedTuple):
    """A square of an image, in pixels; it may reach beyond the image's edge."""

    left: int
    top: int
    side: int


def window(box: Sequence[float], height: int, width: int) -> Window:
    """Return a square around a box with some margin, inside the image where it fits.

    Args:
        box: [x, y, width, height] in pixels.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
    """
    side = math.ceil(max(_LEAST_SIDE, (1 + 2 * _MARGIN) * max(box[2], box[3])))
    left = _placed(box[0] + box[2] / 2, side, width)
    top = _placed(box[1] + box[3] / 2, side, height)
    return Window(left, top, side)


def draw(
    pixels: np.ndarray | None, segmentation: Mapping[str, Any] | list[Any],
    size: tuple[int, int], box: Sequence[float], role: str | None,
) -> bytes:
    """Return the surroundings of a box with a mask in them, as a WebP file.

    Args:
        pixels: [height, width, 3] uint8 of the whole image; None: the mask is drawn on grey.
        segmentation: As COCO writes masks.
        size: Height and width of the image, in pixels.
        box: [x, y, width, height] in pixels.
        role: "seen" or "novel", whose box is dashed.
    """
    height, width = size
    if pixels is None:
        pixels = np.full((height, width, 3), _GREY, np.uint8)
    part = window(box, height, width)
    mask = masks.decode_segmentation(segmentation, height, width)
    image = np.asarray(_cut(Image.fromarray(pixels), part, Image.Resampling.LANCZOS))
    # Enlarged smoothly and cut at a half: outlines without stairs.
    alpha = np.asarray(_cut(Image.fromarray(mask * 255), part, Image.Resampling.BILINEAR))
    scale = SIDE / part.side
    x, y, box_width, box_height = box
    corners = np.array([y, x, y + box_height, x + box_width], float)
    corners = (corners - [part.top, part.left, part.top, part.left]) * scale
    return _webp(drawing.draw_instances(
        image, corners[None], alpha[None] > 127, [""], [role], line_width=_LINE_WIDTH))


def data_uri(webp: bytes) -> str:
    """Return a WebP file as the address of a picture that needs no other file."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}"


def _placed(middle: float, side: int, length: int) -> int:
    """Return where a window begins: around the middle, pushed inside where it fits."""
    start = round(middle - side / 2)
    if side >= length:
        return (length - side) // 2
    return min(max(start, 0), length - side)


def _cut(picture: Image.Image, part: Window, resampling: Image.Resampling) -> Image.Image:
    whole = picture.crop((part.left, part.top, part.left + part.side, part.top + part.side))
    return whole.resize((SIDE, SIDE), resampling)


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=_QUALITY, method=4)
    return file.getvalue()

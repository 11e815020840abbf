"""Notes on records and classes: peculiarities that are no mistakes, but that matter."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Collection, Mapping

import numpy as np

from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.data.record_problems import BOX_MARGIN, Record
from deepmac_ablate.errors import count_noun, inflect

# COCO's metrics count this many detections per image; training uses as many objects by default.
_MANY_OBJECTS = 100
# At 128 pixels the shorter side has 4 pixels or less: one cell of the finest features of a model.
_MAX_ASPECT = 32
_MIN_FIT = 0.5
_MIN_RECTANGLE_SIDE = 4
_NAMED_AT_MOST = 5
# Sentence and noun of each kind of note on a record.
_KINDS = {
    "empty": ("No objects", "image"),
    "crowded": (
        f"More than {_MANY_OBJECTS} objects, of which training uses TrainingData.max_instances at "
        f"a time and COCO's metrics find at most {_MANY_OBJECTS}", "image"),
    "constant": ("Only one colour", "image"),
    "thin": (
        f"Sides in a proportion of more than {_MAX_ASPECT}, so that little is left at the size of "
        "a model's input", "image"),
    "repeated": ("The same pixels as in another image", "image"),
    "loose": ("Box of more than twice the area that its mask extends over", "object"),
    "misfit": (f"IoU of box and bounds of the mask below {_MIN_FIT}", "object"),
}


class Notes:
    """Collection of what is unusual in records.

    Attributes:
        most_objects: Largest number of objects in an image, crowds not counted.
        most_objects_image: Id of the first image with that number, or "".
    """

    def __init__(self) -> None:
        self.most_objects = 0
        self.most_objects_image = ""
        self._places: dict[str, list[str]] = collections.defaultdict(list)
        self._first_with: dict[bytes, str] = {}
        self._num_masks = 0
        self._num_rectangles = 0

    def add_record(self, record: Record, bounds: np.ndarray, names: Mapping[int, str]) -> None:
        """Note what is unusual in a record.

        Args:
            record: A record that has passed `record_problems.verify_sizes`.
            bounds: Bounds of its masks, see `mask_bounds`.
            names: Class names by the label in the records.
        """
        image_id = record["source_id"].decode()
        self._add_picture(record["image"], image_id)
        objects = ~record["groundtruth_is_crowd"]
        number = int(objects.sum())
        if not number:
            self._places["empty"].append(image_id)
        if number > self.most_objects:
            self.most_objects, self.most_objects_image = number, image_id
        if number > _MANY_OBJECTS:
            self._places["crowded"].append(image_id)
        height, width = record["image"].shape[:2]
        boxes = record["groundtruth_boxes"] * [height, width, height, width]
        masked = objects & (bounds[:, 2] > 0)
        for index in np.flatnonzero(masked):
            name = names.get(record["groundtruth_classes"][index], "")
            if kind := _misfit(boxes[index], bounds[index]):
                self._places[kind].append(f"image {image_id}, instance {index} ({name})")
        self._num_masks += int(masked.sum())
        sides = bounds[:, 2:] - bounds[:, :2]
        large = masked & (sides.min(axis=1) >= _MIN_RECTANGLE_SIDE)
        areas = record["groundtruth_instance_masks"][large].sum(axis=(1, 2))
        self._num_rectangles += int((areas == sides[large].prod(axis=1)).sum())

    def sentences(self) -> list[str]:
        """Return a sentence for each kind of peculiarity: how many, and the first ones."""
        found = [
            f"{_KINDS[kind][0]}: {count_noun(len(places), _KINDS[kind][1])} ({_listed(places)})."
            for kind, places in self._places.items()]
        if self._num_rectangles > self._num_masks / 2:
            found.append(
                f"{self._num_rectangles} of {count_noun(self._num_masks, 'mask')} "
                f"{inflect(self._num_rectangles, 'is a filled rectangle', 'are filled rectangles')}"
                ", like boxes that were exported as masks.")
        return found

    def _add_picture(self, pixels: np.ndarray, image_id: str) -> None:
        height, width = pixels.shape[:2]
        if max(height, width) > _MAX_ASPECT * min(height, width):
            self._places["thin"].append(f"{image_id} ({width} x {height})")
        if (pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all():
            self._places["constant"].append(image_id)
        digest = hashlib.blake2b(
            np.ascontiguousarray(pixels), digest_size=16, key=f"{height}".encode()).digest()
        first = self._first_with.setdefault(digest, image_id)
        if first != image_id:
            self._places["repeated"].append(f"{image_id} (as {first})")


def mask_bounds(masks: np.ndarray) -> np.ndarray:
    """Return the smallest boxes that hold masks.

    Args:
        masks: Masks, [n, h, w], 0 outside.

    Returns:
        [n, 4] integers ``[top, left, bottom, right]``, the last two exclusive; zeros for an empty
        mask.
    """
    edges = []
    for axis in (2, 1):
        inside = masks.any(axis=axis)
        if not inside.size:
            return np.zeros((len(masks), 4), int)
        some = inside.any(axis=1)
        low = np.where(some, inside.argmax(axis=1), 0)
        high = np.where(some, inside.shape[1] - inside[:, ::-1].argmax(axis=1), 0)
        edges.append((low, high))
    (top, bottom), (left, right) = edges
    return np.stack([top, left, bottom, right], axis=1)


def class_notes(
    info: DatasetInfo,
    seen_ids: Collection[int] | None,
    num_instances: Mapping[int, int],
    num_boxes_only: Mapping[int, int],
) -> list[str]:
    """Return a sentence for each peculiarity of the classes; see `CheckReport` for arguments."""
    bare = [
        c for c in info.categories
        if 0 < num_instances.get(c.id, 0) == num_boxes_only.get(c.id, 0)]
    found = {"No objects": [c.name for c in info.categories if not num_instances.get(c.id)]}
    if seen_ids is None:
        found["Boxes but no masks"] = [c.name for c in bare]
    else:
        found["Seen, with boxes but no masks"] = [c.name for c in bare if c.id in seen_ids]
        found["Novel, with boxes but no masks, so that predicted masks cannot be evaluated"] = [
            c.name for c in bare if c.id not in seen_ids]
    return [
        f"{what}: {count_noun(len(names), 'class', 'classes')} ({_listed(names)})."
        for what, names in found.items() if names]


def _listed(names: list[str]) -> str:
    """Return the first names in one line, and the number of the others."""
    more = len(names) - _NAMED_AT_MOST
    return "; ".join(names[:_NAMED_AT_MOST]) + (f"; {more} more" if more > 0 else "")


def _misfit(box: np.ndarray, bounds: np.ndarray) -> str:
    """Return "loose" if a box is much larger than its mask, "misfit" if it differs otherwise."""
    # Edges may differ by some pixels, which are much of a small object.
    near = bounds + np.clip(box - bounds, -BOX_MARGIN, BOX_MARGIN)
    inner = np.concatenate([np.maximum(box[:2], near[:2]), np.minimum(box[2:], near[2:])])
    shared = np.clip(inner[2:] - inner[:2], 0, None).prod()
    box_area, near_area = ((edges[2:] - edges[:2]).prod() for edges in (box, near))
    if shared >= _MIN_FIT * (box_area + near_area - shared):
        return ""
    return "loose" if shared >= near_area * (1 - 1e-6) else "misfit"

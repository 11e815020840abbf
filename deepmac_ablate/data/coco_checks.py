"""Checks of the fields of a COCO instances file; each message names the entry and the value."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deepmac_ablate.data import masks
from deepmac_ablate.data.segmentations import TOO_FEW_CORNERS, Segmentation, is_relative
from deepmac_ablate.errors import UserError, count_noun, did_you_mean, inflect, shorten

Entry = dict[str, Any]
# Records and COCO's evaluation keep ids in 64 bits.
_INT64 = 2**63
# COCO's evaluation ignores larger objects.
_MAX_AREA = 10**10


def check_annotations(
    entries: list[Entry],
    sizes: Mapping[int, tuple[int, int]],
    names: Mapping[int, str],
    path: Path,
) -> None:
    """Check all fields of annotations but the segmentation.

    Args:
        entries: The annotations.
        sizes: Height and width of the images by id.
        names: Names of the classes by id.
        path: Path of the file, for messages.

    Raises:
        UserError: If a field is missing, has another type, is out of range or refers to nothing.
    """
    kinds = {"id": int, "image_id": int, "category_id": int, "bbox": list}
    for position, entry in enumerate(entries):
        require_fields(entry, kinds, f"{path}: annotation number {position}")
        where = f"{path}: annotation {entry['id']}"
        if entry["image_id"] not in sizes:
            raise UserError(f"{where} refers to image {entry['image_id']}, which is not listed.")
        if entry["category_id"] not in names:
            raise UserError(
                f"{where} has the category {entry['category_id']}, which is not listed; the "
                f"file lists {count_noun(len(names), 'category', 'categories')} from {min(names)} "
                f"to {max(names)}."
            )
        _check_box(entry["bbox"], *sizes[entry["image_id"]], where)
        if entry.get("iscrowd", 0) not in (0, 1):
            raise UserError(f"{where} has iscrowd {shorten(entry['iscrowd'])}; it must be 0 or 1.")
        area = entry.get("area", 0)
        if type(area) not in (int, float) or not 0 <= area <= _MAX_AREA:
            raise UserError(
                f"{where} has the area {shorten(area)}; it must be a number of pixels, from 0 to "
                f"{_MAX_AREA:.0e}.")
    refuse_duplicates((entry["id"] for entry in entries), f"{path}: annotation id")


def _check_box(bbox: list[Any], height: int, width: int, where: str) -> None:
    if len(bbox) != 4 or not set(map(type, bbox)) <= {int, float}:
        raise UserError(f"{where} has the bbox {shorten(bbox)}; it must be [x, y, width, height].")
    x, y, box_width, box_height = bbox
    limit = max(height, width) + masks.MAX_DISTANCE
    # False for NaN.
    if not all(-masks.MAX_DISTANCE <= corner <= limit
               for corner in (x, y, x + box_width, y + box_height)):
        raise UserError(
            f"{where} has the bbox {shorten(bbox)}; it must be [x, y, width, height] in pixels, at "
            f"most {masks.MAX_DISTANCE} outside the image of {width} x {height}.")


def check_objects(
    entries: list[Entry], read: list[Segmentation], largest_side: int, path: Path,
    boxes_only: bool,
) -> None:
    """Check that there is an object to learn, with a mask, and that coordinates are pixels.

    Args:
        entries: Annotations whose boxes have an area inside their images.
        read: Their segmentations.
        largest_side: Longest side of all images in pixels.
        path: Path of the file, for messages.
        boxes_only: Whether no object has to have a mask.

    Raises:
        UserError: If there is none, or all coordinates are relative to the image's size.
    """
    if not entries:
        raise UserError(
            f"{path} has no masks: it has no annotation whose box has an area inside its image.")
    objects = [found for entry, found in zip(entries, read, strict=True)
               if not entry.get("iscrowd")]
    if not objects:
        raise UserError(
            f"{path} has no objects: all of its {count_noun(len(entries), 'annotation')} are "
            "crowds, which are neither trained nor evaluated. Set iscrowd to 0 where an annotation "
            "is one object; some tools write 1 for every mask of run lengths.")
    if not (boxes_only or any(found.value for found in objects)):
        few = sum(found.reason == TOO_FEW_CORNERS for found in objects)
        detail = f" {count_noun(few, 'object')} {inflect(few, 'has', 'have')} {TOO_FEW_CORNERS}."
        raise UserError(
            f"{path} has no masks: none of its {count_noun(len(objects), 'object')} has a "
            f"segmentation.{detail if few else ''} Weak losses train masks by boxes alone; "
            "--boxes-only converts for them.")
    polygons = [found.value for found in objects if isinstance(found.value, list)]
    boxes = [entry["bbox"] for entry in entries]
    for what, found in (("polygons", polygons), ("boxes", [[box] for box in boxes])):
        if largest_side > 1 and found and all(map(is_relative, found)):
            raise UserError(
                f"{path}: the numbers of all {what} lie between 0 and 1, as if relative to the "
                "image's size; multiply x by its width and y by its height.")


def require_fields(entry: Entry, kinds: Mapping[str, type], where: str) -> None:
    """Check that an entry has fields of the given types, with integers of at most 64 bits.

    Args:
        entry: An entry of the file.
        kinds: Type by field: int, str or list.
        where: Place of the entry, for messages.

    Raises:
        UserError: If a field is missing, or has another type.
    """
    for key, kind in kinds.items():
        value = entry.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = f"has the {key} {shorten(value)}" if key in entry else f"has no {key!r}"
            expected = {int: "an integer", str: "a string", list: "a list"}[kind]
            hint = _integer_hint(key, value) if kind is int else ""
            similar = "" if key in entry else did_you_mean(key, entry)
            raise UserError(f"{where} {found}; it must be {expected}{hint}.{similar}")
        if kind is int and not -_INT64 <= value < _INT64:
            raise UserError(
                f"{where} has the {key} {shorten(value)}; it must fit into 64 bits. Number these "
                "entries from 1, and change all references to them.")


def _integer_hint(key: str, value: object) -> str:
    """Return how to write a number that is not an integer in JSON, as the end of a sentence."""
    if isinstance(value, float) and value.is_integer():
        return f", such as {int(value)} (pandas: astype('int64'))"
    if isinstance(value, str) and key.endswith("id"):
        return ", not text; number these entries from 1, and change all references to them"
    return ""


def refuse_duplicates(values: Iterable[int | str], what: str) -> None:
    """Raise a UserError if a value occurs twice; `what` says what the values are."""
    counts = collections.Counter(values)
    twice = [value for value, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"{what} {twice[0]!r} is used {counts[twice[0]]} times; it must be unique.")

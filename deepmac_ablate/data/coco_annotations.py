"""Reader of COCO instances files: checks all references and fills in what COCO leaves optional.

Everything on which conversion or evaluation would fail later is refused here, in one sentence that
names the entry, before any image is opened.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepmac_ablate.data import masks
from deepmac_ablate.data.dataset_info import Category, number_classes
from deepmac_ablate.errors import UserError, count_noun, did_you_mean
from deepmac_ablate.storage.strict_json import read_json_file

Entry = dict[str, Any]
_TABLES = ("images", "annotations", "categories")
_MOST_POSITIVE_ID = 2**63 - 1
# Names of exporters for what is no object.
_NO_CLASSES = frozenset({"background", "bg", "ignore"})


@dataclasses.dataclass(frozen=True)
class CocoTruth:
    """A checked COCO instances file.

    Attributes:
        document: The whole file with completed annotations, as evaluation reads it.
        images: Entries of the images, by ascending id.
        annotations: Annotations by image id, in the order of the file.
        categories: Classes by ascending id.
        no_classes: Names and ids of categories that are left out, as they are no classes.
        num_derived_crowd: Number of annotations without `iscrowd`, for which 0 was assumed.
        num_derived_area: Number of annotations without `area`, which was set to that of the mask
            or, if there is none, of the box.
    """

    document: Entry
    images: list[Entry]
    annotations: Mapping[int, list[Entry]]
    categories: tuple[Category, ...]
    no_classes: Mapping[int, str]
    num_derived_crowd: int
    num_derived_area: int


def read_coco(path: Path) -> CocoTruth:
    """Return the content of a COCO instances file.

    Annotations are changed only where COCO's evaluation would fail: missing `iscrowd` and `area`
    are derived; polygons of fewer than three corners are left out; annotations with a box but no
    mask get an empty mask; and if an annotation has the id 0, all ids are raised by one, because
    the evaluation takes a match with id 0 for no match.

    Raises:
        UserError: If the file is missing, is not JSON or not a COCO instances file, or refers to
            images or categories that it does not list.
    """
    document = _load(path)
    entries = document["annotations"]
    used = frozenset(
        entry["category_id"] for entry in entries if isinstance(entry.get("category_id"), int))
    categories, no_classes = _categories(document["categories"], used, path)
    images = _images(document["images"], path)
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    names = {category.id: category.name for category in categories}
    _check_annotations(entries, sizes, names, path)
    if not any(_segmentation(entry) for entry in entries):
        raise UserError(
            f"{path} has no masks: none of its "
            f"{count_noun(len(entries), 'annotation')} has a segmentation."
        )
    num_derived_crowd = sum("iscrowd" not in entry for entry in entries)
    num_derived_area = sum("area" not in entry for entry in entries)
    offset = int(any(entry["id"] == 0 for entry in entries))
    completed = [_complete(entry, *sizes[entry["image_id"]], offset) for entry in entries]
    by_image = collections.defaultdict(list)
    for entry in completed:
        by_image[entry["image_id"]].append(entry)
    return CocoTruth(
        document={
            **document, "annotations": completed,
            "categories": [c for c in document["categories"] if c["id"] not in no_classes]},
        images=images,
        annotations=by_image,
        categories=categories,
        no_classes=no_classes,
        num_derived_crowd=num_derived_crowd,
        num_derived_area=num_derived_area,
    )


def _load(path: Path) -> Entry:
    document = read_json_file(path, "annotations file", "the COCO JSON file in it")
    if not isinstance(document, dict):
        raise UserError(f"{path} holds a {type(document).__name__}, not a COCO instances object.")
    for table in _TABLES:
        if not isinstance(document.get(table), list):
            raise UserError(
                f"{path} has no list {table!r}.{did_you_mean(table, document)} "
                f"A COCO instances file has {', '.join(_TABLES)}."
            )
        if not all(isinstance(entry, dict) for entry in document[table]):
            raise UserError(f"{path}: the list {table!r} holds something that is not an object.")
    return document


def _categories(
    entries: list[Entry], used: frozenset[int], path: Path
) -> tuple[tuple[Category, ...], dict[int, str]]:
    """Return the classes, and the names by id of categories that are no classes.

    Args:
        entries: The list `categories`.
        used: Category ids of annotations.
        path: The file, for messages.
    """
    for position, entry in enumerate(entries):
        _require(entry, {"id": int, "name": str}, f"{path}: category number {position}")
        if abs(entry["id"]) > _MOST_POSITIVE_ID:
            raise UserError(
                f"{path}: category {entry['name']!r} has the id {entry['id']}, which does not fit "
                "into 64 bits; number the categories anew.")
    _refuse_duplicates((entry["id"] for entry in entries), f"{path}: category id")
    left_out = [entry for entry in entries if entry["id"] not in used and _is_root(entry, entries)]
    names = {entry["id"]: entry["name"] for entry in entries if entry not in left_out}
    _refuse_duplicates(names.values(), f"{path}: category name")
    if not names:
        raise UserError(f"{path} has no categories.")
    return number_classes(names), {entry["id"]: entry["name"] for entry in left_out}


def _is_root(entry: Entry, entries: list[Entry]) -> bool:
    """Return whether a category is an exporter's root of the others, or its background.

    Only ids below 1 are considered, as no exporter gives such a category another one.
    """
    if entry["id"] >= 1:
        return False
    if entry["name"].strip("_ ").casefold() in _NO_CLASSES:
        return True
    others = [other for other in entries if other is not entry]
    return bool(others) and all(
        other.get("supercategory") == entry["name"] for other in others)


def _images(entries: list[Entry], path: Path) -> list[Entry]:
    if not entries:
        raise UserError(f"{path} has no images.")
    kinds = {"id": int, "file_name": str, "height": int, "width": int}
    for position, entry in enumerate(entries):
        _require(entry, kinds, f"{path}: image number {position}")
        if entry["height"] < 1 or entry["width"] < 1:
            raise UserError(
                f"{path}: image {entry['file_name']!r} has the size "
                f"{entry['width']} x {entry['height']}; both sides must be at least 1 pixel."
            )
    _refuse_duplicates((entry["id"] for entry in entries), f"{path}: image id")
    return sorted(entries, key=lambda entry: entry["id"])


def _check_annotations(
    entries: list[Entry],
    sizes: Mapping[int, tuple[int, int]],
    names: Mapping[int, str],
    path: Path,
) -> None:
    kinds = {"id": int, "image_id": int, "category_id": int, "bbox": list}
    for position, entry in enumerate(entries):
        _require(entry, kinds, f"{path}: annotation number {position}")
        where = f"{path}: annotation {entry['id']}"
        if entry["image_id"] not in sizes:
            raise UserError(f"{where} refers to image {entry['image_id']}, which is not listed.")
        if entry["category_id"] not in names:
            raise UserError(
                f"{where} has the category {entry['category_id']}, which is not listed; the "
                f"file lists {count_noun(len(names), 'category', 'categories')} from {min(names)} "
                f"to {max(names)}."
            )
        if len(entry["bbox"]) != 4 or not all(_is_number(number) for number in entry["bbox"]):
            raise UserError(
                f"{where} has the bbox {entry['bbox']}; it must be [x, y, width, height].")
        if entry.get("iscrowd", 0) not in (0, 1):
            raise UserError(f"{where} has iscrowd {entry['iscrowd']!r}; it must be 0 or 1.")
        if not _is_number(entry.get("area", 0)):
            raise UserError(
                f"{where} has the area {entry['area']!r}; it must be a number of pixels.")
    _refuse_duplicates((entry["id"] for entry in entries), f"{path}: annotation id")


def _complete(entry: Entry, height: int, width: int, offset: int) -> Entry:
    entry = {**entry, "id": entry["id"] + offset, "iscrowd": int(entry.get("iscrowd", 0))}
    if segmentation := _segmentation(entry):
        entry["segmentation"] = segmentation
    else:
        entry["segmentation"] = masks.encode_runs(np.zeros((height, width), np.uint8))
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
    if "area" not in entry:
        entry["area"] = float(mask_of(entry, height, width).sum())
    return entry


def _segmentation(entry: Entry) -> Any:  # noqa: ANN401 - JSON
    """Return the usable segmentation of an annotation; a false value if it has none."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list) and all(isinstance(part, list) for part in segmentation):
        return masks.enclosing_polygons(segmentation)
    return segmentation


def mask_of(annotation: Entry, height: int, width: int) -> np.ndarray:
    """Return the [height, width] uint8 mask of an annotation.

    Raises:
        UserError: If the segmentation is malformed.
    """
    try:
        return masks.decode_segmentation(annotation["segmentation"], height, width)
    except masks.MaskError as error:
        raise UserError(
            f"The mask of annotation {annotation['id']} (image {annotation['image_id']}) cannot "
            f"be read: {error}."
        ) from error


def _require(entry: Entry, kinds: Mapping[str, type], where: str) -> None:
    for key, kind in kinds.items():
        value = entry.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = f"has the {key} {value!r}" if key in entry else f"has no {key!r}"
            expected = {int: "an integer", str: "a string", list: "a list"}[kind]
            raise UserError(f"{where} {found}; it must be {expected}.")


def _refuse_duplicates(values: Iterable[int | str], what: str) -> None:
    counts = collections.Counter(values)
    twice = [value for value, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"{what} {twice[0]!r} is used {counts[twice[0]]} times; it must be unique.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

"""Reader of COCO instances files: checks all references and fills in what COCO leaves optional.

Everything on which conversion or evaluation would fail later is refused here, in one sentence that
names the entry, before any image is opened.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from deepmac_ablate.data import image_files, masks
from deepmac_ablate.data.coco_checks import (
    Entry,
    check_annotations,
    check_objects,
    refuse_duplicates,
    require_fields,
)
from deepmac_ablate.data.dataset_info import Category, number_classes
from deepmac_ablate.data.segmentations import Segmentation, read_segmentation
from deepmac_ablate.errors import UserError, did_you_mean, shorten
from deepmac_ablate.storage.strict_json import read_json_file

_TABLES = ("images", "annotations", "categories")
# Names of exporters for what is no object.
_NO_CLASSES = frozenset({"background", "bg", "ignore"})
NO_BOX_AREA = "box without area inside the image"
_LVIS_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
_NOT_EXHAUSTIVE = (
    "images in which only some classes are annotated exhaustively (LVIS), so that AP counts true "
    "detections of the others as false")
# Records and COCO's evaluation count pixels in 32 bits.
_MAX_PIXELS = 2**31 - 1
_NOTHING = masks.Region(np.zeros((0, 0), bool), 0, 0)


@dataclasses.dataclass(frozen=True)
class CocoTruth:
    """A checked COCO instances file.

    Attributes:
        document: The whole file with completed annotations, as evaluation reads it.
        images: Entries of the images, by ascending id.
        annotations: Annotations by image id, in the order of the file.
        categories: Classes by ascending id.
        no_classes: Names and ids of categories that are left out, as they are no classes.
        named_by_url: Ids of the images without `file_name`, which was taken from `coco_url`.
        skipped: Number of annotations that were left out, by reason.
        without_mask: Number of objects with a box but no mask, crowds not counted, by reason.
        notes: Number of entries that were read in another way than written, or that users should
            know of, by description.
        num_derived_crowd: Number of annotations without `iscrowd`, for which 0 was assumed.
        num_derived_area: Number of annotations without `area`, which was set to that of the mask
            or, if there is none, of the box.
    """

    document: Entry
    images: list[Entry]
    annotations: Mapping[int, list[Entry]]
    categories: tuple[Category, ...]
    no_classes: Mapping[int, str]
    named_by_url: frozenset[int]
    skipped: dict[str, int]
    without_mask: dict[str, int]
    notes: dict[str, int]
    num_derived_crowd: int
    num_derived_area: int

    def with_file_names(self, names: Mapping[int, str]) -> CocoTruth:
        """Return the same with other file names, given by image id."""
        renamed = {image["id"]: {**image, "file_name": names[image["id"]]}
                   for image in self.images}
        return dataclasses.replace(
            self, images=list(renamed.values()),
            document={**self.document,
                      "images": [renamed[image["id"]] for image in self.document["images"]]})


def read_coco(path: Path, boxes_only: bool = False) -> CocoTruth:
    """Return the content of a COCO instances file.

    Annotations are changed only where COCO's evaluation would fail: missing `iscrowd` and `area`
    are derived; polygons of fewer than three corners are left out; annotations with a box but no
    mask get an empty mask; and if an annotation has the id 0, all ids are raised, because the
    evaluation takes a match with id 0 for no match. Segmentations in other notations are rewritten
    (see `segmentations`). Annotations whose box has no area inside the image are left out.

    Args:
        path: Path of the file.
        boxes_only: Whether no object has to have a mask.

    Raises:
        UserError: If the file is missing, is not JSON or not a COCO instances file, refers to
            images or categories that it does not list, has numbers out of range, or has no object
            with a mask.
    """
    document = _load(path)
    entries = document["annotations"]
    used = frozenset(
        entry["category_id"] for entry in entries if isinstance(entry.get("category_id"), int))
    categories, no_classes = _categories(document["categories"], used, path)
    named_by_url = _name_by_url(document["images"])
    images = _images(document["images"], path)
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    names = {category.id: category.name for category in categories}
    check_annotations(entries, sizes, names, path)
    ids = {entry["id"] for entry in entries}
    # The first number whose addition makes no id 0.
    offset = next(number for number in itertools.count() if -number not in ids)
    kept = [entry for entry in entries if _has_area(entry["bbox"], *sizes[entry["image_id"]])]
    read = [_read_mask(entry, *sizes[entry["image_id"]], path) for entry in kept]
    check_objects(kept, read, max(map(max, sizes.values())), path, boxes_only)
    objects = [found for entry, found in zip(kept, read, strict=True) if not entry.get("iscrowd")]
    completed = [
        _complete(entry, found, *sizes[entry["image_id"]], offset)
        for entry, found in zip(kept, read, strict=True)]
    by_image = collections.defaultdict(list)
    for entry in completed:
        by_image[entry["image_id"]].append(entry)
    notes = collections.Counter(found.note for found in read if found.note)
    notes[_NOT_EXHAUSTIVE] = sum(any(image.get(key) for key in _LVIS_LISTS) for image in images)
    return CocoTruth(
        document={
            **document, "annotations": completed,
            "categories": [c for c in document["categories"] if c["id"] not in no_classes]},
        images=images,
        annotations=by_image,
        categories=categories,
        no_classes=no_classes,
        named_by_url=named_by_url,
        skipped={NO_BOX_AREA: len(entries) - len(kept)} if len(kept) < len(entries) else {},
        without_mask=collections.Counter(found.reason for found in objects if found.reason),
        notes=notes,
        num_derived_crowd=sum("iscrowd" not in entry for entry in kept),
        num_derived_area=sum("area" not in entry for entry in kept),
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
        require_fields(entry, {"id": int, "name": str}, f"{path}: category number {position}")
    refuse_duplicates((entry["id"] for entry in entries), f"{path}: category id")
    left_out = [entry for entry in entries if entry["id"] not in used and _is_root(entry, entries)]
    names = {entry["id"]: entry["name"] for entry in entries if entry not in left_out}
    refuse_duplicates(names.values(), f"{path}: category name")
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


def _name_by_url(entries: list[Entry]) -> frozenset[int]:
    """Name images without `file_name` by `coco_url`, as in LVIS, and return their ids.

    The name consists of the last folder and the file, because the folder may exist on disk.
    """
    unnamed = [entry for entry in entries
               if "file_name" not in entry and isinstance(entry.get("coco_url"), str)]
    for entry in unnamed:
        entry["file_name"] = image_files.name_from_url(entry["coco_url"])
    return frozenset(entry["id"] for entry in unnamed if isinstance(entry.get("id"), int))


def _images(entries: list[Entry], path: Path) -> list[Entry]:
    if not entries:
        raise UserError(f"{path} has no images.")
    kinds = {"id": int, "file_name": str, "height": int, "width": int}
    for position, entry in enumerate(entries):
        require_fields(entry, kinds, f"{path}: image number {position}")
        height, width = entry["height"], entry["width"]
        if height < 1 or width < 1:
            raise UserError(
                f"{path}: image {entry['file_name']!r} has the size {width} x {height}; both sides "
                "must be at least 1 pixel.")
        if height * width > _MAX_PIXELS:
            raise UserError(
                f"{path}: image {entry['file_name']!r} has the size {shorten(width)} x "
                f"{shorten(height)}; an image must have at most {_MAX_PIXELS} pixels.")
    refuse_duplicates((entry["id"] for entry in entries), f"{path}: image id")
    return sorted(entries, key=lambda entry: entry["id"])


def _has_area(bbox: list[float], height: int, width: int) -> bool:
    """Return whether a box has an area inside the image."""
    x, y, box_width, box_height = bbox
    return (min(max(x, 0), width) < min(max(x + box_width, 0), width)
            and min(max(y, 0), height) < min(max(y + box_height, 0), height))


def _read_mask(entry: Entry, height: int, width: int, path: Path) -> Segmentation:
    try:
        return read_segmentation(entry.get("segmentation"), height, width)
    except masks.MaskError as error:
        raise UserError(
            f"{path}: the segmentation of annotation {entry['id']} cannot be read: {error}."
        ) from error


def _complete(
    entry: Entry, found: Segmentation, height: int, width: int, offset: int
) -> Entry:
    entry = {**entry, "id": entry["id"] + offset, "iscrowd": int(entry.get("iscrowd", 0))}
    if found.value:
        entry["segmentation"] = found.value
    else:
        entry["segmentation"] = masks.encode_region(_NOTHING, height, width)
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
    if "area" not in entry:
        with _naming_mask(entry):
            entry["area"] = float(masks.count_pixels(entry["segmentation"], height, width))
    return entry


def mask_of(annotation: Entry, height: int, width: int) -> np.ndarray:
    """Return the [height, width] uint8 mask of an annotation.

    Raises:
        UserError: If the segmentation is malformed.
    """
    with _naming_mask(annotation):
        return masks.decode_segmentation(annotation["segmentation"], height, width)


@contextlib.contextmanager
def _naming_mask(annotation: Entry) -> Iterator[None]:
    """Name the annotation in the error for a malformed segmentation."""
    try:
        yield
    except masks.MaskError as error:
        raise UserError(
            f"The mask of annotation {annotation['id']} (image {annotation['image_id']}) cannot "
            f"be read: {error}."
        ) from error

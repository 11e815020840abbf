"""Files of boxes in which a user wants objects segmented, and of the ids of images.

There are three formats, all with boxes as [x, y, width, height] in pixels of the upright image::

    {"images": [...], "annotations": [...], ...}                     COCO instances
    [{"file_name": "a.jpg", "bbox": [...], "category_id": 1}, ...]   a list, like predictions.json
    {"a.jpg": [[x, y, width, height], ...], ...}                     boxes by image

The category is optional.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deepmac_ablate.data.image_files import FileNames
from deepmac_ablate.errors import UserError, count_noun, did_you_mean, did_you_mean_path, inflect
from deepmac_ablate.storage.strict_json import read_json_file

# In pixels; a larger number is a mistake, which sums of 64 bits would not show.
_MAX_NUMBER = 1e9


class FileBox(NamedTuple):
    """Box of a file.

    Attributes:
        bbox: [x, y, width, height] in pixels.
        category_id: Class of the object in the box; None if it is unknown.
    """

    bbox: list[float]
    category_id: int | None


class ListedImage(NamedTuple):
    """Image in a file.

    Attributes:
        image_id: Id of the image.
        size: Width and height in pixels; None if they are unknown.
    """

    image_id: int
    size: tuple[int, int] | None


class ImageIds(NamedTuple):
    """Ids of the given images in a file.

    Attributes:
        listed: Ids and sizes by image name.
        problems: A sentence about images that the file does not list.
        notes: A sentence for each way in which names of files differ from those of the images.
    """

    listed: dict[str, ListedImage]
    problems: list[str]
    notes: list[str]


class BoxFile(NamedTuple):
    """Boxes of a file for the given images.

    Attributes:
        by_name: Boxes by image name, for images that have any.
        listed: Ids and sizes by image name, if the file has them.
        class_names: Names of classes by id, if the file has them.
        problems: A sentence for each box, or group of boxes, that cannot be used.
        notes: A sentence for each way in which names of files differ from those of the images.
    """

    by_name: dict[str, list[FileBox]]
    listed: dict[str, ListedImage]
    class_names: dict[int, str]
    problems: list[str]
    notes: list[str]


class ClippedBoxes(NamedTuple):
    """Boxes clipped to their image.

    Attributes:
        boxes: Boxes with an area inside the image.
        problems: A sentence for each box without one.
    """

    boxes: list[FileBox]
    problems: list[str]


def read_boxes(path: Path, names: Collection[str], folder: str = "") -> BoxFile:
    """Read a file of boxes.

    Args:
        path: JSON file in one of the three formats.
        names: Names of the images.
        folder: Name of the folder of the images, with which names in the file may begin.

    Raises:
        UserError: If the file cannot be read, has another format, or has no box for any image.
    """
    content = read_json_file(path, "file of boxes", "a JSON file of boxes")
    listed: dict[str, ListedImage] = {}
    class_names: dict[int, str] = {}
    if isinstance(content, dict) and "annotations" in content:
        by_id = _table(content, "images", "file_name", path)
        listed = _list_images(content, path)
        class_names = _table(content, "categories", "name", path)
        entries = _from_coco(content, by_id, path)
    elif isinstance(content, dict):
        entries = _from_mapping(content, path)
    elif isinstance(content, list):
        listed = _list_numbered(content)
        entries = _from_list(content, path)
    else:
        raise UserError(
            f"{path} has no boxes but {content!r}; it must have COCO instances, a list of objects "
            "with 'file_name' and 'bbox', or an object with lists of boxes by file name.")
    by_name: dict[str, list[FileBox]] = defaultdict(list)
    missing: dict[str, None] = {}
    boxes = list(entries)
    found, notes = _find_names([*listed, *(name for name, _ in boxes)], names, folder, path)
    for name, box in boxes:
        if name in found:
            by_name[found[name]].append(box)
        else:
            missing[name] = None
    listed = {found[name]: image for name, image in listed.items() if name in found}
    first = next(iter(missing), "")
    hint = did_you_mean_path(first, names)
    if not by_name and not missing:
        raise UserError(f"{path} has no boxes.")
    if not by_name:
        raise UserError(
            f"{path} has boxes for {count_noun(len(missing), 'file')}, none of which is among the "
            f"images; the first is {first!r}.{hint}")
    problems = [] if not missing else [
        f"{path} has boxes for "
        f"{count_noun(len(missing), 'file that is', 'files that are')} not among the images; the "
        f"first is {first!r}.{hint}"]
    return BoxFile(dict(by_name), listed, class_names, problems, notes)


def read_image_ids(path: Path, names: Collection[str], folder: str = "") -> ImageIds:
    """Read the ids and sizes of images in the list `images` of a COCO file.

    Args:
        path: The file.
        names: Names of the images.
        folder: Name of the folder of the images, with which names in the file may begin.

    Raises:
        UserError: If the file cannot be read, has no such list, or lists none of the images.
    """
    content = read_json_file(path, "file of image ids", "a COCO JSON file")
    if not isinstance(content, dict):
        raise UserError(f"{path} must be a COCO file with a list 'images'.")
    written = _list_images(content, path)
    found, notes = _find_names(written, names, folder, path)
    listed = {found[name]: image for name, image in written.items() if name in found}
    unlisted = [name for name in names if name not in listed]
    if not listed:
        raise UserError(
            f"{path} lists none of the images; the first is {unlisted[0]!r}."
            f"{did_you_mean_path(unlisted[0], written)}")
    problems = [] if not unlisted else [
        f"{count_noun(len(unlisted), 'image')} {inflect(len(unlisted), 'is', 'are')} not listed in "
        f"{path} and skipped; the first is {unlisted[0]!r}."]
    return ImageIds(listed, problems, notes)


def clip_boxes(boxes: list[FileBox], name: str, height: int, width: int) -> ClippedBoxes:
    """Clip boxes to their image.

    Args:
        boxes: Boxes of the image.
        name: Name of the image, for the sentences.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    kept, problems = [], []
    for box in boxes:
        x, y, box_width, box_height = box.bbox
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + box_width, float(width)), min(y + box_height, float(height))
        if box_width <= 0 or box_height <= 0:
            problems.append(f"{name}: the box {box.bbox} has no area and is skipped.")
        elif right <= left or bottom <= top:
            problems.append(
                f"{name}: the box {box.bbox} lies outside the image of {width} x {height} pixels "
                "and is skipped.")
        else:
            kept.append(box._replace(bbox=[left, top, right - left, bottom - top]))
    return ClippedBoxes(kept, problems)


_Entries = Iterator[tuple[str, FileBox]]


def _find_names(
    written: Iterable[str], names: Collection[str], folder: str, path: Path
) -> tuple[dict[str, str], list[str]]:
    """Return the images that names in a file mean, and a sentence for each kind of difference."""
    known = FileNames(names, folder)
    found = {name: image for name in dict.fromkeys(written) if (image := known.find(name))}
    counts = Counter(difference for image in found.values() for difference in image.differences)
    notes = [f"{path}: {difference}: {count}" for difference, count in counts.items()]
    return {name: image.name for name, image in found.items()}, notes


def _table(content: Mapping[str, Any], table: str, key: str, path: Path) -> dict[int, str]:
    try:
        return {entry["id"]: entry[key] for entry in content[table]}
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} has no list {table!r} of objects with 'id' and {key!r}.") from error


def _list_images(content: Mapping[str, Any], path: Path) -> dict[str, ListedImage]:
    _table(content, "images", "file_name", path)
    listed = {}
    for entry in content["images"]:
        name, image_id = entry["file_name"], entry["id"]
        if not isinstance(image_id, int) or isinstance(image_id, bool):
            raise UserError(
                f"{path}: image {name!r} has the id {image_id!r}; it must be an integer.")
        size = (entry.get("width"), entry.get("height"))
        # Some tools write 0 for an unknown size.
        known = all(isinstance(side, int) and side > 0 for side in size)
        listed[name] = ListedImage(image_id, size if known else None)
    return listed


def _list_numbered(content: list[Any]) -> dict[str, ListedImage]:
    """Return the image ids of a list such as predictions.json, as far as it has them."""
    return {
        entry["file_name"]: ListedImage(entry["image_id"], None) for entry in content
        if isinstance(entry, dict) and isinstance(entry.get("image_id"), int)
        and isinstance(entry.get("file_name"), str)}


def _from_coco(content: Mapping[str, Any], names: Mapping[int, str], path: Path) -> _Entries:
    for place, entry in _numbered(content["annotations"], f"{path}: annotation"):
        image_id = entry.get("image_id")
        if image_id not in names:
            raise UserError(f"{place} refers to image {image_id!r}, which the file does not list.")
        # The box of a crowd contains many objects, not one.
        if not entry.get("iscrowd", 0):
            yield names[image_id], _box(entry.get("bbox"), entry.get("category_id"), place)


def _from_list(content: list[Any], path: Path) -> _Entries:
    for place, entry in _numbered(content, f"{path}: entry"):
        name = entry.get("file_name")
        if not isinstance(name, str):
            raise UserError(f"{place} has no 'file_name'.{did_you_mean('file_name', entry)}")
        yield name, _box(entry.get("bbox"), entry.get("category_id"), place)


def _from_mapping(content: Mapping[str, Any], path: Path) -> _Entries:
    for name, boxes in content.items():
        if not isinstance(boxes, list):
            raise UserError(
                f"{path}: the value of {name!r} must be a list of boxes, not a "
                f"{type(boxes).__name__}.")
        for position, box in enumerate(boxes):
            place = f"{path}: box {position} of {name!r}"
            if isinstance(box, dict):
                yield name, _box(box.get("bbox"), box.get("category_id"), place)
            else:
                yield name, _box(box, None, place)


def _numbered(entries: Any, what: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401
    if not isinstance(entries, list):
        raise UserError(f"{what}s must be a list, not a {type(entries).__name__}.")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UserError(
                f"{what} number {position} must be an object, not a {type(entry).__name__}.")
        yield f"{what} number {position}", entry


def _box(bbox: Any, category_id: Any, place: str) -> FileBox:  # noqa: ANN401 - JSON
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        raise UserError(
            f"{place} has the bbox {bbox!r}; it must be [x, y, width, height] in pixels.")
    if category_id is not None and (
            not isinstance(category_id, int) or isinstance(category_id, bool)):
        raise UserError(f"{place} has the category_id {category_id!r}; it must be an integer.")
    return FileBox([float(number) for number in bbox], category_id)


def _is_number(value: object) -> bool:
    # False for NaN.
    return type(value) in (int, float) and -_MAX_NUMBER <= value <= _MAX_NUMBER

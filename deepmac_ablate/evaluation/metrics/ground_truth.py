"""Annotations in COCO's format, loaded once per evaluation for every metric, artifact and overlay.

Every metric is about a list of scored images: annotations of other images must neither count as
missed nor be looked at. The same holds for the masks of objects that are annotated with a box only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from etils import epath
from faster_coco_eval import mask as rle

from deepmac_ablate.errors import UserError


class Annotation(NamedTuple):
    """One annotated object or crowd region.

    Attributes:
        id: Its id in the annotation file.
        image_id: Its image.
        category_id: Its class.
        box: x, y, width and height in pixels.
        area: In pixels; decides whether COCO calls it small, medium or large.
        is_crowd: True for a region of many objects, which is not an object to find.
        has_mask: False for an object that is annotated with a box only.
        region: RLE, `counts` as bytes, of its mask, or of its box if it has no mask.
    """

    id: int
    image_id: int
    category_id: int
    box: tuple[float, ...]
    area: float
    is_crowd: bool
    has_mask: bool
    region: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotations of the scored images, grouped as metrics need them and never changed.

    Make one with `load` or `from_coco`.

    Attributes:
        image_sizes: Image id -> height and width, for the scored images in the file's order.
        class_names: Class id -> name, for all classes of the dataset by ascending id.
        annotations: The annotations of the scored images in the file's order.
        known_image_ids: All images of the file, scored or not.
        known_annotation_ids: All annotations of the file, of scored images or not.
    """

    image_sizes: Mapping[int, tuple[int, int]]
    class_names: Mapping[int, str]
    annotations: tuple[Annotation, ...]
    known_image_ids: frozenset[int]
    known_annotation_ids: frozenset[int]

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], image_ids: Collection[int] | None = None
    ) -> GroundTruth:
        """Read an annotation file; see `from_coco`.

        Raises:
            UserError: The file does not exist or is not JSON, or as `from_coco`.
        """
        return cls.from_coco(load_annotations(path), image_ids)

    @classmethod
    def from_coco(
        cls, document: Mapping[str, Any], image_ids: Collection[int] | None = None
    ) -> GroundTruth:
        """Copy the annotations of the scored images out of a document in COCO's format.

        Args:
            document: The content of an annotation file.
            image_ids: The scored images; None: all images of the document.

        Raises:
            UserError: No image was scored, one is unknown, or an annotation has no area.
        """
        sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
        scored = sizes.keys() if image_ids is None else {int(image_id) for image_id in image_ids}
        if not scored:
            # COCO's evaluation takes an empty list of images for all of them.
            raise UserError("No image was scored, so there is nothing to evaluate.")
        unknown = scored - sizes.keys()
        if unknown:
            raise UserError(
                f"{len(unknown)} scored images are not in the ground truth "
                f"(ids {first_ids(unknown)}).")
        annotations = [a for a in document["annotations"] if a["image_id"] in scored]
        unsized = [annotation["id"] for annotation in annotations if "area" not in annotation]
        if unsized:
            # It would count as small without a word.
            raise UserError(
                f"{len(unsized)} annotations have no `area` (ids {first_ids(unsized)}).")
        categories = sorted(document["categories"], key=lambda category: category["id"])
        return cls(
            MappingProxyType({i: size for i, size in sizes.items() if i in scored}),
            MappingProxyType({category["id"]: category["name"] for category in categories}),
            tuple(_annotation(a, *sizes[a["image_id"]]) for a in annotations),
            frozenset(sizes),
            frozenset(annotation["id"] for annotation in document["annotations"]))

    @functools.cached_property
    def objects(self) -> tuple[Annotation, ...]:
        """The annotations that are not crowd regions."""
        return tuple(a for a in self.annotations if not a.is_crowd)

    @functools.cached_property
    def objects_by_image(self) -> Mapping[int, tuple[Annotation, ...]]:
        """The objects of every scored image, none for an image without any."""
        grouped = defaultdict(list)
        for annotation in self.objects:
            grouped[annotation.image_id].append(annotation)
        return MappingProxyType(
            {image_id: tuple(grouped[image_id]) for image_id in self.image_sizes})

    @functools.cached_property
    def ids_with_mask(self) -> frozenset[int]:
        """The ids of the objects whose mask is annotated."""
        return frozenset(annotation.id for annotation in self.objects if annotation.has_mask)

    def to_coco(self, *, masks: bool) -> dict[str, Any]:
        """Return a dataset in COCO's format that a library may write into.

        Annotations are numbered from 1, because libraries take annotation id 0 for "unmatched" and
        equal ids for one annotation.

        Args:
            masks: True to include masks; an object without one is then a crowd region, its box.
        """
        annotations = []
        for number, a in enumerate(self.annotations, start=1):
            entry = {
                "id": number, "image_id": a.image_id, "category_id": a.category_id,
                "bbox": list(a.box), "area": a.area, "iscrowd": int(a.is_crowd)}
            if masks:
                entry |= {
                    "segmentation": a.region, "iscrowd": int(a.is_crowd or not a.has_mask)}
            annotations.append(entry)
        return {
            "images": [
                {"id": image_id, "height": height, "width": width}
                for image_id, (height, width) in self.image_sizes.items()],
            "categories": [{"id": i, "name": name} for i, name in self.class_names.items()],
            "annotations": annotations,
        }


def load_annotations(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return the content of a JSON file of annotations in COCO's format.

    Raises:
        UserError: The file does not exist or is not JSON.
    """
    try:
        return json.loads(epath.Path(path).read_text())
    except FileNotFoundError as error:
        raise UserError(f"The annotation file {os.fspath(path)!r} does not exist.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"The annotation file {os.fspath(path)!r} is not JSON: {error}.") from error


def has_mask(annotation: Mapping[str, Any]) -> bool:
    """Return whether the pixels of an object are annotated, or its box only.

    No pixels at all mean no mask. Polygons are not drawn for that: COCO's evaluation, too, counts
    an object as missed whose polygons are too small to enclose a pixel.

    Args:
        annotation: An entry of `annotations` in COCO's format.
    """
    segmentation = annotation.get("segmentation")
    if not segmentation or not isinstance(segmentation, Mapping):
        return bool(segmentation)
    counts = segmentation["counts"]
    # Run lengths alternate between outside and inside, beginning outside.
    return any(counts[1::2]) if isinstance(counts, list) else int(rle.area(segmentation)) > 0


def first_ids(ids: Iterable[int]) -> str:
    """Return the first few ids as text, for a message."""
    ids = sorted(ids)
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")


def _annotation(entry: Mapping[str, Any], height: int, width: int) -> Annotation:
    masked = has_mask(entry)
    if masked:
        segmentation = entry["segmentation"]
    else:
        x, y, width_of_box, height_of_box = entry["bbox"]
        right, bottom = x + width_of_box, y + height_of_box
        segmentation = [[x, y, right, y, right, bottom, x, bottom]]
    return Annotation(
        entry["id"], entry["image_id"], entry["category_id"], tuple(entry["bbox"]), entry["area"],
        bool(entry.get("iscrowd", 0)), masked, rle.segmToRle(segmentation, width, height))

"""Annotations in COCO's format, loaded once per evaluation for every metric, artifact and overlay.

Every metric is about a list of scored images: annotations of other images must not count as missed.
Neither must the masks of objects that are annotated with a box only.
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

from deepmac_ablate.data.masks import MaskError, check_polygon
from deepmac_ablate.errors import UserError, count_noun


class Annotation(NamedTuple):
    """One annotated object or crowd region.

    Attributes:
        id: The id in the annotation file.
        image_id: The id of the image.
        category_id: The id of the class.
        box: The box as x, y, width and height in pixels.
        area: The area in pixels, by which COCO classifies objects as small, medium or large.
        is_crowd: Whether it is a region of many objects, which is not an object to find.
        has_mask: Whether a mask is annotated, not only a box.
        region: RLE, `counts` as bytes, of the mask, or of the box if there is no mask.
    """

    id: int
    image_id: int
    category_id: int
    box: tuple[float, ...]
    area: float
    is_crowd: bool
    has_mask: bool
    region: Mapping[str, Any]

    def is_object(self, *, masks: bool) -> bool:
        """Return whether it is an object to find, not a region in which detections are ignored.

        Args:
            masks: Whether masks are compared, not boxes: the pixels of an object without a mask are
                unknown, and its box becomes such a region.
        """
        return not self.is_crowd and (self.has_mask or not masks)


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotations of the scored images, grouped as metrics need them; immutable.

    Create it with `load` or `from_coco`.

    Attributes:
        image_sizes: Image id -> height and width, for the scored images in the file's order.
        class_names: Class id -> name, for all classes of the dataset by ascending id.
        annotations: The annotations of the scored images in the file's order.
        known_image_ids: The ids of all images of the file, scored or not.
        known_annotation_ids: The ids of all annotations of the file, on scored images or not.
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
            UserError: If the file does not exist or is not JSON, or for the reasons of `from_coco`.
        """
        return cls.from_coco(load_annotations(path), image_ids)

    @classmethod
    def from_coco(
        cls, document: Mapping[str, Any], image_ids: Collection[int] | None = None
    ) -> GroundTruth:
        """Copy the annotations of the scored images from a document in COCO's format.

        Args:
            document: The content of an annotation file.
            image_ids: The ids of the scored images; None for all images of the document.

        Raises:
            UserError: If no image was scored, one is unknown, or an annotation has no area or
                coordinates out of range.
        """
        sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
        scored = sizes.keys() if image_ids is None else {int(image_id) for image_id in image_ids}
        if not scored:
            # COCO's evaluation would take an empty list for all images.
            raise UserError("There is nothing to evaluate: no image was scored.")
        unknown = scored - sizes.keys()
        if unknown:
            raise UserError(
                f"{count_noun(len(unknown), 'scored image is', 'scored images are')} not in the "
                f"ground truth (ids {first_ids(unknown)}).")
        annotations = [a for a in document["annotations"] if a["image_id"] in scored]
        unsized = [annotation["id"] for annotation in annotations if "area" not in annotation]
        if unsized:
            # They would silently count as small.
            raise UserError(
                f"{count_noun(len(unsized), 'annotation has', 'annotations have')} no `area` "
                f"(ids {first_ids(unsized)}).")
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
    def annotations_by_image(self) -> Mapping[int, tuple[Annotation, ...]]:
        """The annotations of every scored image; an empty tuple for an image without any."""
        grouped = defaultdict(list)
        for annotation in self.annotations:
            grouped[annotation.image_id].append(annotation)
        return MappingProxyType(
            {image_id: tuple(grouped[image_id]) for image_id in self.image_sizes})

    @functools.cached_property
    def objects_by_image(self) -> Mapping[int, tuple[Annotation, ...]]:
        """The objects of every scored image; an empty tuple for an image without objects."""
        return MappingProxyType({
            image_id: tuple(a for a in annotations if not a.is_crowd)
            for image_id, annotations in self.annotations_by_image.items()})

    @functools.cached_property
    def ids_with_mask(self) -> frozenset[int]:
        """The ids of the objects whose mask is annotated."""
        return frozenset(annotation.id for annotation in self.objects if annotation.has_mask)


def load_annotations(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return the content of a JSON file of annotations in COCO's format.

    Raises:
        UserError: If the file does not exist or is not JSON.
    """
    try:
        return json.loads(epath.Path(path).read_text())
    except FileNotFoundError as error:
        raise UserError(f"The annotation file {os.fspath(path)!r} does not exist.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"The annotation file {os.fspath(path)!r} is not JSON: {error}.") from error


def has_mask(annotation: Mapping[str, Any]) -> bool:
    """Return whether an object is annotated with a mask, not only with a box.

    An RLE without any pixel is not a mask. Polygons are not rasterised: an object whose polygons
    are too small to enclose a pixel counts as missed, as in COCO's evaluation.

    Args:
        annotation: An entry of `annotations` in COCO's format.
    """
    segmentation = annotation.get("segmentation")
    if not segmentation or not isinstance(segmentation, Mapping):
        return bool(segmentation)
    counts = segmentation["counts"]
    # Run lengths alternate between outside and inside, starting outside.
    return any(counts[1::2]) if isinstance(counts, list) else int(rle.area(segmentation)) > 0


def first_ids(ids: Iterable[int]) -> str:
    """Return the first few ids as text, for a message."""
    ids = sorted(ids)
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")


def _annotation(entry: Mapping[str, Any], height: int, width: int) -> Annotation:
    masked = has_mask(entry)
    x, y, width_of_box, height_of_box = entry["bbox"]
    right, bottom = x + width_of_box, y + height_of_box
    box = [x, y, right, y, right, bottom, x, bottom]
    segmentation = entry["segmentation"] if masked else [box]
    try:
        # The library's C code takes any number for good.
        for polygon in (box, *(segmentation if isinstance(segmentation, list) else ())):
            check_polygon(polygon, height, width)
    except MaskError as error:
        raise UserError(
            f"Annotation {entry['id']} of the ground truth cannot be used: {error}.") from error
    return Annotation(
        entry["id"], entry["image_id"], entry["category_id"], tuple(entry["bbox"]), entry["area"],
        bool(entry.get("iscrowd", 0)), masked, rle.segmToRle(segmentation, width, height))

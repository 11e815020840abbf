"""Content of one record: an image and its annotations, checked and encoded.

This is the slow part of a conversion (decoding, drawing masks, compressing), so it runs in worker
processes, which start quickly because nothing here imports TensorFlow.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deepmac_ablate.data import masks, picture_reader
from deepmac_ablate.data.coco_annotations import Entry, mask_of

# COCO's coordinates have two decimals; a smaller excess is rounding, not a wrong box.
_CLIP_TOLERANCE = 0.01
_MASK_ELSEWHERE = "objects whose mask lies outside their box"
_AREA_OF_ZERO = "objects with a mask but the area 0, which AP counts as small"


@dataclasses.dataclass(frozen=True)
class ImageExample:
    """The content of one record.

    Attributes:
        image_id: Id in the annotations; becomes the record's source id.
        file_name: File name in the annotations.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        encoded: Content of the image file, JPEG or PNG.
        encoding: Format of `encoded`, "jpg" or "png".
        category_ids: Class id of each instance, at least 1.
        boxes: Boxes, [n, 4] float32, ``[ymin, xmin, ymax, xmax]`` relative to the image size, 0..1.
        crowds: For each instance 1 if it is a crowd, otherwise 0.
        areas: Annotated areas, [n] float32, in pixels.
        mask_pngs: For each instance a PNG of [height, width] with values 0 and 1; all 0 if it has a
            box but no mask.
        masked_ids: Class ids of the instances that have a mask, crowds not counted.
        notes: Number of annotations that users should look at, by description.
        num_clipped: Number of boxes that extended beyond the image and were clipped.
        reencoded: Whether `encoded` differs from the original file.
        remarks: How the image differs from the file; see `picture_reader`.
        digest: Hash of the content; see `content_digest`.
    """

    image_id: int
    file_name: str
    height: int
    width: int
    encoded: bytes
    encoding: str
    category_ids: list[int]
    boxes: np.ndarray
    crowds: list[int]
    areas: np.ndarray
    mask_pngs: list[bytes]
    masked_ids: list[int]
    notes: collections.Counter[str]
    num_clipped: int
    reencoded: bool
    remarks: tuple[str, ...]
    digest: bytes


def prepare_example(entries: tuple[Entry, list[Entry]], folder: Path) -> ImageExample:
    """Return the content of the record for an entry of COCO's `images` and its annotations.

    Boxes are clipped to the image. Annotations with a missing or empty mask are kept, because they
    still locate an object.

    Args:
        entries: An image with `id`, `file_name` (relative to `folder`), `height` and `width`; and
            its annotations, completed by `coco_annotations.read_coco`.
        folder: Folder of the image files.

    Raises:
        UserError: If the image cannot be read or has another size, or a mask is malformed.
    """
    image, annotations = entries
    height, width = image["height"], image["width"]
    picture = picture_reader.encode_picture(folder / image["file_name"], (width, height))
    clipped = [_clip(annotation["bbox"], height, width) for annotation in annotations]
    unit = np.array([height, width, height, width], np.float64)
    boxes = (np.array([box for box, _ in clipped]).reshape(-1, 4) / unit).astype(np.float32)
    category_ids = [annotation["category_id"] for annotation in annotations]
    crowds = [annotation["iscrowd"] for annotation in annotations]
    areas = np.array([annotation["area"] for annotation in annotations], np.float32)
    instance_masks = [mask_of(annotation, height, width) for annotation in annotations]
    masked_ids: list[int] = []
    notes: collections.Counter[str] = collections.Counter()
    for annotation, (box, _), mask in zip(annotations, clipped, instance_masks, strict=True):
        if not annotation["iscrowd"] and mask.any():
            masked_ids.append(annotation["category_id"])
            notes[_AREA_OF_ZERO] += annotation["area"] == 0
            top, left, bottom, right = box
            inside = mask[int(top) : math.ceil(bottom), int(left) : math.ceil(right)]
            notes[_MASK_ELSEWHERE] += not inside.any()
    return ImageExample(
        image_id=image["id"],
        file_name=image["file_name"],
        height=height,
        width=width,
        encoded=picture.content,
        encoding=picture.encoding,
        category_ids=category_ids,
        boxes=boxes,
        crowds=crowds,
        areas=areas,
        mask_pngs=[masks.encode_png(mask) for mask in instance_masks],
        masked_ids=masked_ids,
        notes=notes,
        num_clipped=sum(excess for _, excess in clipped),
        reencoded=picture.reencoded,
        remarks=picture.remarks,
        digest=content_digest(
            image["id"], picture.content, category_ids, boxes, crowds, areas, instance_masks
        ),
    )


def content_digest(
    image_id: int,
    encoded: bytes,
    category_ids: Iterable[int],
    boxes: np.ndarray,
    crowds: Iterable[int],
    areas: np.ndarray,
    instance_masks: Iterable[np.ndarray],
) -> bytes:
    """Return a hash of the content of a record, equal for equal content on every machine.

    JPEG files are hashed as they are, PNG files and masks by their pixels, because the bytes of a
    PNG depend on the machine's zlib. For the arguments see `ImageExample`.
    """
    digest = hashlib.sha256(f"{image_id}".encode())
    with picture_reader.open_content(encoded) as picture:
        lossless = picture.format == "PNG"
        digest.update(np.asarray(picture.convert("RGB")).tobytes() if lossless else encoded)
    digest.update(np.fromiter(category_ids, "<i8").tobytes())
    digest.update(np.fromiter(crowds, "<i8").tobytes())
    digest.update(np.asarray(boxes, "<f4").tobytes())
    digest.update(np.asarray(areas, "<f4").tobytes())
    for mask in instance_masks:
        digest.update(np.packbits(np.asarray(mask, bool)).tobytes())
    return digest.digest()


def _clip(bbox: list[float], height: int, width: int) -> tuple[list[float], bool]:
    x, y, box_width, box_height = bbox
    wanted = [y, x, y + box_height, x + box_width]
    box = np.clip(wanted, 0.0, [height, width, height, width])
    return box.tolist(), bool(np.abs(box - wanted).max() > _CLIP_TOLERANCE)

"""Annotations in COCO's format, as the exact metrics read them.

Every metric is about a list of scored images: what the file holds beside them must neither count as
missed nor be looked at. The same holds for the masks of objects that are annotated with a box only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from etils import epath
from faster_coco_eval import mask as rle

from deepmac_ablate.errors import UserError

GroundTruth = Mapping[str, Any] | str | os.PathLike[str]


def load_annotations(source: GroundTruth) -> Mapping[str, Any]:
    """Returns annotations in COCO's format, read from a JSON file unless they are read already.

    Raises:
        UserError: The file does not exist or is not JSON.
    """
    if isinstance(source, Mapping):
        return source
    try:
        return json.loads(epath.Path(source).read_text())
    except FileNotFoundError as error:
        raise UserError(f"The annotation file {os.fspath(source)!r} does not exist.") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"The annotation file {os.fspath(source)!r} is not JSON: {error}."
        ) from error


def scored_part(everything: Mapping[str, Any], image_ids: Collection[int]) -> dict[str, Any]:
    """Returns the images and annotations of the scored images, in their order, and all categories.

    Raises:
        UserError: No image was scored, one is unknown, or an annotation has no area.
    """
    scored = {int(image_id) for image_id in image_ids}
    if not scored:
        # COCO's evaluation takes an empty list of images for all of them.
        raise UserError("No image was scored, so there is nothing to evaluate.")
    unknown = scored - {image["id"] for image in everything["images"]}
    if unknown:
        raise UserError(
            f"{len(unknown)} scored images are not in the ground truth (ids {first_ids(unknown)})."
        )
    annotations = [a for a in everything["annotations"] if a["image_id"] in scored]
    unsized = [annotation["id"] for annotation in annotations if "area" not in annotation]
    if unsized:
        # It would count as small without a word.
        raise UserError(f"{len(unsized)} annotations have no `area` (ids {first_ids(unsized)}).")
    return {
        "images": [image for image in everything["images"] if image["id"] in scored],
        "categories": list(everything["categories"]),
        "annotations": annotations,
    }


def has_mask(annotation: Mapping[str, Any]) -> bool:
    """Returns whether the pixels of an object are annotated, or its box only.

    No pixels at all mean no mask. Polygons are not drawn for that: COCO's evaluation, too, counts
    an object as missed whose polygons are too small to enclose a pixel.
    """
    segmentation = annotation.get("segmentation")
    if not segmentation or not isinstance(segmentation, Mapping):
        return bool(segmentation)
    counts = segmentation["counts"]
    # Run lengths alternate between outside and inside, beginning outside.
    return any(counts[1::2]) if isinstance(counts, list) else int(rle.area(segmentation)) > 0


def first_ids(ids: Iterable[int]) -> str:
    """Returns the first few ids as text, for a message."""
    ids = sorted(ids)
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")

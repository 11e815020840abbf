"""Small COCO datasets that tests write to disk."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from deepmac_ablate.data.dataset_info import DatasetInfo, annotations_path


def write_classes(prefix, categories):
    """Write a dataset of which only the classes matter, without records; return its prefix."""
    info = DatasetInfo(prefix.name, "0" * 12, 3, 4, 0, 1, tuple(categories))
    info.save(prefix)
    for part in (*info.record_files(prefix), annotations_path(prefix)):
        part.touch()
    return prefix


def square(annotation_id, image_id, x, y, side, **fields):
    """Return an annotation of class 3 whose mask is an axis-parallel square."""
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 3,
        "bbox": [x, y, side, side],
        "area": float(side * side),
        "iscrowd": 0,
        "segmentation": [corners],
        **fields,
    }


def document(num_images=3):
    """Return a COCO document: images of 40 x 30 pixels with a square each; classes 3 and 7."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 40, "height": 30}
            for i in range(1, num_images + 1)
        ],
        "annotations": [square(10 + i, i, 5 + i, 4, 10) for i in range(1, num_images + 1)],
        "categories": [{"id": 7, "name": "leaf"}, {"id": 3, "name": "box"}],
    }


def numbered(num_images):
    """Return a document whose squares are in the middle and each of a class of its own."""
    return {
        **document(num_images),
        "annotations": [
            square(10 + i, i, 12, 8, 10 + i, category_id=i) for i in range(1, num_images + 1)
        ],
        "categories": [{"id": i, "name": f"square {i}"} for i in range(1, num_images + 1)],
    }


def write(folder, content):
    """Write the document and an image of noise for each entry; return both paths."""
    images, annotations = folder / "images", folder / "instances.json"
    images.mkdir(parents=True, exist_ok=True)
    for entry in content["images"]:
        pixels = np.random.default_rng(entry["id"]).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(images / entry["file_name"])
    annotations.write_text(json.dumps(content))
    return images, annotations

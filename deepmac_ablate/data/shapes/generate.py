"""Generator of the built-in synthetic dataset: twelve classes of textured shapes, from a seed.

The dataset replaces COCO where no dataset is available: on a laptop, it shows whether a mask head
segments classes whose masks it never saw. The two splits are `class_splits.SHAPES_A` and
`class_splits.SHAPES_B`: each class is seen in one and novel in the other, so that an easy half
cannot be mistaken for a good head.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepmac_ablate.data.coco_annotations import Entry
from deepmac_ablate.data.convert_coco import ConversionSummary, convert_dataset
from deepmac_ablate.data.parallel import ordered_map
from deepmac_ablate.data.shapes import scenes
from deepmac_ablate.data.shapes.outlines import CLASSES
from deepmac_ablate.errors import UserError
from deepmac_ablate.progress import track

MIN_SIZE = 64
_MAX_INSTANCES = 5
_MIN_IMAGES_PER_PROCESS = 100
_CATEGORIES = [
    {"id": position, "name": name, "supercategory": shape.kind}
    for position, (name, shape) in enumerate(CLASSES.items(), start=1)
]
_PARTS = ("train", "val")


@dataclasses.dataclass(frozen=True)
class ShapesSummary:
    """Summaries of the converted training and validation parts."""

    train: ConversionSummary
    val: ConversionSummary

    def lines(self) -> list[str]:
        """Return the summaries as text."""
        return [*self.train.lines(), *self.val.lines()]


def generate_dataset(
    output_dir: str | os.PathLike[str],
    seed: int = 0,
    num_train: int = 1200,
    num_val: int = 150,
    size: int = 128,
) -> ShapesSummary:
    """Write the built-in synthetic dataset to ``output_dir/train`` and ``output_dir/val``.

    The images are kept in ``output_dir/images/train`` and ``val``, with their COCO annotations in
    ``output_dir/images/train.json`` and ``val.json``. The same seed gives the same dataset, with
    the same fingerprint.

    Args:
        output_dir: Output folder; created if needed.
        seed: Seed of all images, at least 0.
        num_train: Number of training images, at least 1.
        num_val: Number of validation images, at least 1.
        size: Side of the images in pixels, at least 64.

    Raises:
        UserError: If a value is out of range.
    """
    if min(num_train, num_val) < 1:
        raise UserError(
            f"Both parts must have at least 1 image, got {num_train} for training and {num_val} "
            "for validation.")
    if size < MIN_SIZE:
        raise UserError(f"The image size must be at least {MIN_SIZE} pixels, got {size}.")
    if seed < 0:
        raise UserError(f"The seed must be at least 0, got {seed}.")
    folder = Path(output_dir)
    summaries = {}
    for part, num_images in zip(_PARTS, (num_train, num_val), strict=True):
        images, annotations = _draw_part(folder / "images", part, num_images, size, seed)
        summaries[part] = convert_dataset(images, annotations, folder / part)
    return ShapesSummary(**summaries)


def _draw_part(
    folder: Path, part: str, num_images: int, size: int, seed: int
) -> tuple[Path, Path]:
    images, partial = folder / part, folder / f".{part}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    num_processes = min(os.cpu_count() or 1, max(1, num_images // _MIN_IMAGES_PER_PROCESS))
    tasks = _tasks(part, num_images, size, seed)
    drawn = ordered_map(scenes.render_scene, tasks, num_processes)
    ids = {category["name"]: category["id"] for category in _CATEGORIES}
    entries: list[Entry] = []
    annotations: list[Entry] = []
    for image_id, (png, instances) in enumerate(track(drawn, num_images, f"Drawing {part}"), 1):
        name = f"{image_id:06d}.png"
        (partial / name).write_bytes(png)
        entries.append({"id": image_id, "file_name": name, "width": size, "height": size})
        for class_name, instance in instances:
            identity = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append({**identity, "category_id": ids[class_name], **instance})
    shutil.rmtree(images, ignore_errors=True)
    partial.rename(images)
    path = folder / f"{part}.json"
    document = {"images": entries, "annotations": annotations, "categories": _CATEGORIES}
    path.write_text(json.dumps(document))
    return images, path


def _tasks(part: str, num_images: int, size: int, seed: int) -> Iterator[scenes.SceneTask]:
    # Classes are dealt from shuffled decks, so that all have equally many instances.
    identity = (seed, _PARTS.index(part))
    rng = np.random.default_rng(identity)
    deck: list[str] = []
    for image_id in range(1, num_images + 1):
        num_instances = int(rng.integers(1, _MAX_INSTANCES + 1))
        while len(deck) < num_instances:
            deck.extend(rng.permutation(list(CLASSES)).tolist())
        names, deck = deck[:num_instances], deck[num_instances:]
        yield scenes.SceneTask(names, size, (*identity, image_id))

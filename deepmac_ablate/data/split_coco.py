"""Random parts of a COCO instances file, for ``deepmac-ablate data split``."""

from __future__ import annotations

import collections
import hashlib
import json
import os
from pathlib import Path

from etils import epath

from deepmac_ablate.data.coco_annotations import read_coco
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import read_json_file


def split_annotations(
    annotations: Path, output: str | os.PathLike[str], share: float, seed: int = 0
) -> list[str]:
    """Write two COCO instances files with other images each, ``train.json`` and ``val.json``.

    Images are drawn by their ids alone, so that the part of an image does not depend on the others
    in the file: images that are added later leave it as it is, but for those at the border.

    Args:
        annotations: The COCO instances file; entries are copied as they are.
        output: Folder to write the files to.
        share: The share of the images in ``val.json``, between 0 and 1.
        seed: Seed of the draw.

    Returns:
        Lines that describe the files to a user, with the classes that one of them lacks.

    Raises:
        UserError: If the file is faulty, one of the files exists, or a part would have no image.
    """
    if not 0.0 < share < 1.0:
        raise UserError(f"The share of the images must be between 0 and 1, got {share:g}.")
    targets = {part: epath.Path(output) / f"{part}.json" for part in ("train", "val")}
    for target in targets.values():
        file_io.refuse_existing(target)
    truth = read_coco(annotations, boxes_only=True)
    document = read_json_file(annotations, "annotations file", "the COCO JSON file in it")
    ids = sorted((image["id"] for image in truth.images), key=lambda key: _rank(seed, key))
    number = round(share * len(ids))
    if not 0 < number < len(ids):
        raise UserError(
            f"{share:g} of {count_noun(len(ids), 'image')} leaves no image in one of the two "
            f"parts; {annotations} needs more images, or another share.")
    parts = {"train": set(ids[number:]), "val": set(ids[:number])}
    lines = []
    for part, chosen in parts.items():
        images = [image for image in document["images"] if image["id"] in chosen]
        entries = [each for each in document["annotations"] if each["image_id"] in chosen]
        content = {**document, "images": images, "annotations": entries}
        targets[part].parent.mkdir(parents=True, exist_ok=True)
        file_io.write(targets[part], json.dumps(content) + "\n")
        lines.append(
            f"{targets[part]}: {count_noun(len(images), 'image')}, "
            f"{count_noun(len(entries), 'annotation')}.")
        counts = collections.Counter(each["category_id"] for each in entries)
        absent = [c.name for c in truth.categories if not counts[c.id]]
        if absent:
            lines.append(f"  without an annotation of: {', '.join(absent)}")
    return lines


def _rank(seed: int, image_id: int) -> str:
    return hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest()

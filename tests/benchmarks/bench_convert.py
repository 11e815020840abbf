"""Conversion of COCO images to records: Model Garden's script and our command, as users run them.

Both convert the images of coco_tiny eight times over, masks included, with two processes and the
same number of shards. Ours also decodes every image and computes the dataset's fingerprint.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.measuring import Commands, Row, compare
from tests.helpers import coco_tiny

_COPIES = 8
_NUM_SHARDS = "4"


def write_copies(path: Path) -> int:
    """Write annotations that list every image several times; return the number of images."""
    document = coco_tiny.instances()
    images, annotations = document["images"], document["annotations"]
    image_step, step = (max(x["id"] for x in table) + 1 for table in (images, annotations))
    document["images"] = [
        image | {"id": image["id"] + copy * image_step}
        for copy in range(_COPIES) for image in images]
    document["annotations"] = [
        annotation | {"id": annotation["id"] + copy * step,
                      "image_id": annotation["image_id"] + copy * image_step}
        for copy in range(_COPIES) for annotation in annotations]
    path.write_text(json.dumps(document))
    return len(document["images"])


def compare_conversions(runs: int, folder: Path) -> Row:
    """Compare the commands, imports included."""
    annotations, images = folder / "instances.json", coco_tiny.root() / "images"
    number = write_copies(annotations)

    def convert_upstream(output: Path) -> list[list[str]]:
        return [[
            "-m", "official.vision.data.create_coco_tf_record", "--include_masks",
            f"--image_dir={images}", f"--object_annotations_file={annotations}",
            f"--output_file_prefix={output}/train", f"--num_shards={_NUM_SHARDS}",
            "--num_processes=2"]]

    def convert_ours(output: Path) -> list[list[str]]:
        return [["-m", "deepmac_ablate.cli", "data", "coco", "--images", str(images),
                 "--annotations", str(annotations), "--output", f"{output}/train", "--shards",
                 _NUM_SHARDS]]

    return compare(
        f"conversion of {number:,} COCO pictures with masks", Commands(convert_upstream),
        Commands(convert_ours), runs, unit="picture", per_run=(number, number), warm_ups=0)

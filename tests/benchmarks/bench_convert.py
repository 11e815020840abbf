"""Conversion of COCO images with masks to records: Model Garden's script and ours.

Both convert the images of coco_tiny several times over with two processes and the same number of
shards; TensorFlow is imported before the clock starts. Ours also decodes every image and computes
the fingerprint.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.measuring import Row, Worker, compare
from tests.helpers import coco_tiny

_COPIES = 6
_NUM_PROCESSES = 2
_NUM_SHARDS = 4


def compare_conversions(runs: int, folder: Path) -> Row:
    """Compare the costs of an image."""
    annotations = folder / "instances.json"
    number = _write_copies(annotations)
    sides = (
        Worker(functools.partial(build, annotations, folder))
        for build in (_build_upstream, _build_ours))
    return compare(
        "conversion of COCO, 2 processes", *sides, runs, unit="picture", per_run=(number, number))


def _write_copies(path: Path) -> int:
    """Write annotations that list every image of coco_tiny several times; return their number."""
    document = coco_tiny.instances()
    images, annotations = document["images"], document["annotations"]
    step_of_images, step = (max(x["id"] for x in table) + 1 for table in (images, annotations))
    document["images"] = [
        image | {"id": image["id"] + copy * step_of_images}
        for copy in range(_COPIES) for image in images]
    document["annotations"] = [
        annotation | {"id": annotation["id"] + copy * step,
                      "image_id": annotation["image_id"] + copy * step_of_images}
        for copy in range(_COPIES) for annotation in annotations]
    path.write_text(json.dumps(document))
    return len(document["images"])


def _build_ours(annotations: Path, folder: Path) -> Callable[[], object]:
    from deepmac_ablate.data import convert_coco
    from deepmac_ablate.data import records as _  # noqa: F401 - imports TensorFlow

    _allow_children()
    return lambda: convert_coco.convert_dataset(
        coco_tiny.root() / "images", annotations, folder / "ours", _NUM_SHARDS, _NUM_PROCESSES)


def _build_upstream(annotations: Path, folder: Path) -> Callable[[], object]:
    from absl import flags
    from official.vision.data import create_coco_tf_record

    _allow_children()
    flags.FLAGS([
        "create_coco_tf_record", f"--image_dir={coco_tiny.root() / 'images'}", "--include_masks",
        f"--object_annotations_file={annotations}", f"--output_file_prefix={folder}/upstream",
        f"--num_shards={_NUM_SHARDS}", f"--num_processes={_NUM_PROCESSES}"])
    return lambda: create_coco_tf_record.main([])


def _allow_children() -> None:
    """Let this process, which ends with its parent, have processes of its own."""
    multiprocessing.current_process()._config["daemon"] = False

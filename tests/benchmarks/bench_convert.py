"""Time the conversion of COCO images to records: Model Garden's script and ours, in turn.

    python -m tests.benchmarks.bench_convert [--repeats 3] [--copies 8]

Both convert the images of coco_tiny several times over, masks included, with two processes and the
same number of shards. Each run is its own process; the clock starts after the imports of
TensorFlow, and stops when all worker processes have ended. Printed: medians of images per second,
CPU seconds per thousand images and peak memory of the writing process, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.benchmarks.measuring import processor
from tests.helpers import coco_tiny

_ROOT = Path(__file__).resolve().parents[2]
_SIDES = ("upstream", "ours")
_NUM_PROCESSES = 2
_NUM_SHARDS = 4


class Usage(NamedTuple):
    """Cost of a conversion: seconds, CPU seconds of all processes, megabytes of the writing one."""

    wall: float
    cpu: float
    megabytes: float


def write_copies(path: Path, copies: int) -> int:
    """Write annotations that list every image of coco_tiny several times; return their number."""
    document = coco_tiny.instances()
    images, annotations = document["images"], document["annotations"]
    step_of_images, step = (max(x["id"] for x in table) + 1 for table in (images, annotations))
    document["images"] = [
        image | {"id": image["id"] + copy * step_of_images}
        for copy in range(copies) for image in images]
    document["annotations"] = [
        annotation | {"id": annotation["id"] + copy * step,
                      "image_id": annotation["image_id"] + copy * step_of_images}
        for copy in range(copies) for annotation in annotations]
    path.write_text(json.dumps(document))
    return len(document["images"])


def _run(side: str, annotations: Path) -> Usage:
    """Convert in a process of its own.

    Raises:
        RuntimeError: If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.bench_convert", "--child", side,
             str(annotations), folder], cwd=_ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{side}: {done.stderr[-3000:]}")
        return Usage(*json.loads((Path(folder) / "usage.json").read_text()))


def _child(side: str, annotations: Path, folder: Path) -> None:
    """Convert in this process, and write its usage to `folder`."""
    convert = (_prepare_upstream if side == "upstream" else _prepare_ours)(annotations, folder)
    started, before = time.perf_counter(), _cpu_seconds()
    convert()
    wall, cpu = time.perf_counter() - started, _cpu_seconds() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / "usage.json").write_text(json.dumps([wall, cpu, peak]))


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _prepare_ours(annotations: Path, folder: Path) -> Callable[[], object]:
    from deepmac_ablate.data import convert_coco
    from deepmac_ablate.data import records as _  # noqa: F401 - imports TensorFlow

    return lambda: convert_coco.convert_dataset(
        coco_tiny.root() / "images", annotations, folder / "train", _NUM_SHARDS, _NUM_PROCESSES)


def _prepare_upstream(annotations: Path, folder: Path) -> Callable[[], object]:
    from absl import flags
    from official.vision.data import create_coco_tf_record

    flags.FLAGS([
        "create_coco_tf_record", f"--image_dir={coco_tiny.root() / 'images'}", "--include_masks",
        f"--object_annotations_file={annotations}", f"--output_file_prefix={folder}/train",
        f"--num_shards={_NUM_SHARDS}", f"--num_processes={_NUM_PROCESSES}"])
    return lambda: create_coco_tf_record.main([])


def main() -> None:
    """Print the table.

    Raises:
        SystemExit: If coco_tiny is absent.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        side, annotations, folder = args.child
        _child(side, Path(annotations), Path(folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        annotations = Path(folder) / "instances.json"
        try:
            number = write_copies(annotations, args.copies)
        except pytest.skip.Exception as absent:
            sys.exit(str(absent))
        pairs = [[_run(side, annotations) for side in _SIDES] for _ in range(args.repeats)]
    print(f"{processor()}; {number} images, {_NUM_PROCESSES} processes")
    for column, side in enumerate(_SIDES):
        wall, cpu, peak = (
            statistics.median(getattr(pair[column], field) for pair in pairs)
            for field in Usage._fields)
        print(f"{side:<9}{number / wall:>7.1f} images/s {cpu / number * 1000:>7.1f} CPU s per 1000 "
              f"images {peak:>6.0f} MB")
    ratios = (
        statistics.median(getattr(theirs, field) / getattr(ours, field) for theirs, ours in pairs)
        for field in Usage._fields)
    print("upstream / ours: seconds {:.2f}, CPU seconds {:.2f}, memory {:.2f}".format(*ratios))


if __name__ == "__main__":
    main()

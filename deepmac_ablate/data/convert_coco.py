"""Conversion of COCO instances to records, for ``deepmac-ablate data coco``."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import os
import random
from collections.abc import Mapping
from pathlib import Path

from etils import epath

from deepmac_ablate.data import coco_annotations, image_example, image_files
from deepmac_ablate.data.coco_annotations import CocoTruth
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.data.parallel import ordered_map
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.progress import track

# About 150 MB of COCO: enough shards to shuffle and to distribute over the hosts of a TPU.
_IMAGES_PER_SHARD = 1000
_MAX_SHARDS = 256
# For fewer images, starting processes costs more than it saves (20 ms per COCO image).
_MIN_IMAGES_PER_PROCESS = 200
_MAX_PROCESSES = 16


@dataclasses.dataclass(frozen=True)
class ConversionSummary:
    """Counts of what a conversion wrote, changed and left out.

    Attributes:
        info: The dataset that was written.
        skipped: Number of annotations that are not in the records, by reason.
        num_clipped: Number of boxes clipped to their image.
        num_reencoded: Number of images stored as PNG, because they are turned or TensorFlow cannot
            read their format.
        remarks: File names of images by the way in which they differ from their file; see
            `picture_reader`.
        num_without_instances: Number of images without any instance; they are kept.
        num_derived_crowd: Number of annotations without `iscrowd`.
        num_derived_area: Number of annotations without `area`.
        no_classes: Names by id of categories that were left out, as they are no classes.
        without_mask: Number of objects with a box but no mask, by reason.
        notes: Number of entries by what else is to say of them.
    """

    info: DatasetInfo
    skipped: dict[str, int]
    num_clipped: int
    num_reencoded: int
    remarks: dict[str, list[str]]
    num_without_instances: int
    num_derived_crowd: int
    num_derived_area: int
    no_classes: Mapping[int, str]
    without_mask: dict[str, int]
    notes: dict[str, int]

    def lines(self) -> list[str]:
        """Return the summary as text: the counts, then the count of each kind of exception."""
        info = self.info
        lines = [
            f"{info.identity}: {count_noun(info.num_images, 'image')}, "
            f"{count_noun(info.num_instances, 'instance')} and "
            f"{count_noun(info.num_crowds, 'crowd')} of "
            f"{count_noun(len(info.categories), 'category', 'categories')} in "
            f"{count_noun(info.num_shards, 'shard')}."
        ]
        exceptions = {
            **{f"annotations skipped, {why}": count for why, count in self.skipped.items()},
            **{f"objects with a box but no mask, {why}": count
               for why, count in self.without_mask.items()},
            "boxes clipped to their image": self.num_clipped,
            "images stored as PNG": self.num_reencoded,
            "images without instances": self.num_without_instances,
            "annotations without iscrowd, taken as 0": self.num_derived_crowd,
            "annotations without area, taken from mask or box": self.num_derived_area,
            **self.notes,
        }
        lines += [f"  {what}: {count}" for what, count in exceptions.items() if count]
        if teacher := info.describe_pseudo_masks():
            lines.append(f"  {teacher}")
        lines += [
            f"  {remark}: {len(names)}, such as {min(names)}"
            for remark, names in sorted(self.remarks.items())]
        lines += [
            f"  category {name!r} (id {class_id}) left out, as no object has it and it is no class "
            "but a root or background"
            for class_id, name in self.no_classes.items()]
        if any(category.id != category.label for category in info.categories):
            number = len(info.categories)
            lines.append(
                f"  class ids are kept; a model numbers the classes from 1 to {number}: bind "
                f"NUM_CLASSES = {number + 1}")
        return lines


def convert_dataset(
    images: Path,
    annotations: Path,
    output_prefix: str | os.PathLike[str],
    num_shards: int | None = None,
    num_processes: int | None = None,
    boxes_only: bool = False,
) -> ConversionSummary:
    """Convert a dataset in COCO's format to records.

    The new version is written beside the target first; a previous version stays intact until then.

    Args:
        images: Folder of the image files.
        annotations: COCO instances JSON file; category ids are kept.
        output_prefix: Prefix of the dataset to write, such as ``data/coco/train``; see
            `dataset_info`.
        num_shards: Number of record files; None for one per 1000 images.
        num_processes: Number of worker processes; None to choose by the number of images. A script
            that may use several must guard its calls with ``if __name__ == "__main__":``, because
            each process imports it.
        boxes_only: Whether no object has to have a mask, for training by weak losses.

    Raises:
        UserError: If the input is faulty; the message names the entry, and nothing is written.
    """
    prefix = epath.Path(output_prefix)
    if not images.is_dir():
        raise UserError(f"The images folder {images} does not exist.")
    if prefix.is_dir() or str(output_prefix).endswith("/"):
        raise UserError(
            f"The output {output_prefix} is a folder; name the dataset in it, "
            f"such as {prefix / 'train'}."
        )
    truth = coco_annotations.read_coco(annotations, boxes_only)
    located = image_files.locate_images(truth.images, images, truth.named_by_url)
    truth = truth.with_file_names(located.names)
    num_images = len(truth.images)
    if num_shards is None:
        num_shards = min(math.ceil(num_images / _IMAGES_PER_SHARD), _MAX_SHARDS)
    if not 1 <= num_shards <= num_images:
        raise UserError(
            f"The number of shards must be from 1 to the number of images, {num_images}; got "
            f"{num_shards}.")
    # Imports TensorFlow, which takes seconds: only once nothing is wrong with the files.
    from deepmac_ablate.data.records import RecordWriter

    if num_processes is None:
        useful = max(1, num_images // _MIN_IMAGES_PER_PROCESS)
        num_processes = min(useful, os.cpu_count() or 1, _MAX_PROCESSES)
    order = list(truth.images)
    # A fixed order that mixes the images, so that no shard holds one part of the dataset.
    random.Random(0).shuffle(order)
    tasks = ((image, truth.annotations.get(image["id"], [])) for image in order)
    counts: collections.Counter[str] = collections.Counter()
    remarks: dict[str, list[str]] = collections.defaultdict(list)
    notes = collections.Counter({**truth.notes, **located.differences})
    with RecordWriter(prefix, num_shards, truth.categories) as writer:
        prepare = functools.partial(image_example.prepare_example, folder=images)
        examples = ordered_map(prepare, tasks, num_processes)
        for example in track(examples, num_images, f"Converting {prefix.name}"):
            writer.add_image_example(example)
            notes.update(example.notes)
            counts["clipped"] += example.num_clipped
            counts["reencoded"] += example.reencoded
            for remark in example.remarks:
                remarks[remark].append(example.file_name)
            counts["empty"] += not example.category_ids
        if not (boxes_only or writer.num_masks):
            raise UserError(
                f"{annotations} has no masks: no segmentation encloses a pixel of its image.")
        info = writer.publish(truth.document)
    return _summary(info, truth, remarks, counts, notes)


def _summary(
    info: DatasetInfo,
    truth: CocoTruth,
    remarks: dict[str, list[str]],
    counts: collections.Counter[str],
    notes: collections.Counter[str],
) -> ConversionSummary:
    empty = info.num_boxes_only - sum(truth.without_mask.values())
    return ConversionSummary(
        info=info,
        skipped=truth.skipped,
        num_clipped=counts["clipped"],
        num_reencoded=counts["reencoded"],
        remarks=dict(remarks),
        num_without_instances=counts["empty"],
        num_derived_crowd=truth.num_derived_crowd,
        num_derived_area=truth.num_derived_area,
        no_classes=truth.no_classes,
        without_mask={**truth.without_mask, "segmentation encloses no pixel": empty},
        notes=dict(notes),
    )

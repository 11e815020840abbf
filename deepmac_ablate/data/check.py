"""Verification of a dataset: records are read as in training and compared with the info file.

Every record goes through Model Garden's decoder; some are drawn, for inspection by eye.
"""

from __future__ import annotations

import collections
import io
import json
import os
import random
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from etils import epath
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder
from PIL import Image

from deepmac_ablate.data import dataset_info, drawing, image_example, records
from deepmac_ablate.data.check_report import CheckReport
from deepmac_ablate.data.dataset_info import Category, DatasetInfo
from deepmac_ablate.data.record_notes import Notes, class_notes, mask_bounds
from deepmac_ablate.data.record_problems import Problems, Record, verify_instances, verify_sizes
from deepmac_ablate.errors import UserError
from deepmac_ablate.progress import track
from deepmac_ablate.storage import file_io

_COLUMNS = 4
_THUMBNAIL = (360, 360)


def check_dataset(
    prefix: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    num_images: int = 16,
    seed: int = 0,
    seen_ids: frozenset[int] | None = None,
) -> CheckReport:
    """Read all records of a dataset, verify them and draw some.

    Args:
        prefix: Prefix of the dataset; see `dataset_info`.
        output_dir: Folder for the drawn images and ``contact_sheet.png``; created if needed.
        num_images: Number of images to draw, at least 0.
        seed: Seed of the choice of images.
        seen_ids: Ids of the classes trained with masks; the others are drawn as novel.

    Raises:
        UserError: If there is no such dataset, or it is incomplete.
    """
    if num_images < 0:
        raise UserError(f"The number of images to draw must be at least 0, got {num_images}.")
    info = DatasetInfo.load(prefix)
    folder = epath.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    drawn_positions = set(
        random.Random(seed).sample(range(info.num_images), min(num_images, info.num_images))
    )
    by_label = {category.label: category for category in info.categories}
    names = {label: category.name for label, category in by_label.items()}
    problems, notes = Problems(), Notes()
    counts: collections.Counter[int] = collections.Counter()
    boxes_only: collections.Counter[int] = collections.Counter()
    sizes: collections.Counter[int] = collections.Counter()
    num_crowds = 0
    digests: dict[int, bytes] = {}
    pictures: dict[str, Image.Image] = {}
    found = _read(prefix, info, problems)
    for position, (raw, record) in enumerate(track(found, info.num_images, "Checking")):
        image_id = record["source_id"].decode()
        if not verify_sizes(record, problems):
            continue
        verify_instances(record, names, problems)
        crowds = record["groundtruth_is_crowd"]
        counts.update(record["groundtruth_classes"][~crowds].tolist())
        bounds = mask_bounds(record["groundtruth_instance_masks"])
        notes.add_record(record, bounds, names)
        sizes[int((~crowds).sum())] += 1
        masked = bounds[:, 2] > 0
        boxes_only.update(record["groundtruth_classes"][~crowds & ~masked].tolist())
        num_crowds += int(crowds.sum())
        if int(image_id) in digests:
            problems.add("repeated", f"Image {image_id} is in the records twice.")
        digests[int(image_id)] = _digest(raw, record, by_label)
        if position in drawn_positions:
            pictures[image_id] = _draw(record, by_label, seen_ids)
    totals = {
        "images": (info.num_images, len(digests)),
        "instances": (info.num_instances, counts.total()),
        "instances without mask": (info.num_boxes_only, boxes_only.total()),
        "crowds": (info.num_crowds, num_crowds),
    }
    _verify_totals(prefix, info, totals, digests, problems)
    if info.images_by_num_instances not in (None, sizes):
        problems.add("totals", "The info file says other numbers of objects per image.")
    num_instances, num_boxes_only = (_by_id(count, by_label) for count in (counts, boxes_only))
    if not counts.total():
        problems.add("objects", "The records have no objects, so there is nothing to learn.")
    elif seen_ids and not any(
            num_instances.get(i, 0) > num_boxes_only.get(i, 0) for i in seen_ids):
        problems.add("masks", "No object of a seen class has a mask to train the mask head on.")
    return CheckReport(
        info=info,
        seen_ids=None if seen_ids is None else frozenset(seen_ids),
        num_instances=num_instances,
        num_boxes_only=num_boxes_only,
        most_objects=notes.most_objects,
        most_objects_image=notes.most_objects_image,
        notes=[*class_notes(info, seen_ids, num_instances, num_boxes_only), *notes.sentences()],
        problems=problems.sentences(),
        contact_sheet=_save(pictures, folder),
    )


def _read(
    prefix: str | os.PathLike[str], info: DatasetInfo, problems: Problems
) -> Iterator[tuple[bytes, Record]]:
    decoder = TfExampleDecoder(include_mask=True)
    # Traced once for all files.
    decode = tf.function(
        lambda raw: (raw, decoder.decode(raw)), autograph=False,
        input_signature=[tf.TensorSpec([], tf.string)])
    for path in info.record_files(prefix):
        raw_records = tf.data.TFRecordDataset(str(path))
        decoded = iter(raw_records.map(decode, num_parallel_calls=tf.data.AUTOTUNE))
        for position in range(info.num_images + 1):
            try:
                raw, record = next(decoded)
            except StopIteration:
                break
            except tf.errors.DataLossError as error:
                reason = _first_line(error)
                problems.add("corrupt", f"{path.name} is corrupt after record {position}: {reason}")
                break
            except tf.errors.OpError as error:
                where = f"Record {position} of {path.name}"
                problems.add("undecodable", f"{where} does not decode: {_first_line(error)}")
                continue
            yield raw.numpy(), {key: value.numpy() for key, value in record.items()}


def _first_line(error: tf.errors.OpError) -> str:
    return error.message.splitlines()[0].rstrip(".") + "."


def _by_id(
    counts: Mapping[int, int], categories: Mapping[int, Category]
) -> dict[int, int]:
    """Return the counts of known labels, by ascending id."""
    known = {categories[label].id: n for label, n in counts.items() if label in categories}
    return dict(sorted(known.items()))


def _digest(raw: bytes, record: Record, categories: Mapping[int, Category]) -> bytes:
    labels = record["groundtruth_classes"].tolist()
    features = tf.train.Example.FromString(raw).features.feature
    return image_example.content_digest(
        int(record["source_id"]),
        features["image/encoded"].bytes_list.value[0],
        # An unknown label is a problem already reported.
        [categories[label].id if label in categories else label for label in labels],
        record["groundtruth_boxes"],
        record["groundtruth_is_crowd"].tolist(),
        record["groundtruth_area"],
        record["groundtruth_instance_masks"],
    )


def _verify_totals(
    prefix: str | os.PathLike[str],
    info: DatasetInfo,
    totals: Mapping[str, tuple[int, int]],
    digests: Mapping[int, bytes],
    problems: Problems,
) -> None:
    for what, (stated, actual) in totals.items():
        if stated != actual:
            problems.add("totals", f"The info file says {stated} {what}, the records {actual}.")
    annotations = json.loads(dataset_info.annotations_path(prefix).read_text())
    annotated = {image["id"] for image in annotations["images"]}
    if annotated != set(digests):
        problems.add(
            "totals",
            f"Annotated images that are not in the records: {len(annotated - set(digests))}; "
            f"images in the records without annotations: {len(set(digests) - annotated)}.",
        )
    fingerprint = records.dataset_fingerprint(
        (digest for _, digest in sorted(digests.items())), info.categories
    )
    if fingerprint != info.fingerprint:
        problems.add(
            "totals",
            f"The records have the fingerprint {fingerprint}, the info file {info.fingerprint}: "
            "they come from different conversions.",
        )


def _draw(
    record: Record, categories: Mapping[int, Category], seen_ids: frozenset[int] | None
) -> Image.Image:
    image = record["image"]
    classes = [
        categories.get(label, Category(label, str(label)))
        for label in record["groundtruth_classes"].tolist()]
    crowds = record["groundtruth_is_crowd"].tolist()
    labels = [
        f"{category.name}{' (crowd)' if crowd else ''}"
        for category, crowd in zip(classes, crowds, strict=True)
    ]
    roles = None
    if seen_ids is not None:
        roles = ["seen" if category.id in seen_ids else "novel" for category in classes]
    boxes = record["groundtruth_boxes"] * np.tile(image.shape[:2], 2)
    masks = record["groundtruth_instance_masks"]
    return drawing.draw_instances(image, boxes, masks, labels, roles)


def _save(pictures: Mapping[str, Image.Image], folder: epath.Path) -> epath.Path | None:
    if not pictures:
        return None
    for image_id, picture in pictures.items():
        _write_png(picture, folder / f"{image_id}.png")
        picture.thumbnail(_THUMBNAIL)
    captions = [f"image {image_id}" for image_id in pictures]
    path = folder / "contact_sheet.png"
    _write_png(drawing.contact_sheet(list(pictures.values()), _COLUMNS, captions), path)
    return path


def _write_png(picture: Image.Image, path: epath.Path) -> None:
    png = io.BytesIO()
    picture.save(png, format="PNG")
    file_io.write(path, png.getvalue())

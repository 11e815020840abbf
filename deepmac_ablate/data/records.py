"""Writer of records: a new version is written beside the old one and replaces it at the end."""

from __future__ import annotations

import collections
import hashlib
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from etils import epath
from official.vision.data import tfrecord_lib

from deepmac_ablate.data import dataset_info
from deepmac_ablate.data.dataset_info import Category, DatasetInfo
from deepmac_ablate.data.image_example import ImageExample

_FINGERPRINT_DIGITS = 12
_EDGES = ("ymin", "xmin", "ymax", "xmax")


def encode_record(
    image: ImageExample, categories: Mapping[int, Category]
) -> tf.train.Example:
    """Return the record of an image in Model Garden's format, which `TfExampleDecoder` reads.

    Args:
        image: Content of the record.
        categories: Classes by id; records have their labels.
    """
    features = tfrecord_lib.image_info_to_feature_dict(
        image.height, image.width, image.file_name, image.image_id, image.encoded, image.encoding
    )
    if image.category_ids:
        classes = [categories[category_id] for category_id in image.category_ids]
        objects = {
            **{f"bbox/{edge}": (image.boxes[:, i], "float_list") for i, edge in enumerate(_EDGES)},
            "class/text": ([category.name.encode() for category in classes], "bytes_list"),
            "class/label": ([category.label for category in classes], "int64_list"),
            "is_crowd": (image.crowds, "int64_list"),
            "area": (image.areas, "float_list"),
            "mask": (image.mask_pngs, "bytes_list"),
        }
        for name, (values, kind) in objects.items():
            features[f"image/object/{name}"] = tfrecord_lib.convert_to_feature(values, kind)
    return tf.train.Example(features=tf.train.Features(feature=features))


def dataset_fingerprint(digests: Iterable[bytes], categories: Sequence[Category]) -> str:
    """Return the fingerprint of a dataset.

    Args:
        digests: `ImageExample.digest` of all images, by ascending image id.
        categories: Classes of the dataset, by ascending id.
    """
    whole = hashlib.sha256(json.dumps([[c.id, c.name] for c in categories]).encode())
    for digest in digests:
        whole.update(digest)
    return whole.hexdigest()[:_FINGERPRINT_DIGITS]


class RecordWriter:
    """Writer of one version of a dataset; the previous version stays intact until `publish`.

    A context manager; leaving it without `publish` leaves nothing behind.

    Args:
        prefix: Prefix of the dataset.
        num_shards: Number of record files, which are filled in turn.
        categories: All classes of the dataset.
    """

    def __init__(
        self, prefix: epath.Path, num_shards: int, categories: Sequence[Category]
    ) -> None:
        self._prefix = prefix
        self._num_shards = num_shards
        self._categories = tuple(categories)
        self._by_id = {category.id: category for category in categories}
        # A folder beside the target, because a rename within one file system is atomic.
        self._folder = prefix.parent / f".{prefix.name}.partial"
        self._writers: list[tf.io.TFRecordWriter] = []
        self._digests: dict[int, bytes] = {}
        self._num_instances = 0
        self._num_crowds = 0
        self._num_masks: collections.Counter[int] = collections.Counter()
        self._images_by_num_instances: collections.Counter[int] = collections.Counter()

    def __enter__(self) -> RecordWriter:
        if self._folder.exists():
            self._folder.rmtree()
        self._folder.mkdir(parents=True)
        self._writers = [
            tf.io.TFRecordWriter(str(self._partial(path))) for path in self._shard_paths()
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        for writer in self._writers:
            writer.close()
        if self._folder.exists():
            self._folder.rmtree()

    def add_image_example(self, image: ImageExample) -> None:
        """Append an image to the next shard."""
        writer = self._writers[len(self._digests) % self._num_shards]
        writer.write(encode_record(image, self._by_id).SerializeToString())
        self._digests[image.image_id] = image.digest
        self._num_crowds += sum(image.crowds)
        self._num_instances += len(image.crowds) - sum(image.crowds)
        self._images_by_num_instances[len(image.crowds) - sum(image.crowds)] += 1
        self._num_masks.update(image.masked_ids)

    @property
    def num_masks(self) -> int:
        """Number of instances with a mask so far, crowds not counted."""
        return self._num_masks.total()

    def publish(self, annotations: Mapping[str, Any]) -> DatasetInfo:
        """Replace the previous version by this one.

        The old info file is removed first and the new one written last, so that an interruption
        leaves a dataset that cannot be loaded, never a mixture of both versions.

        Args:
            annotations: COCO document of the images.
        """
        for writer in self._writers:
            writer.close()
        annotations_path = dataset_info.annotations_path(self._prefix)
        self._partial(annotations_path).write_text(json.dumps(annotations))
        info = DatasetInfo(
            name=self._prefix.name,
            fingerprint=dataset_fingerprint(
                (digest for _, digest in sorted(self._digests.items())), self._categories
            ),
            num_images=len(self._digests),
            num_instances=self._num_instances,
            num_crowds=self._num_crowds,
            num_shards=self._num_shards,
            categories=self._categories,
            num_boxes_only=self._num_instances - self._num_masks.total(),
            num_masks_by_class=dict(sorted(self._num_masks.items())),
            images_by_num_instances=dict(sorted(self._images_by_num_instances.items())),
            pseudo_masks=(annotations.get("info") or {}).get("pseudo_masks"),
        )
        dataset_info.info_path(self._prefix).unlink(missing_ok=True)
        for old in self._prefix.parent.glob(f"{self._prefix.name}-*-of-*.tfrecord"):
            old.unlink()
        for path in [*self._shard_paths(), annotations_path]:
            self._partial(path).replace(path)
        info.save(self._prefix)
        return info

    def _shard_paths(self) -> list[epath.Path]:
        shards = range(self._num_shards)
        return [dataset_info.shard_path(self._prefix, i, self._num_shards) for i in shards]

    def _partial(self, path: epath.Path) -> epath.Path:
        return self._folder / path.name

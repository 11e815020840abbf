"""Input pipeline of evaluation: every image exactly once, in the order of the records."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence

import gin
import numpy as np
import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder

from deepmac_ablate.bindings.ranges import Images
from deepmac_ablate.data import model_input
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.modeling.autograph import disabled


@gin.register(module="deepmac_ablate.data.evaluation_data")
class EvaluationData:
    """Images to evaluate on, each exactly once.

    Attributes:
        prefix: Path of the dataset without extension, such as "data/coco/val".
        batch_size: Images per step over all replicas; the last batch may be smaller.
    """

    def __init__(self, prefix: str = gin.REQUIRED, batch_size: Images = 8) -> None:
        self.prefix = prefix
        self.batch_size = batch_size
        self._decoder = tf_example_decoder.TfExampleDecoder()

    @functools.cached_property
    def info(self) -> DatasetInfo:
        """Summary of the dataset, from its info file.

        Raises:
            UserError: If there is no complete dataset at `prefix`.
        """
        return DatasetInfo.load(self.prefix)

    def dataset(
        self, image_size: Sequence[int], image_ids: Collection[int] | None = None
    ) -> tf.data.Dataset:
        """Return a finite dataset of dictionaries.

        Args:
            image_size: Height and width of the images in a batch, in pixels.
            image_ids: The images to return; None for all. Others are read, but not decoded.

        Returns:
            `images` [b, h, w, 3] float32, normalised; `image_info` [b, 4, 2] with rows [original
            size, `image_size`, scale, offset] as (y, x); `image_ids` [b] int64.
        """
        def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
            example = self._decoder.decode(record)
            image, info = model_input.prepare_image(example["image"], image_size)
            return {
                "images": image,
                "image_info": info,
                "image_ids": tf.strings.to_number(example["source_id"], tf.int64),
            }

        dataset = tf.data.TFRecordDataset(self._paths())
        if image_ids is not None:
            wanted = tf.constant([str(image_id) for image_id in image_ids])

            def is_wanted(record: tf.Tensor) -> tf.Tensor:
                parsed = tf.io.parse_single_example(
                    record, {"image/source_id": tf.io.FixedLenFeature([], tf.string)})
                return tf.reduce_any(parsed["image/source_id"] == wanted)

            dataset = dataset.filter(disabled(is_wanted))
        dataset = dataset.map(disabled(parse), num_parallel_calls=tf.data.AUTOTUNE)
        return dataset.batch(self.batch_size).prefetch(2)

    def images(self, image_ids: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (image id, [h, w, 3] uint8 pixels) of the given images, as in the records."""
        wanted = {str(image_id).encode() for image_id in image_ids}
        for record in tf.data.TFRecordDataset(self._paths()).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            if features["image/source_id"].bytes_list.value[0] in wanted:
                decoded = self._decoder.decode(tf.constant(record))
                yield int(decoded["source_id"].numpy()), decoded["image"].numpy()

    def _paths(self) -> list[str]:
        return [str(path) for path in self.info.record_files(self.prefix)]


def draw_images(image_ids: Iterable[int], number: int) -> frozenset[int]:
    """Draw images at random, the same ones for every trial and wherever the records are.

    Those of a smaller number are among those of a larger one.

    Args:
        image_ids: The ids of all images.
        number: The number of images to draw; all if there are fewer.
    """
    def rank(image_id: int) -> bytes:
        return hashlib.sha256(str(image_id).encode()).digest()

    return frozenset(sorted(image_ids, key=rank)[:number])

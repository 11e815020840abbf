"""Input pipeline of training; order and augmentation are functions of (seed, position).

Position p is the p-th image of an endless stream of epochs, each shuffled by (seed, epoch); batch s
starts at position s * batch_size. So a resumed run sees exactly the images, flips and scales that
the interrupted run would have seen, on any number of hosts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import gin
import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder
from official.vision.ops import box_ops, preprocess_ops

from deepmac_ablate.bindings.ranges import Factor, Images, Range
from deepmac_ablate.data import model_input
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.autograph import disabled, needs_autograph

Label = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], dict[str, Any]]

_PREFETCHED_BATCHES = 4
_DATASET = re.compile(r".+@[0-9a-f]{12}")


@gin.register(module="deepmac_ablate.data.training_data")
class TrainingData:
    """Batches to train on.

    Attributes:
        prefix: Path of the dataset without extension.
        batch_size: Images per step over all replicas.
        max_instances: Annotated instances per image; of more, a random choice is used at a time.
        mask_crop_size: Side in pixels of the grid on which a mask is sampled inside its box.
        declared: Declared identity of the dataset as `name@fingerprint`, or None.
    """

    def __init__(
        self,
        prefix: str = gin.REQUIRED,
        batch_size: Images = gin.REQUIRED,
        max_instances: Annotated[int, Range(1, 2000)] = 100,
        mask_crop_size: Annotated[int, Range(2, 2048)] = 112,
        flip: bool = True,
        scale_min: Factor = 0.8,
        scale_max: Factor = 1.25,
        shuffle_buffer: Annotated[int, Range(1, 10_000_000)] = 1024,
        dataset: str | None = None,
    ) -> None:
        """Store the settings; the dataset is opened when it is first needed.

        Args:
            prefix: Path of the dataset without extension, such as "data/coco/train".
            batch_size: Images per step over all replicas.
            max_instances: Annotated instances per image. Of more, a random choice is used each
                time; Model Garden keeps the first ones in the order of the file.
            mask_crop_size: Side in pixels of the grid on which a mask is sampled inside its box.
            flip: Whether images are mirrored horizontally with probability 1/2.
            scale_min: Lower end of the random scale: an image is resized to fit
                `image_size` times the scale, then cropped or padded.
            scale_max: Upper end of the random scale.
            shuffle_buffer: Number of records that are shuffled together in memory; the order of
                files is shuffled too.
            dataset: Declared identity of the records as `name@fingerprint`, which makes a trial
                independent of their path. None: the same records at another `prefix` are another
                trial.

        Raises:
            UserError: If the scales do not ascend, or the identity is not one.
        """
        if scale_min > scale_max:
            raise UserError(
                f"TrainingData.scale_min = {scale_min} must be at most scale_max = {scale_max}.")
        if dataset is not None and not _DATASET.fullmatch(dataset):
            raise UserError(
                f"TrainingData.dataset = {dataset!r} is not of the form name@fingerprint; bind "
                "what the conversion printed, such as 'train@0123456789ab', or None.")
        self.batch_size = batch_size
        self.max_instances = max_instances
        self.prefix = prefix
        self.mask_crop_size = mask_crop_size
        self.declared = dataset
        self._flip = flip
        self._scales = (scale_min, scale_max)
        self._shuffle_buffer = shuffle_buffer
        self._decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)

    @functools.cached_property
    def info(self) -> DatasetInfo:
        """Summary of the dataset, from its info file.

        Raises:
            UserError: If there is no complete dataset.
        """
        return DatasetInfo.load(self.prefix)

    def dataset(
        self,
        image_size: Sequence[int],
        label: Label,
        seen_ids: frozenset[int],
        seed: int,
        first_step: int = 0,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        """Return an endless dataset of (images, labels).

        Args:
            image_size: Height and width of the images in a batch, in pixels.
            label: The detector's function of boxes [n, 4], classes [n] and a seed that returns
                further labels of an image; see `Detector.label`.
            seen_ids: Ids of the classes whose masks training may see; other masks are replaced by
                zeros here.
            seed: Seed of order and augmentation, which depend on it and the position alone.
            first_step: The step whose batch comes first.
            input_context: The part of each batch to return; None for all of it.

        Returns:
            Images [b, h, w, 3] float32, normalised; labels `image_info` [b, 4, 2], `gt_boxes`
            [b, m, 4] and `gt_classes` [b, m] padded with -1, `gt_masks` [b, m, s, s] in [0, 1],
            `gt_has_mask` [b, m] bool, true for instances of seen classes whose mask is annotated;
            `num_dropped` [b] int32, instances beyond `max_instances`; those of `label`, of all
            instances; `seed` [b, 2] int32, the seed of all draws for an image in a step: `seed`
            and its position in the endless stream.

        Raises:
            UserError: If the batch cannot be divided equally among the replicas.
        """
        context = input_context or tf.distribute.InputContext()
        replicas = context.num_replicas_in_sync
        if self.batch_size % replicas:
            raise UserError(
                f"TrainingData.batch_size = {self.batch_size} must be divisible by the "
                f"number of replicas, {replicas}.")
        seen = tf.constant(sorted(self.info.labels[i] for i in seen_ids), tf.int64)

        def parse(position: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
            example = self._decoder.decode(record)
            image, labels = self._parse(
                example, image_size, label, seen, tf.stack([seed, position]))
            return image, {**labels, "seed": tf.stack([seed, tf.cast(position, tf.int32)])}

        start = first_step * self.batch_size
        dataset = self._records(seed, start).enumerate(start)
        dataset = dataset.shard(context.num_input_pipelines, context.input_pipeline_id)
        dataset = dataset.map(
            parse if needs_autograph(self, getattr(label, "__self__", label)) else disabled(parse),
            num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        dataset = dataset.batch(self.batch_size // replicas, drop_remainder=True)
        # Without this, a strategy expects a smaller last batch, and passes the step batches whose
        # size is known only at run time.
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        # Enough to keep a device busy; a longer queue would be filled in vain at a trial's end.
        return dataset.prefetch(_PREFETCHED_BATCHES)

    def _records(self, seed: int, start: int) -> tf.data.Dataset:
        """Return serialised examples from position `start`; skipped ones are read, not decoded."""
        number = self.info.num_images
        paths = [str(path) for path in self.info.record_files(self.prefix)]
        first_epoch, offset = divmod(start, number)

        def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
            order = tf.stack([tf.constant(seed, tf.int64), epoch])
            shuffle = tf.random.experimental.stateless_shuffle
            fold_in = tf.random.experimental.stateless_fold_in
            files = tf.data.Dataset.from_tensor_slices(shuffle(tf.constant(paths), order))
            records = files.interleave(
                tf.data.TFRecordDataset, cycle_length=16, block_length=1,
                num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            # Whole windows are shuffled: `Dataset.shuffle` depends on TensorFlow's global seed too.
            windows = records.batch(min(self._shuffle_buffer, number)).enumerate()
            records = windows.map(
                disabled(lambda i, window: shuffle(window, fold_in(order, i)))).unbatch()
            return records.skip(tf.where(epoch == first_epoch, tf.constant(offset, tf.int64), 0))

        epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
        return epochs.flat_map(disabled(epoch_records))

    def _parse(
        self,
        example: dict[str, tf.Tensor],
        image_size: Sequence[int],
        label: Label,
        seen: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, Any]]:
        """Augment one image and label its objects."""
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
        instances = tf.where(~example["groundtruth_is_crowd"])[:, 0]
        boxes, classes, encoded_masks = (
            tf.gather(example[f"groundtruth_{key}"], instances)
            for key in ("boxes", "classes", "instance_masks_png"))

        mirrored = tf.constant(False)
        if self._flip:
            mirrored = tf.random.stateless_uniform([], seeds[0]) < 0.5
            boxes = tf.where(mirrored, preprocess_ops.horizontal_flip_boxes(boxes), boxes)
        image = model_input.normalize_image(
            model_input.mirror_image(example["image"], mirrored))
        image_shape = tf.shape(image)[:2]
        image, image_info = self._resize_and_crop(image, image_size, seeds[1], seeds[2])
        scale, offset = image_info[2], image_info[3]
        boxes = preprocess_ops.resize_and_crop_boxes(
            box_ops.denormalize_boxes(boxes, image_shape), scale, image_info[1], offset)

        left = box_ops.get_non_empty_box_indices(boxes)
        boxes, classes, encoded_masks = (
            tf.gather(x, left) for x in (boxes, classes, encoded_masks))
        labels = label(boxes, classes, seeds[3])
        number = tf.size(classes)
        chosen = model_input.choose_instances(number, self.max_instances, seeds[3])
        boxes, classes, encoded_masks = (
            tf.gather(x, chosen) for x in (boxes, classes, encoded_masks))
        in_original = (boxes + tf.tile(offset, [2])) / tf.tile(scale, [2])
        relative = box_ops.normalize_boxes(in_original, image_shape)
        masks, has_mask = self._seen_masks(encoded_masks, relative, classes, seen, mirrored)

        def padded(x: tf.Tensor, value: float) -> tf.Tensor:
            x = preprocess_ops.clip_or_pad_to_fixed_size(x, self.max_instances, value)
            return tf.ensure_shape(x, [self.max_instances, *x.shape[1:]])

        return image, {
            "image_info": image_info,
            **labels,
            "gt_boxes": padded(boxes, -1),
            "gt_classes": padded(classes, -1),
            "gt_masks": masks,
            "gt_has_mask": has_mask,
            "num_dropped": number - tf.size(classes),
        }

    def _seen_masks(
        self, encoded: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, seen: tf.Tensor,
        mirrored: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Decode the masks of seen classes, and only these, and crop each to its box.

        Args:
            encoded: A PNG for each instance, [n] strings.
            boxes: Boxes, [n, 4] float32, relative to the original image, mirrored if it is.
            classes: Classes, [n].
            seen: Classes whose masks training may see.
            mirrored: Whether the image is mirrored.

        Returns:
            Masks, [max_instances, mask_crop_size, mask_crop_size] float32, zero where training may
            see none, and [max_instances] bool, true where it may.
        """
        size = self.mask_crop_size
        index = tf.where(tf.reduce_any(classes[:, tf.newaxis] == seen, axis=1))

        def decode(item: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            png, box = item
            mask = model_input.mirror_image(tf.io.decode_png(png, channels=1)[..., 0], mirrored)
            annotated = tf.cast(model_input.has_object(mask), tf.int32)
            return model_input.crop_mask(mask, box, size), annotated

        masks, annotated = tf.map_fn(
            decode, (tf.gather_nd(encoded, index), tf.gather_nd(boxes, index)),
            fn_output_signature=(
                tf.TensorSpec([size, size], tf.float32), tf.TensorSpec([], tf.int32)))
        number = self.max_instances
        return (tf.scatter_nd(index, masks, [number, size, size]),
                tf.scatter_nd(index, annotated, [number]) > 0)

    def _resize_and_crop(
        self, image: tf.Tensor, image_size: Sequence[int], scale_seed: tf.Tensor,
        offset_seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Resize an image to a random scale, then crop or pad it to `image_size`.

        Returns:
            The image, and its info with rows [original size, wanted size, scale, offset] as (y, x).
        """
        wanted = tf.constant(image_size, tf.float32)
        original = tf.cast(tf.shape(image)[:2], tf.float32)
        jitter = tf.random.stateless_uniform([], scale_seed, *self._scales)
        scaled = model_input.fit_size(original, tf.round(jitter * wanted))
        room = tf.maximum(scaled - wanted, 0.0)
        offset = tf.floor(room * tf.random.stateless_uniform([2], offset_seed))
        image = tf.image.resize(image, tf.cast(scaled, tf.int32))
        top, left = tf.unstack(tf.cast(offset, tf.int32))
        height, width = tf.unstack(tf.minimum(tf.shape(image)[:2] - [top, left], image_size))
        # Not image[top:bottom, left:right], whose kernel takes ten times as long.
        image = tf.slice(image, [top, left, 0], [height, width, 3])
        image = tf.image.pad_to_bounding_box(image, 0, 0, *image_size)
        image = tf.ensure_shape(image, [*image_size, 3])
        return image, tf.stack([original, wanted, scaled / original, offset])

"""Records become batches: upstream's labels, in an order and augmentation of (seed, position)."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from official.vision.dataloaders import maskrcnn_input
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder
from official.vision.ops import preprocess_ops
from PIL import Image

from deepmac_ablate import class_splits
from deepmac_ablate.data import convert_coco, dataset_info
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.anchors import Anchors
from tests.helpers import coco_tiny
from tests.helpers.data_fixtures import document, numbered, square, write
from tests.helpers.tiny_model import anchor_labels

SIZE = (64, 64)
ANCHORS = Anchors(min_level=3, max_level=5, size=3.0, samples_per_image=16)
NUM_IMAGES = 7
PLAIN = {"flip": False, "scale_min": 1.0, "scale_max": 1.0}


class Example(NamedTuple):
    """One image of a batch with its labels, as numpy arrays."""

    image: np.ndarray
    labels: dict[str, Any]


def _converted(folder, content, num_shards=2):
    images, annotations = write(folder, content)
    convert_coco.convert_dataset(images, annotations, folder / "train", num_shards=num_shards)
    return folder / "train"


def _batches(
    prefix, number, seed=0, seen=(), first_step=0, context=None, size=SIZE, anchors=ANCHORS, **own
):
    data = TrainingData(str(prefix), **{"batch_size": 2, **own})
    stream = data.dataset(
        size, anchor_labels(size, anchors), frozenset(seen), seed, first_step, context)
    return list(stream.take(number).as_numpy_iterator())


def _examples(prefix, number, **options):
    return [
        Example(images[0], tf.nest.map_structure(lambda values: values[0], labels))
        for images, labels in _batches(prefix, number, batch_size=1, **options)
    ]


def _assert_equal(expected, actual):
    tf.nest.assert_same_structure(expected, actual)
    tf.nest.map_structure(np.testing.assert_array_equal, expected, actual)


def _differ(one, other):
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return any(not np.array_equal(*pair) for pair in pairs)


def _order(batches):
    """Return the numbers of images: in a `numbered` dataset, the class of the object."""
    return np.concatenate([labels["gt_classes"][:, 0] for _, labels in batches]).tolist()


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Seven images in three shards."""
    return _converted(tmp_path_factory.mktemp("numbered"), numbered(NUM_IMAGES), num_shards=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Eight images of COCO with crowds, portraits, landscapes and up to 30 objects."""
    content = coco_tiny.instances()
    crowded = {a["image_id"] for a in content["annotations"] if a["iscrowd"]}
    chosen = sorted(crowded)[:3]
    chosen += [image["id"] for image in content["images"] if image["id"] not in crowded][:5]
    folder = tmp_path_factory.mktemp("tiny")
    for table, key in (("images", "id"), ("annotations", "image_id")):
        content[table] = [entry for entry in content[table] if entry[key] in chosen]
    (folder / "instances.json").write_text(json.dumps(content))
    convert_coco.convert_dataset(
        coco_tiny.root() / "images", folder / "instances.json", folder / "few")
    return folder / "few"


@pytest.mark.slow
def test_labels_equal_upstreams(tiny):
    """Image, boxes, classes, masks of seen classes and all anchors, as Model Garden's parser."""
    size, anchors = (128, 192), Anchors(samples_per_image=10**6)
    options = {"max_instances": 50, **PLAIN, "size": size, "anchors": anchors}
    ours = _examples(tiny, 8, seen=class_splits.VOC, **options)
    parser = maskrcnn_input.Parser(
        size, 2, 6, 1, [0.5, 1.0, 2.0], 8.0, rpn_batch_size_per_im=10**6, max_num_instances=50,
        include_mask=True, mask_crop_size=112)
    decoder = TfExampleDecoder(include_mask=True)
    records = tf.data.TFRecordDataset(str(dataset_info.shard_path(tiny, 0, 1)))
    theirs = [
        Example(*pair)
        for pair in records.map(decoder.decode).map(parser._parse_train_data).as_numpy_iterator()
    ]
    matched, num_hidden = set(), 0
    for mine in ours:
        distances = [np.abs(mine.image - other.image).max() for other in theirs]
        match = int(np.argmin(distances))
        matched.add(match)
        assert distances[match] < 1e-5
        expected = theirs[match].labels
        for key in ("image_info", "gt_boxes", "gt_classes"):
            np.testing.assert_allclose(expected[key], mine.labels[key], atol=1e-5)
        for key in ("rpn_score_targets", "rpn_box_targets"):
            assert set(expected[key]) == set(mine.labels[key])
            for level, targets in expected[key].items():
                np.testing.assert_allclose(targets, mine.labels[key][level], atol=1e-5)
        classes = mine.labels["gt_classes"]
        seen = np.isin(classes, list(class_splits.VOC))
        np.testing.assert_array_equal(seen, mine.labels["gt_has_mask"])
        masks = np.where(seen[:, np.newaxis, np.newaxis], expected["gt_masks"], 0.0)
        np.testing.assert_allclose(masks, mine.labels["gt_masks"], atol=1e-5)
        num_hidden += np.count_nonzero((classes > 0) & ~seen)
        assert 0 == mine.labels["num_dropped"]
    assert len(theirs) == len(matched) == 8
    assert num_hidden


@pytest.mark.slow
def test_crops_show_what_image_info_says(tiny):
    """At a scale of 1.5 a window is cut out; image, boxes and masks are those of the window."""
    options = {"flip": False, "scale_min": 1.5, "scale_max": 1.5}
    decoder = TfExampleDecoder(include_mask=True)
    records = list(
        tf.data.TFRecordDataset(str(dataset_info.shard_path(tiny, 0, 1))).map(decoder.decode))
    offsets = []
    for image, labels in _examples(tiny, 8, seen=class_splits.COCO, **options):
        original, wanted, scale, offset = labels["image_info"]
        (record,) = (r for r in records if _shows(r, original, scale, offset, image))
        np.testing.assert_array_equal(SIZE, wanted)
        assert pytest.approx(1.5 * 64, abs=1) == max(original * scale)
        offsets.append(offset)

        keep = ~record["groundtruth_is_crowd"].numpy()
        boxes = record["groundtruth_boxes"].numpy()[keep] * np.tile(original, 2)
        boxes = np.clip(boxes * np.tile(scale, 2) - np.tile(offset, 2), 0, 64)
        left = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        number = np.count_nonzero(left)
        np.testing.assert_allclose(boxes[left], labels["gt_boxes"][:number], atol=1e-3)
        assert (labels["gt_boxes"][number:] == -1).all()
        window = (labels["gt_boxes"][:number] + np.tile(offset, 2)) / np.tile(scale * original, 2)
        masks = tf.image.crop_and_resize(
            record["groundtruth_instance_masks"].numpy()[keep][left][..., np.newaxis],
            window, np.arange(number), [112, 112])
        np.testing.assert_allclose(masks[..., 0], labels["gt_masks"][:number], atol=1e-3)
    assert len(np.unique(offsets)) > 5


def _shows(record, original, scale, offset, image):
    """Return whether `image` is the window of a record's image that its info describes."""
    if tuple(record["image"].shape[:2]) != tuple(original.astype(int)):
        return False
    scaled = tf.image.resize(
        preprocess_ops.normalize_image(record["image"]), np.round(original * scale).astype(int))
    top, left = offset.astype(int)
    window = scaled[top : top + 64, left : left + 64].numpy()
    empty = image.copy()
    empty[: window.shape[0], : window.shape[1]] -= window
    return bool(np.abs(empty).max() < 1e-4)


@pytest.mark.slow
def test_half_of_the_images_are_mirrored_with_all_they_hold(prefix):
    """With flips an example is what it is without them, or its mirror image."""
    options = {"seen": range(1, NUM_IMAGES + 1), "scale_max": 1.0}
    plain = _examples(prefix, 40, flip=False, **options)
    flipped = _examples(prefix, 40, **options)
    mirrored = 0
    for (image, labels), (other, other_labels) in zip(plain, flipped, strict=True):
        info = labels["image_info"]
        np.testing.assert_array_equal(info, other_labels["image_info"])
        if np.array_equal(image, other):
            _assert_equal(labels, other_labels)
            continue
        mirrored += 1
        width = round(info[0, 1] * info[2, 1])
        np.testing.assert_allclose(image[:, :width][:, ::-1], other[:, :width], atol=1e-4)
        assert not other[:, width:].any()
        top, left, bottom, right = labels["gt_boxes"][0]
        expected = [top, width - right, bottom, width - left]
        np.testing.assert_allclose(expected, other_labels["gt_boxes"][0], atol=1e-4)
        np.testing.assert_array_equal(labels["gt_classes"], other_labels["gt_classes"])
        np.testing.assert_array_equal(labels["gt_has_mask"], other_labels["gt_has_mask"])
        np.testing.assert_allclose(
            labels["gt_masks"][..., ::-1], other_labels["gt_masks"], atol=1e-4)
    assert 8 < mirrored < 32


@pytest.mark.slow
def test_scales_fill_their_range(prefix):
    """Sizes are drawn between `scale_min` and `scale_max` times the wanted one."""
    examples = _examples(prefix, 40, scale_min=0.5, scale_max=2.0)
    infos = np.array([example.labels["image_info"] for example in examples])
    longer = (infos[:, 0] * infos[:, 2]).max(axis=1)

    assert 32 <= longer.min() < 45
    assert 110 < longer.max() <= 128


@pytest.mark.slow
@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1, 1)])
def test_a_strip_keeps_a_pixel_and_its_object(tmp_path, size):
    """A side that would be resized to nothing is one pixel, and boxes map back by `image_info`."""
    width, height = size
    content = document(1)
    content["images"][0] |= {"width": width, "height": height}
    box = [width // 3, height // 3, max(width // 3, 1), max(height // 3, 1)]
    left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    content["annotations"] = [square(
        1, 1, 0, 0, 1, bbox=box,
        segmentation=[[left, top, right, top, right, bottom, left, bottom]])]
    images, annotations = write(tmp_path, content)
    Image.new("RGB", size, (200, 10, 10)).save(images / "1.png")
    convert_coco.convert_dataset(images, annotations, tmp_path / "train")

    for image, labels in _examples(tmp_path / "train", 4, seen={3}, flip=False):
        info = labels["image_info"]
        shown = np.round(info[0] * info[2])
        assert shown.min() >= 1
        assert [height, width] == info[0].tolist()
        corners = (labels["gt_boxes"][0] + np.tile(info[3], 2)) / np.tile(info[2], 2)
        visible = np.array([top, left, bottom, right])
        assert (np.abs(corners - visible)[[0, 2]] < 1).all()
        assert labels["gt_classes"][0] == 3
        assert labels["gt_has_mask"][0]
        assert np.isfinite(labels["gt_masks"]).all()
        assert np.isfinite(image).all()
    batch = next(EvaluationData(str(tmp_path / "train")).dataset(SIZE).as_numpy_iterator())
    info = batch["image_info"][0]
    assert 1 <= np.round(info[0] * info[2]).min()
    assert max(SIZE) == np.round(info[0] * info[2]).max()
    # Normalised red is above 0 only where the image is, not where it is padded.
    assert tuple(np.round(info[0] * info[2]).astype(int)) == tuple(
        np.ptp(np.argwhere(batch["images"][0, ..., 0] != 0), axis=0) + 1)


@pytest.mark.slow
def test_masks_of_novel_classes_change_nothing(tmp_path):
    """A stream is the same, tensor by tensor, whether novel classes have masks or not."""
    content = document(4)
    for i, annotation in enumerate(content["annotations"]):
        others = [square(90 + 2 * i, annotation["image_id"], 20, 12, 9, category_id=7)]
        others.append(square(91 + 2 * i, annotation["image_id"], 2, 20, 8, category_id=7))
        content["annotations"] = [*content["annotations"], *others]
    with_masks = _batches(_converted(tmp_path / "a", content), 6, seen=[3])
    for annotation in content["annotations"]:
        if annotation["category_id"] == 7:
            annotation["segmentation"] = []
    without = _batches(_converted(tmp_path / "b", content), 6, seen=[3])

    _assert_equal(with_masks, without)
    labels = [labels for _, labels in with_masks]
    classes, has_mask, masks = (
        np.concatenate([of_batch[key] for of_batch in labels])
        for key in ("gt_classes", "gt_has_mask", "gt_masks"))
    np.testing.assert_array_equal(classes == 3, has_mask)
    assert np.count_nonzero(classes == 7) > np.count_nonzero(has_mask) > 0
    np.testing.assert_array_equal(masks.any(axis=(-2, -1)), has_mask)


@pytest.mark.slow
def test_a_box_without_mask_trains_the_detector_only(tmp_path):
    """Of a seen class or not: its box and anchors are there, its mask does not count."""
    content = document(1)
    content["annotations"].append(square(12, 1, 20, 12, 9))
    (whole,) = _examples(_converted(tmp_path / "a", content, 1), 1, seen=[3])
    del content["annotations"][0]["segmentation"]
    (bare,) = _examples(_converted(tmp_path / "b", content, 1), 1, seen=[3])

    assert [3, 3] == bare.labels["gt_classes"][:2].tolist()
    assert [True, True] == whole.labels["gt_has_mask"][:2].tolist()
    assert [False, True] == bare.labels["gt_has_mask"][:2].tolist()
    assert not bare.labels["gt_masks"][0].any()
    np.testing.assert_array_equal(whole.labels["gt_masks"][1], bare.labels["gt_masks"][1])
    for key in ("gt_boxes", "rpn_score_targets", "rpn_box_targets"):
        _assert_equal(whole.labels[key], bare.labels[key])


@pytest.mark.slow
def test_crowds_and_padding_are_no_objects(tmp_path):
    """Slots without an object hold -1 and no mask, those of an image without any, too."""
    content = document(2)
    content["annotations"] = [
        square(1, 1, 2, 2, 20, iscrowd=1),
        square(2, 1, 20, 12, 9),
        square(3, 2, 2, 2, 20, iscrowd=1),
    ]
    found = _examples(_converted(tmp_path, content), 2, seen=[3], max_instances=4, **PLAIN)
    found.sort(key=lambda example: example.labels["gt_classes"].max())

    for example, number in zip(found, (0, 1), strict=True):
        labels = example.labels
        assert [3] * number + [-1] * (4 - number) == labels["gt_classes"].tolist()
        assert [True] * number + [False] * (4 - number) == labels["gt_has_mask"].tolist()
        assert (4, 4) == labels["gt_boxes"].shape
        assert (labels["gt_boxes"][number:] == -1).all()
        assert (labels["gt_masks"][number:] == 0).all()
        positives = sum((scores == 1).sum() for scores in labels["rpn_score_targets"].values())
        assert bool(number) == bool(positives)
    np.testing.assert_allclose(
        np.array([12, 20, 21, 29]) * 1.6, found[1].labels["gt_boxes"][0], atol=1e-4)


@pytest.mark.slow
def test_of_too_many_objects_all_get_their_turn(tmp_path):
    """A random choice by seed and position, in the annotated order; anchors see all of them."""
    content = document(1)
    content["annotations"] = [
        square(i, 1, 3 * i, 2 + i, 4 + i, category_id=i) for i in range(1, 8)]
    content["categories"] = [{"id": i, "name": f"square {i}"} for i in range(1, 8)]
    prefix = _converted(tmp_path, content, 1)
    whole, few, again = (
        _examples(prefix, 20, seen=range(1, 8, 2), max_instances=most, **PLAIN)
        for most in (9, 3, 3))
    for expected, actual, same in zip(whole, few, again, strict=True):
        _assert_equal(actual, same)
        assert (0, 4) == (expected.labels["num_dropped"], actual.labels["num_dropped"])
        classes = actual.labels["gt_classes"]
        assert sorted(set(classes.tolist())) == classes.tolist()
        for key in ("gt_boxes", "gt_has_mask", "gt_masks"):
            np.testing.assert_array_equal(expected.labels[key][classes - 1], actual.labels[key])
        for key in ("image_info", "rpn_score_targets", "rpn_box_targets"):
            _assert_equal(expected.labels[key], actual.labels[key])
    counts = np.bincount(np.concatenate([e.labels["gt_classes"] for e in few]), minlength=8)[1:]
    assert 60 == counts.sum()
    assert counts.min() >= 2


@pytest.mark.slow
def test_a_resumed_stream_is_the_tail_of_the_whole(prefix):
    """From within the first epoch across its end, within the second, and from the third's start."""
    options = {"seed": 5, "seen": [3], "shuffle_buffer": 3}
    whole = _batches(prefix, 9, **options)
    for first_step in (2, 4, 7):
        tail = _batches(prefix, 9 - first_step, first_step=first_step, **options)
        _assert_equal(whole[first_step:], tail)


@pytest.mark.slow
def test_batches_say_where_their_images_are(prefix):
    """In the stream, which strategies know to be endless: no batch is a smaller last one."""
    batches = _batches(prefix, 3, batch_size=2, first_step=4)
    seeds = [labels["seed"].tolist() for _, labels in batches]
    assert [[[0, p], [0, p + 1]] for p in (8, 10, 12)] == seeds
    dataset = TrainingData(str(prefix), batch_size=2).dataset(
        SIZE, anchor_labels(SIZE, ANCHORS), frozenset(), seed=0)
    assert tf.data.INFINITE_CARDINALITY == int(dataset.cardinality())


@pytest.mark.slow
@pytest.mark.parametrize("shuffle_buffer", [1, 3, 1024])
def test_an_epoch_holds_every_image_once_in_an_order_of_its_own(prefix, shuffle_buffer):
    """However few records are held in memory."""
    order = _order(_batches(prefix, 14, batch_size=2, shuffle_buffer=shuffle_buffer))
    epochs = [order[start : start + NUM_IMAGES] for start in range(0, 28, NUM_IMAGES)]

    assert [list(range(1, NUM_IMAGES + 1))] * 4 == [sorted(epoch) for epoch in epochs]
    assert all(one != other for one, other in itertools.pairwise(epochs))


@pytest.mark.slow
def test_the_seed_and_nothing_else_decides_order_and_augmentation(prefix):
    """TensorFlow's global seed changes nothing; another seed changes both."""
    tf.random.set_seed(1)
    first = _batches(prefix, 7, seed=1)
    tf.random.set_seed(2)
    _assert_equal(first, _batches(prefix, 7, seed=1))

    other = _batches(prefix, 7, seed=2)
    assert _order(first) != _order(other)
    assert _infos(first) != _infos(other)
    assert len(_infos(first)) > 7


def _infos(batches):
    """The scales and windows of all images, which are of one size, in any order."""
    return {tuple(info.ravel()) for _, labels in batches for info in labels["image_info"]}


@pytest.mark.slow
def test_hosts_share_the_batches_of_one(prefix):
    """Two hosts with two replicas each: together they see what one host does, from any step."""
    whole = _batches(prefix, 5, batch_size=4, first_step=3)
    parts = []
    for i in range(2):
        context = tf.distribute.InputContext(2, i, 4)
        parts.append(_batches(prefix, 10, batch_size=4, first_step=3, context=context))

    for step, batch in enumerate(whole):
        # Positions alternate between the hosts.
        shares = [parts[i][2 * step + replica] for replica in range(2) for i in range(2)]
        assert [1] * 4 == [len(images) for images, _ in shares]
        joined = tf.nest.map_structure(lambda *pieces: np.concatenate(pieces), *shares)
        _assert_equal(batch, joined)


def test_a_batch_that_replicas_cannot_share_is_refused(prefix):
    """Before anything is read."""
    context = tf.distribute.InputContext(1, 0, 4)
    with pytest.raises(UserError, match=r"TrainingData.batch_size = 6 must be divisible .*, 4\."):
        _batches(prefix, 1, batch_size=6, context=context)


def test_scales_that_do_not_ascend_are_refused(prefix):
    """The smallest scale is at most the largest."""
    with pytest.raises(UserError, match=r"scale_min = 1\.5 must be at most scale_max = 1\.25\."):
        TrainingData(str(prefix), batch_size=2, scale_min=1.5)


@pytest.mark.parametrize(
    "data", [TrainingData("nowhere/x", batch_size=2), EvaluationData("nowhere/x")])
def test_data_that_is_not_there_is_missed_when_it_is_asked_for(data):
    """Not before: a trained model can be used where its records are not."""
    with pytest.raises(UserError, match="There is no dataset nowhere/x"):
        _ = data.info


@pytest.mark.slow
def test_evaluation_yields_every_image_once(prefix):
    """Resized to fit and padded, with what is needed to go back; the last batch is smaller."""
    batches = list(EvaluationData(str(prefix), batch_size=3).dataset((64, 96)))
    assert [3, 3, 1] == [len(batch["image_ids"]) for batch in batches]
    ids = np.concatenate([batch["image_ids"] for batch in batches]).tolist()
    assert list(range(1, NUM_IMAGES + 1)) == sorted(ids)
    images = np.concatenate([batch["images"] for batch in batches])
    infos = np.concatenate([batch["image_info"] for batch in batches])
    for image_id, image, info in zip(ids, images, infos, strict=True):
        np.testing.assert_allclose([[30, 40], [64, 96], [64 / 30, 85 / 40], [0, 0]], info)
        pixels = np.asarray(Image.open(prefix.parent / f"images/{image_id}.png"))
        expected = tf.image.resize(preprocess_ops.normalize_image(pixels), (64, 85))
        np.testing.assert_allclose(expected, image[:, :85], atol=1e-5)
        assert not image[:, 85:].any()


@pytest.mark.slow
def test_evaluation_images_are_the_original_ones(prefix):
    """Pixel by pixel, of the images asked for and no other."""
    images = dict(EvaluationData(str(prefix)).images([2, 5]))

    assert {2, 5} == set(images)
    for image_id, pixels in images.items():
        original = Image.open(prefix.parent / f"images/{image_id}.png")
        np.testing.assert_array_equal(np.asarray(original), pixels)

"""Evaluation: every image once for any batch size, and masks pasted in the right place."""

from __future__ import annotations

import json
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from official.vision.ops import mask_ops
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate.data import convert_coco
from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.evaluation.metrics.further import ClassMetric, ObjectMetric
from deepmac_ablate.evaluation.predictor import Predictor
from deepmac_ablate.modeling import box_noise
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.session import prepare_session
from tests.helpers.data_fixtures import square

ONE_DEVICE = tf.distribute.OneDeviceStrategy("/cpu:0")
CATEGORIES = [{"id": 3, "name": "box"}, {"id": 7, "name": "leaf"}, {"id": 9, "name": "absent"}]
# (width, height); a model of 64 x 64 sees all of them at a scale without rounding.
SIZES = {1: (128, 96), 2: (64, 64), 3: (96, 128), 4: (32, 16), 5: (256, 256)}


# Masks of 14 x 14 cells are pasted into boxes of 12 x 12 whole pixels without rounding.
SIDE, CELLS = 12, 14


def annotations():
    """Two squares an image, of two classes."""
    return [
        annotation
        for image_id, (width, height) in SIZES.items()
        for annotation in (
            square(10 * image_id, image_id, 2, 2, SIDE),
            square(10 * image_id + 1, image_id, width - 2 - SIDE, height - 2 - SIDE, SIDE,
                   category_id=7))
    ]


def write_data(folder: Path, annotations: list[dict]) -> str:
    """Write images whose grey value tells their id; returns the prefix of the records."""
    images = folder / "images"
    images.mkdir(parents=True)
    for image_id, (width, height) in SIZES.items():
        Image.new("RGB", (width, height), (20 * image_id,) * 3).save(images / f"{image_id}.png")
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": w, "height": h}
                   for i, (w, h) in SIZES.items()],
        "annotations": annotations,
        "categories": CATEGORIES,
    }
    (folder / "instances.json").write_text(json.dumps(document))
    convert_coco.convert_dataset(images, folder / "instances.json", folder / "val")
    return str(folder / "val")


class Knowing:
    """Stands in for a trained model: it knows the annotations, and segments nothing else.

    It finds every annotated object, and a box is full where it is an annotated one of that image
    and class, and empty otherwise.
    """

    image_size = (64, 64)
    mask_head = types.SimpleNamespace(mask_size=8)
    detector = types.SimpleNamespace(finds_objects=True)

    def __init__(self, annotations: list[dict]) -> None:
        self.known = {
            image_id: [a for a in annotations
                       if a["image_id"] == image_id and not a.get("iscrowd", 0)]
            for image_id in SIZES}
        self.slots = max(map(len, self.known.values()))

    def features(self, images):
        """The ids of the images."""
        grey = (images[:, 0, 0, 0] * 0.229 + 0.485) * 255.0
        return tf.cast(tf.round(grey / 20.0), tf.int64)

    def boxes(self, image_id: int) -> np.ndarray:
        """[n, 4] as ymin, xmin, ymax, xmax in pixels of the resized image."""
        scale = 64 / max(SIZES[image_id])
        return np.array(
            [[y * scale, x * scale, (y + h) * scale, (x + w) * scale]
             for x, y, w, h in (a["bbox"] for a in self.known[image_id])]).reshape(-1, 4)

    def detect(self, features, image_shape):
        """Stand in for `MaskRCNN.detect`."""
        def find(ids):
            boxes = np.zeros((len(ids), self.slots, 4), np.float32)
            classes = np.zeros((len(ids), self.slots), np.int32)
            numbers = np.zeros(len(ids), np.int32)
            for row, image_id in enumerate(ids):
                numbers[row] = n = len(self.known[image_id])
                boxes[row, :n] = self.boxes(image_id)
                classes[row, :n] = [a["category_id"] for a in self.known[image_id]]
            return boxes, classes, np.full(classes.shape, 0.9, np.float32), numbers

        found = tf.numpy_function(find, [features], [tf.float32, tf.int32, tf.float32, tf.int32])
        return dict(zip(("boxes", "classes", "scores", "num_detections"), found, strict=True))

    def predict_masks(self, features, boxes, image_index, classes):
        """Stand in for `MaskRCNN.predict_masks`."""
        def segment(ids, boxes, image_index, classes):
            masks = np.zeros((len(boxes), CELLS, CELLS), np.float32)
            for row, (box, index, class_id) in enumerate(
                    zip(boxes, image_index, classes, strict=True)):
                annotated = self.boxes(ids[index])
                near = np.abs(annotated - box).max(axis=1, initial=0.0) < 1e-3
                own = [a["category_id"] for a in self.known[ids[index]]]
                masks[row] = any(near & (np.array(own) == class_id))
            return masks

        return tf.ensure_shape(
            tf.numpy_function(segment, [features, boxes, image_index, classes], tf.float32),
            [None, CELLS, CELLS])


def evaluate(prefix, model, batch_size=2, seen=("box",), **options):
    evaluation = Evaluation(EvaluationData(prefix, batch_size), **options)
    return evaluation.evaluate(model, ONE_DEVICE, seen)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("squares"), annotations())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
def test_a_model_that_knows_all_is_perfect(prefix, batch_size):
    """AP and IoU are 1 for present classes at any batch size, and null for absent ones."""
    numbers = evaluate(prefix, Knowing(annotations()), batch_size)
    scalars = numbers.scalars
    for metric in ("detections/mask_ap", "detections/boundary_ap", "detections/box_ap",
                   "detections/mask_ar100", "detections/mask_ar100_agnostic",
                   "groundtruth/mask_ap", "groundtruth/boundary_ap", "groundtruth/iou",
                   "groundtruth/iou_instances", "groundtruth/boundary_iou"):
        for classes in ("seen", "novel", "all"):
            assert 1.0 == pytest.approx(scalars[f"{metric}/{classes}"], abs=1e-6), metric
    absent = numbers.per_class.query("name == 'absent'")
    assert [0, 0] == list(absent["instances"])
    assert absent[["mask_ap", "box_ap", "iou"]].isna().all(axis=None)
    for found in numbers.predictions.values():
        assert dict.fromkeys(SIZES, 2) == Counter(d["image_id"] for d in found)


class Covered(ObjectMetric):
    """Share of the object's pixels that the mask covers."""

    name = "covered"

    def score(self, predicted, annotated):
        """Compare two masks."""
        return (predicted & annotated).sum() / annotated.sum()


class Predicted(ClassMetric):
    """The number of predictions, in hundreds."""

    name = "predicted"

    def per_class(self, overlaps):
        """Count."""
        return pd.Series(1.0, range(len(overlaps.results))).groupby(
            overlaps.class_ids[overlaps.category]).sum() / 100


def test_further_metrics_stand_beside_the_built_in_ones(prefix):
    """Those of objects are computed in given boxes, and those of classes in all boxes."""
    model = Knowing(annotations())
    model.predict_masks = Knowing([a for a in annotations() if a["category_id"] == 7]).predict_masks
    numbers = evaluate(prefix, model, metrics=[Covered(), Predicted()])
    assert {"groundtruth/covered/seen": 0.0, "groundtruth/covered/novel": 1.0,
            "groundtruth/predicted/seen": 0.05, "detections/predicted/novel": 0.05} == {
        name: pytest.approx(numbers.scalars[name]) for name in (
            "groundtruth/covered/seen", "groundtruth/covered/novel",
            "groundtruth/predicted/seen", "detections/predicted/novel")}
    assert "detections/covered/seen" not in numbers.scalars
    assert [0.0, 1.0] * 5 == numbers.instances["covered"].tolist()
    assert {"covered", "predicted"} <= set(numbers.per_class)
    usual = evaluate(prefix, model)
    assert usual.scalars.items() <= numbers.scalars.items()


def test_missed_objects_count(prefix):
    """A detector blind to one class has AP 0 for it; in given boxes the class is segmented."""
    model = Knowing(annotations())
    model.detect = Knowing([a for a in annotations() if a["category_id"] == 3]).detect
    scalars = evaluate(prefix, model).scalars
    assert 1.0 == pytest.approx(scalars["detections/mask_ap/seen"], abs=1e-6)
    assert 0.0 == scalars["detections/mask_ap/novel"] == scalars["detections/box_ap/novel"]
    assert 0.5 == pytest.approx(scalars["detections/mask_ap/all"], abs=1e-6)
    assert 1.0 == pytest.approx(scalars["groundtruth/mask_ap/novel"], abs=1e-6)


def test_empty_masks_count_for_masks_only(prefix):
    """An empty mask in the right box is right for the box and wrong for the mask."""
    model = Knowing(annotations())
    model.predict_masks = Knowing([a for a in annotations() if a["category_id"] == 7]).predict_masks
    scalars = evaluate(prefix, model).scalars
    assert 1.0 == pytest.approx(scalars["detections/box_ap/seen"], abs=1e-6)
    assert 0.0 == scalars["detections/mask_ap/seen"] == scalars["groundtruth/iou/seen"]
    assert 1.0 == pytest.approx(scalars["groundtruth/iou/novel"], abs=1e-6)


@pytest.mark.parametrize("source", ["detections", "groundtruth"])
def test_one_box_source_can_be_left_out(prefix, source):
    """The numbers contain only the other box source."""
    numbers = evaluate(prefix, Knowing(annotations()), box_sources=(source,))
    assert {source} == set(numbers.predictions) == set(numbers.per_class["reading"])
    assert {source} == {name.partition("/")[0] for name in numbers.scalars}


def test_an_image_may_hold_more_than_one_pass_of_boxes(tmp_path):
    """All 150 annotations of an image are segmented, each in its own box."""
    many = [square(100 + i, 5, 2 + 16 * (i % 15), 2 + 16 * (i // 15), SIDE) for i in range(150)]
    numbers = evaluate(
        write_data(tmp_path, many), Knowing(many), 2, box_sources=("groundtruth",))
    assert 150 == len(numbers.predictions["groundtruth"])
    assert 1.0 == pytest.approx(numbers.scalars["groundtruth/iou_instances/all"], abs=1e-6)
    assert 150 == numbers.per_class["instances"].sum()


def test_crowds_are_not_segmented(tmp_path):
    """A crowd region is neither segmented nor counted as an instance."""
    counts = [1000, 96, 64 * 64 - 1096]
    crowd = square(99, 2, 0, 0, 40, iscrowd=1, area=96.0)
    crowd["segmentation"] = {"size": [64, 64], "counts": counts}
    everything = [*annotations(), crowd]
    numbers = evaluate(write_data(tmp_path, everything), Knowing(everything))
    assert len(annotations()) == len(numbers.predictions["groundtruth"])
    assert {5, 0} == set(numbers.per_class["instances"])
    assert 1.0 == pytest.approx(numbers.scalars["detections/mask_ap/all"], abs=1e-6)


def test_a_missing_image_is_refused(tmp_path):
    """If records and annotations differ, there is no result."""
    prefix = write_data(tmp_path, annotations())
    path = Path(annotations_path(prefix))
    document = json.loads(path.read_text())
    document["images"].append({"id": 6, "width": 8, "height": 8, "file_name": "6.png"})
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"Each of the 6 images .* 1 not scored \(ids 6\)"):
        evaluate(prefix, Knowing(annotations()))
    document["images"] = document["images"][1:-1]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != 1]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"Each of the 4 .* 1 not in the dataset \(ids 1\)"):
        evaluate(prefix, Knowing(annotations()))


def test_detections_of_a_wrong_class_count_for_agnostic_recall(prefix):
    """Objects that are found under a wrong class count for class-agnostic recall only."""
    model = Knowing(annotations())
    find = model.detect

    def misname(features, image_shape):
        found = find(features, image_shape)
        return found | {"classes": 10 - found["classes"]}

    model.detect = misname
    model.predict_masks = lambda features, boxes, image_index, classes: tf.ones(
        [tf.shape(boxes)[0], CELLS, CELLS])
    scalars = evaluate(prefix, model).scalars
    assert 0.0 == scalars["detections/mask_ar100/all"]
    assert 1.0 == pytest.approx(scalars["detections/mask_ar100_agnostic/all"])


class Seeing(Knowing):
    """Segments the part of a known object that a box shows: a cell is of it or not.

    Attributes:
        looked: How many images it computed features of.
        given: The boxes of each call, in pixels of the resized image.
    """

    def __init__(self, annotations):
        super().__init__(annotations)
        self.looked, self.given = 0, []

    def features(self, images):
        """The ids of the images, which are counted."""
        def count(images):
            self.looked += len(images)
            return images

        counted = tf.numpy_function(count, [images], tf.float32)
        return super().features(tf.ensure_shape(counted, images.shape))

    def predict_masks(self, features, boxes, image_index, classes):
        """Stand in for `MaskRCNN.predict_masks`."""
        def segment(ids, boxes, image_index, classes):
            self.given.append(boxes)
            masks = np.zeros((len(boxes), CELLS, CELLS), np.float32)
            cells = (np.arange(CELLS) + 0.5) / CELLS
            for row, (box, index, class_id) in enumerate(
                    zip(boxes, image_index, classes, strict=True)):
                own = [a["category_id"] for a in self.known[ids[index]]]
                if class_id in own:
                    top, left, bottom, right = self.boxes(ids[index])[own.index(class_id)]
                    y = box[0] + cells * (box[2] - box[0])
                    x = box[1] + cells * (box[3] - box[1])
                    masks[row] = np.outer((y >= top) & (y <= bottom), (x >= left) & (x <= right))
            return masks

        return tf.ensure_shape(
            tf.numpy_function(segment, [features, boxes, image_index, classes], tf.float32),
            [None, CELLS, CELLS])


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two squares of 100 pixels in an image, one in another; prefix and annotations."""
    squares = [square(7, 5, 20, 30, 100), square(9, 5, 140, 120, 100, category_id=7),
               square(11, 1, 10, 0, 90)]
    return write_data(tmp_path_factory.mktemp("large"), squares), squares


def moved_by_hand(annotation, ratio, seed=0):
    """The box [x, y, w, h] of an annotation after noise of mode "default", clipped."""
    x, y, w, h = annotation["bbox"]
    width, height = SIZES[annotation["image_id"]]
    top, left, bottom, right = (
        1 + ratio * (2 * draw - 1)
        for draw in box_noise.annotation_draws(seed, annotation["id"]))
    low_x, low_y = x + w / 2 * (1 - left), y + h / 2 * (1 - top)
    high_x, high_y = x + w / 2 * (1 + right), y + h / 2 * (1 + bottom)
    low_x, low_y = max(low_x, 0), max(low_y, 0)
    return [low_x, low_y, min(high_x, width) - low_x, min(high_y, height) - low_y]


def test_jittered_boxes_are_a_box_source(large):
    """Masks are predicted in the jittered boxes, on features that are computed once."""
    prefix, squares = large
    model = Seeing(squares)
    sources = ("detections", "groundtruth", "jittered0.2", "jittered0.4", "jittered0.4-expand")
    numbers = evaluate(prefix, model, 5, box_sources=sources)
    assert model.looked == 5
    assert set(sources) == numbers.predictions.keys() == set(numbers.per_class["reading"])
    assert {n.partition("/")[2] for n in numbers.scalars if n.startswith("groundtruth/")} == {
        n.partition("/")[2] for n in numbers.scalars if n.startswith("jittered0.2/")}
    seen_by_model = np.concatenate(model.given)
    for ratio in (0.2, 0.4):
        for annotation in squares:
            expected = moved_by_hand(annotation, ratio)
            (found,) = (
                p["bbox"] for p in numbers.predictions[f"jittered{ratio}"]
                if (p["image_id"], p["category_id"]) == (
                    annotation["image_id"], annotation["category_id"]))
            np.testing.assert_allclose(found, expected, atol=1e-9)
            x, y, w, h = np.array(expected) * 64 / max(SIZES[annotation["image_id"]])
            assert np.isclose(
                seen_by_model, [y, x, y + h, x + w], atol=1e-3).all(axis=1).any()


def test_jittered_masks_are_compared_with_the_whole_annotated_mask(large):
    """Pixels that a smaller box cuts off count as missed; a larger box costs nothing."""
    prefix, squares = large
    numbers = evaluate(
        prefix, Seeing(squares), box_sources=("jittered0.4-shrink", "jittered0.4-expand"))
    by_class = numbers.per_class.set_index(["reading", "category_id"])["iou"]
    for class_id in (3, 7):
        expected = np.mean([
            p["bbox"][2] * p["bbox"][3] / a["area"]
            for p, a in zip(sorted(
                numbers.predictions["jittered0.4-shrink"],
                key=lambda p: (p["image_id"], p["category_id"])),
                sorted(squares, key=lambda a: (a["image_id"], a["category_id"])), strict=True)
            if p["category_id"] == class_id])
        assert 0.4 < expected < 0.9
        # Masks are pasted with a rim of about a pixel.
        assert by_class["jittered0.4-shrink", class_id] == pytest.approx(expected, abs=0.05)
        assert by_class["jittered0.4-expand", class_id] > 0.88


def test_noise_is_the_same_for_every_model_and_the_seed_changes_it(large):
    """Boxes depend on seed and annotation, not on model, batches or other sources."""
    prefix, squares = large

    def boxes(model, batch_size, sources=("jittered0.3",), **options):
        numbers = evaluate(prefix, model, batch_size, box_sources=sources, **options)
        return [p["bbox"] for p in numbers.predictions["jittered0.3"]]

    first = boxes(Seeing(squares), 1)
    assert first == boxes(Knowing(squares), 3, ("groundtruth", "jittered0.3"))
    other = boxes(Seeing(squares), 1, noise_seed=1)
    assert not np.isclose(first, other).all(axis=1).any()


@pytest.mark.parametrize(("options", "message"), [
    ({"box_sources": ("groundtrth",)}, r"Unknown box source 'groundtrth'\. Did you mean 'groundtr"),
    ({"box_sources": ("jitter0.2",)}, r"'jitter0\.2'\. Did you mean 'jittered0\.2'\? Known are "),
    ({"box_sources": ("jittered0.2-grow",)}, r"Unknown jitter mode 'grow'"),
    ({"box_sources": ("detections",) * 2}, r"Box source 'detections' is given 2 times, not once"),
])
def test_mistakes_are_named(prefix, options, message):
    """The sentence names the mistake before anything is evaluated."""
    with pytest.raises(UserError, match=message):
        Evaluation(EvaluationData(prefix), **options)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_part_of_the_images_is_scored_alone(prefix, batch_size):
    """The same images for any model and batch; annotations of the others do not count as missed."""
    seen = {}
    for number in range(1, 5):
        numbers = evaluate(prefix, Knowing(annotations()), batch_size, images=number)
        seen[number] = set(numbers.ground_truth.image_sizes)
        assert number == len(seen[number]) == numbers.num_images
        assert seen[number] == {p["image_id"] for p in numbers.predictions["detections"]}
        # Two squares an image, of which one is a box and one is a leaf.
        assert [number] * 2 == list(
            numbers.per_class.query("reading == 'groundtruth' and instances > 0")["instances"])
        assert 1.0 == numbers.scalars["detections/mask_ap/all"]
        assert 1.0 == pytest.approx(numbers.scalars["groundtruth/iou/all"])
        assert seen[number] >= seen.get(number - 1, set())
    everything = evaluate(prefix, Knowing(annotations()), batch_size, images=9)
    assert set(SIZES) == set(everything.ground_truth.image_sizes)


def test_evaluations_on_the_way_may_take_fewer_images(prefix):
    """Unless a number of their own is bound, they take as many as the last one."""
    for options, expected in (
            ({}, (5, 5)), ({"images": 4}, (4, 4)), ({"images_during_training": 2}, (5, 2)),
            ({"images": 3, "images_during_training": 4}, (3, 4))):
        evaluation = Evaluation(EvaluationData(prefix), **options)
        assert expected == (evaluation.count_images(), evaluation.count_images(True))
    numbers = Evaluation(EvaluationData(prefix), images_during_training=2).evaluate(
        Knowing(annotations()), ONE_DEVICE, ("box",), during_training=True)
    assert 2 == numbers.num_images
    entries = evaluation.describe_images(numbers)
    assert (5, 2, prefix) == tuple(
        entries[name] for name in ("dataset_images", "images", "data_prefix"))


@pytest.fixture(scope="module")
def trained(finished):
    """The session of the tiny trained trial."""
    session = prepare_session(finished.trial)
    restore_latest(session, finished.workdir)
    return session


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_the_numbers_of_a_real_model_do_not_depend_on_its_batches(finished, trained):
    """7 images in batches of 1, 3 and 7 give the same numbers to 1e-6."""
    prefix = str(finished.recipe.data / "val")
    for batch_size in (1, 3, 7):
        evaluation = Evaluation(EvaluationData(prefix, batch_size))
        numbers = evaluation.evaluate(
            trained.model, trained.strategy, trained.training.seen_classes)
        expected = finished.workdir.read_result()
        assert {name for name in expected if "/" in name} == numbers.scalars.keys()
        for name, value in numbers.scalars.items():
            assert (value is None) == (expected[name] is None), name
            if value is not None:
                assert expected[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_masks_equal_those_of_the_whole_model_pasted_by_model_garden(trained):
    """The parts of the model, run one by one on actual boxes, give the results of its call."""
    data = trained.evaluation.data
    batch = next(iter(data.dataset(trained.model.image_size)))
    info = batch["image_info"].numpy()
    whole = trained.model(batch["images"], tf.cast(info[:, 1], tf.float32), training=False)
    predictor = Predictor(trained.model, trained.strategy, data.batch_size)
    compared = 0
    for i, image in enumerate(predictor.predict(batch, {}, detect=True)):
        number = int(whole["num_detections"][i])
        assert number == len(image.detections)
        corners = whole["boxes"][i].numpy()[:number] / np.tile(info[i, 2], 2)
        boxes = np.stack([corners[:, 1], corners[:, 0], corners[:, 3] - corners[:, 1],
                          corners[:, 2] - corners[:, 0]], axis=1)
        height, width = info[i, 0].astype(int)
        pasted = mask_ops.paste_instance_masks(
            whole["masks"][i].numpy()[:number], boxes, height, width)
        for position, detection in enumerate(image.detections):
            np.testing.assert_allclose(detection["bbox"], boxes[position], atol=1e-3)
            assert detection["category_id"] == int(whole["classes"][i][position])
            decoded = rle.decode(detection["segmentation"])
            assert (height, width) == decoded.shape
            # A pixel may fall to the other side of one half by rounding.
            assert (decoded != pasted[position]).sum() <= 2
            compared += 1
    assert compared > 0

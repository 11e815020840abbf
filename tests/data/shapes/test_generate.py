"""The built-in synthetic dataset."""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest
from PIL import Image

from deepmac_ablate.data import masks
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.data.shapes import generate, outlines, scenes
from deepmac_ablate.errors import UserError

_NAMES = list(outlines.CLASSES)


def _scenes(count, num_instances=3, size=128):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield scenes.draw_scene(rng.choice(_NAMES, num_instances).tolist(), size, rng)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A small one: 240 and 12 images, two processes."""
    folder = tmp_path_factory.mktemp("shapes")
    return folder, generate.generate_dataset(folder, seed=3, num_train=240, num_val=12)


def test_there_are_twelve_classes_of_three_kinds():
    """Ids follow this order, and recorded results depend on it."""
    expected = ["disc", "ellipse", "crescent", "ring", "triangle", "square", "hexagon", "l_shape"]
    expected += ["star", "cross", "arrow", "gear"]

    assert expected == _NAMES
    kinds = collections.Counter(shape.kind for shape in outlines.CLASSES.values())
    assert {"round": 4, "polygonal": 4, "spiky": 4} == kinds


def test_the_splits_are_counterbalanced():
    """Each class is seen in one split and novel in the other, two of each kind in each."""
    class_splits = pytest.importorskip("deepmac_ablate.class_splits")
    halves = (class_splits.SHAPES_A, class_splits.SHAPES_B)

    assert sorted(_NAMES) == sorted(halves[0] + halves[1])
    for half in halves:
        kinds = collections.Counter(outlines.CLASSES[name].kind for name in half)
        assert {"round": 2, "polygonal": 2, "spiky": 2} == kinds


@pytest.mark.slow
def test_generates_two_datasets(generated):
    """Records, annotations and pictures of both parts, and nothing else."""
    folder, summary = generated
    expected = ["images"]
    for part in ("train", "val"):
        expected += [f"{part}-00000-of-00001.tfrecord", f"{part}-annotations.json"]
        expected += [f"{part}-info.json"]

    assert sorted(expected) == sorted(path.name for path in folder.iterdir())
    images = sorted(path.name for path in (folder / "images").iterdir())
    assert ["train", "train.json", "val", "val.json"] == images
    assert summary.train.info == DatasetInfo.load(folder / "train")
    assert (240, 12) == (summary.train.info.num_images, summary.val.info.num_images)
    assert _NAMES == [category.name for category in summary.val.info.categories]
    assert list(range(1, 13)) == [category.id for category in summary.val.info.categories]
    assert summary.train.skipped == summary.val.skipped == {}
    assert "train@" in summary.lines()[0]
    assert "val@" in summary.lines()[1]


def test_the_seed_decides_every_picture(generated, tmp_path):
    """Drawn by one process instead of two: the same fingerprint; another seed: another one."""
    _, summary = generated
    again = generate.generate_dataset(tmp_path / "a", seed=3, num_train=20, num_val=12)
    other = generate.generate_dataset(tmp_path / "b", seed=4, num_train=20, num_val=12)

    assert summary.val.info.fingerprint == again.val.info.fingerprint
    assert again.val.info.fingerprint != other.val.info.fingerprint
    assert again.train.info.fingerprint != other.train.info.fingerprint
    first = sorted((tmp_path / "a/images/train").iterdir())
    drawn_by_two = generated[0] / "images/train"
    for path in first:
        expected = np.asarray(Image.open(drawn_by_two / path.name))
        np.testing.assert_array_equal(expected, Image.open(path))


def test_train_and_val_share_no_picture(generated):
    """Training and validation images differ."""
    folder, _ = generated
    pixels = [
        np.asarray(Image.open(path)).tobytes()
        for part in ("train", "val")
        for path in (folder / "images" / part).iterdir()
    ]

    assert len(pixels) == len(set(pixels)) == 252


def test_classes_are_balanced(generated):
    """Equally many instances of each class, but for the last deck and a few that found no place."""
    folder, _ = generated
    annotations = json.loads((folder / "train-annotations.json").read_text())["annotations"]
    counts = collections.Counter(annotation["category_id"] for annotation in annotations)

    assert set(range(1, 13)) == set(counts)
    assert max(counts.values()) - min(counts.values()) <= 3
    assert 600 < counts.total() < 840


def test_annotations_are_exact(generated):
    """Boxes are tight around the visible masks, areas are their pixels, and none overlap."""
    folder, _ = generated
    document = json.loads((folder / "val-annotations.json").read_text())
    by_image = collections.defaultdict(list)
    for annotation in document["annotations"]:
        mask = masks.decode_segmentation(annotation["segmentation"], 128, 128)
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
        assert mask.sum() == annotation["area"]
        by_image[annotation["image_id"]].append(mask)
    assert len(by_image) == 12
    assert all(np.sum(found, axis=0).max() == 1 for found in by_image.values())


def test_objects_hide_each_other_but_never_too_much():
    """Some are hidden in part; of none is less than a quarter visible.

    The whole outline is known from the same scene drawn without the objects in front.
    """
    fractions = []
    for seed in range(40):
        names = np.random.default_rng(seed).choice(_NAMES, 4).tolist()
        full = []
        for count in range(1, 5):
            scene = scenes.draw_scene(names[:count], 128, np.random.default_rng(seed))
            if len(scene.names) > len(full):
                full.append(scene.visible[-1].sum())
        fractions += (scene.visible.sum(axis=(1, 2)) / full).tolist()

    assert min(fractions) >= scenes.MIN_VISIBLE
    assert 0.15 < np.mean(np.array(fractions) < 0.95) < 0.6


def test_sizes_are_in_range():
    """The longer side of an outline is what was asked for, within the rounding of pixels."""
    for name in _NAMES:
        for extent in (20.0, 64.0):
            polygon = outlines.draw_outline(name, extent, np.random.default_rng(1))[0]
            assert extent == pytest.approx(np.ptp(polygon, axis=0).max(), abs=0.01)
            assert polygon.min() == pytest.approx(0, abs=0.01)


def test_outlines_of_a_class_are_alike_and_of_two_classes_are_not():
    """Each class has its own compactness, hole and hull: what tells them apart is the outline.

    A nearest-centroid reading of three numbers per outline must name most of them.
    """

    def features(name, seed):
        rng = np.random.default_rng(seed)
        polygons = outlines.draw_outline(name, 60, rng)
        points = np.concatenate([polygons[0], polygons[0][:1]])
        x, y = points[:, 0], points[:, 1]
        area = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
        length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        center = polygons[0].mean(axis=0)
        radii = np.linalg.norm(polygons[0] - center, axis=1)
        return [4 * np.pi * area / length**2, radii.min() / radii.max(), len(polygons)]

    centroids = np.array([np.mean([features(n, s) for s in range(40)], axis=0) for n in _NAMES])
    spread = np.array([np.std([features(n, s) for s in range(40)], axis=0) for n in _NAMES])
    scale = spread.mean(axis=0) + 1e-3
    right = 0
    for index, name in enumerate(_NAMES):
        for seed in range(100, 120):
            distances = np.abs((centroids - features(name, seed)) / scale).sum(axis=1)
            right += distances.argmin() == index
    assert right / 240 > 0.8


def test_surfaces_do_not_tell_classes_or_ground_apart():
    """Brightness: no class is far from the mean of all, and objects are as bright as ground."""
    by_class = collections.defaultdict(list)
    ground = []
    for scene in _scenes(150, num_instances=4, size=64):
        brightness = scene.image.mean(axis=-1)
        for name, mask in zip(scene.names, scene.visible, strict=True):
            by_class[name].append(brightness[mask].mean())
        ground.append(brightness[~scene.visible.any(axis=0)].mean())
    objects = np.concatenate(list(by_class.values()))

    for values in by_class.values():
        assert abs(np.mean(values) - objects.mean()) < 4 * objects.std() / np.sqrt(len(values))
    assert abs(np.mean(ground) - objects.mean()) < 0.3 * objects.std()
    assert np.std(ground) > 0.5 * objects.std()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_val": 0}, "at least 1 image, got 1200 for training and 0 for val"),
        ({"size": 32}, "image size must be at least 64 pixels, got 32"),
        ({"seed": -1}, "The seed must be at least 0, got -1"),
    ],
)
def test_impossible_wishes_are_refused(tmp_path, options, message):
    """Values out of range are refused before anything is written."""
    with pytest.raises(UserError, match=message):
        generate.generate_dataset(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()

"""Class ids of any exporter: kept everywhere outside the model, numbered from 1 inside."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from deepmac_ablate.data import convert_coco
from deepmac_ablate.data.check import check_dataset
from deepmac_ablate.data.dataset_info import Category, DatasetInfo, number_classes
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError
from tests.helpers.data_fixtures import document, write

DATABASE = 1183637182


@pytest.mark.parametrize(("ids", "labels"), [
    ((1, 2, 3), (1, 2, 3)),
    # COCO's, and three of its classes.
    ((*range(1, 12), 13, 90), (*range(1, 12), 13, 90)),
    ((18, 44, 90), (18, 44, 90)),
    ((0, 1, 2), (1, 2, 3)),
    ((-1, 5), (1, 2)),
    ((77, DATABASE), (1, 2)),
    ((2**62, 1), (1, 2)),
])
def test_ids_are_labels_where_a_model_can_use_them(ids, labels):
    """Others are numbered in ascending order of the ids."""
    classes = number_classes({i: f"class {i}" for i in ids})
    expected = zip(sorted(ids), labels, strict=True)
    assert [Category(i, f"class {i}", label) for i, label in expected] == list(classes)


def convert(folder, classes, categories=None):
    """Convert a dataset of an image for each class; return its prefix and the summary.

    Args:
        folder: Folder to write to.
        classes: Category ids of the annotations.
        categories: The list of categories; None for one per class.
    """
    content = document(len(classes))
    for annotation, class_id in zip(content["annotations"], classes, strict=True):
        annotation["category_id"] = class_id
    content["categories"] = categories or [
        {"id": i, "name": f"class {i}"} for i in dict.fromkeys(classes)]
    images, annotations = write(folder, content)
    prefix = folder / "out/train"
    return prefix, convert_coco.convert_dataset(images, annotations, prefix)


def labels_in_records(prefix):
    """Return label and name of every object in the records."""
    found = []
    for path in DatasetInfo.load(prefix).record_files(prefix):
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(raw).features.feature
            labels = features["image/object/class/label"].int64_list.value
            names = features["image/object/class/text"].bytes_list.value
            found += zip(labels, [name.decode() for name in names], strict=True)
    return sorted(found)


@pytest.mark.parametrize("ids", [(0, 1), (77, DATABASE), (-5, 2**62)])
def test_records_have_labels_and_annotations_have_ids(tmp_path, ids):
    """The summary says how many classes the model needs."""
    prefix, summary = convert(tmp_path, ids)
    assert [(1, f"class {ids[0]}"), (2, f"class {ids[1]}")] == labels_in_records(prefix)
    written = json.loads((tmp_path / "out/train-annotations.json").read_text())
    assert set(ids) == {a["category_id"] for a in written["annotations"]}
    assert set(ids) == {c["id"] for c in written["categories"]}
    info = DatasetInfo.load(prefix)
    assert dict(zip(ids, (1, 2), strict=True)) == info.labels
    assert "a model numbers the classes from 1 to 2: bind NUM_CLASSES = 3" in summary.lines()[-1]
    info.check_num_classes(3)
    with pytest.raises(UserError, match=r"whose classes are numbered up to 2: use 3\."):
        info.check_num_classes(2)


def test_a_check_reports_ids(tmp_path):
    """A numbered dataset is sound, and its classes are counted by id."""
    prefix, _ = convert(tmp_path, (DATABASE, 0, DATABASE))
    report = check_dataset(prefix, tmp_path / "seen", 3, seen_ids=frozenset([0]))
    assert [] == report.problems
    assert {0: 1, DATABASE: 2} == report.num_instances
    assert ["seen", "novel"] == [report.role(0), report.role(DATABASE)]


def test_masks_are_withheld_by_id(tmp_path):
    """Training sees the masks of the classes whose ids are seen, whatever their labels."""
    from tests.helpers import tiny_model

    prefix, _ = convert(tmp_path, (DATABASE, 1, 0))
    data = TrainingData(str(prefix), batch_size=3, flip=False, scale_min=1.0, scale_max=1.0)
    _, labels = next(iter(data.dataset(
        tiny_model.IMAGE_SIZE, tiny_model.anchor_labels(tiny_model.IMAGE_SIZE),
        frozenset([1, DATABASE]), seed=0)))
    masked = dict(zip(
        labels["gt_classes"][:, 0].numpy().tolist(), labels["gt_has_mask"][:, 0].numpy().tolist(),
        strict=True))
    assert {1: False, 2: True, 3: True} == masked


def test_ids_of_coco_give_the_files_of_before(tmp_path):
    """Classes whose ids are labels have the fingerprint that they always had."""
    prefix, summary = convert(tmp_path, (1, 90, 3))
    assert {1: 1, 3: 3, 90: 90} == DatasetInfo.load(prefix).labels
    assert len(summary.lines()) == 1
    assert summary.info.fingerprint == "b5b97c9d419d"


def test_older_info_files_have_ids_as_labels(tmp_path):
    """A dataset that was converted before labels existed keeps its numbers."""
    prefix, _ = convert(tmp_path, (1, 5000))
    path = tmp_path / "out/train-info.json"
    fields = json.loads(path.read_text())
    for category in fields["categories"]:
        del category["label"]
    path.write_text(json.dumps(fields))
    assert {1: 1, 5000: 5000} == DatasetInfo.load(prefix).labels


ROBOFLOW = [
    {"id": 0, "name": "cups", "supercategory": "none"},
    {"id": 1, "name": "cup", "supercategory": "cups"},
    {"id": 2, "name": "lid", "supercategory": "cups"}]
LABELME = [{"id": -1, "name": "__ignore__"}, {"id": 0, "name": "_background_"},
           {"id": 1, "name": "cup"}, {"id": 2, "name": "lid"}]


@pytest.mark.parametrize(("categories", "named"), [
    (ROBOFLOW, ["category 'cups' (id 0) left out"]),
    # The root may even have the name of a class.
    ([{**ROBOFLOW[0], "name": "cup"}, *({**c, "supercategory": "cup"} for c in ROBOFLOW[1:])],
     ["category 'cup' (id 0) left out"]),
    (LABELME, ["category '__ignore__' (id -1) left out", "category '_background_' (id 0) left"]),
])
def test_an_unused_root_is_left_out_and_named(tmp_path, categories, named):
    """So is a background; what remains is the dataset without it."""
    prefix, summary = convert(tmp_path, (1, 2), categories)
    assert {1: "cup", 2: "lid"} == DatasetInfo.load(prefix).names
    assert {1: 1, 2: 2} == DatasetInfo.load(prefix).labels
    for words in named:
        assert any(words in line for line in summary.lines()), summary.lines()
    assert [] == check_dataset(prefix, tmp_path / "seen", 0).problems
    _, plain = convert(tmp_path / "plain", (1, 2), categories[-2:])
    assert plain.info.fingerprint == summary.info.fingerprint


@pytest.mark.parametrize("categories", [
    ROBOFLOW,
    [{"id": 0, "name": "background"}, *ROBOFLOW[1:]],
])
def test_a_root_with_objects_is_a_class(tmp_path, categories):
    """A category that an annotation has is never left out."""
    prefix, summary = convert(tmp_path, (0, 1, 2), categories)
    assert {0: 1, 1: 2, 2: 3} == DatasetInfo.load(prefix).labels
    assert not any("left out" in line for line in summary.lines())


def test_an_unused_class_is_no_root(tmp_path):
    """Counting from 0 without an object of the first class keeps the class."""
    categories = [{"id": 0, "name": "dog", "supercategory": "animal"},
                  {"id": 1, "name": "cat", "supercategory": "animal"}]
    prefix, _ = convert(tmp_path, (1, 1), categories)
    assert {0: 1, 1: 2} == DatasetInfo.load(prefix).labels
    assert [(2, "cat"), (2, "cat")] == labels_in_records(prefix)

"""Records are read back and compared with what the dataset says of itself."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepmac_ablate.data import convert_coco, dataset_info, masks
from deepmac_ablate.data.check import check_dataset
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from tests.helpers import coco_tiny
from tests.helpers.data_fixtures import document, square, write


@pytest.fixture
def prefix(tmp_path):
    """A converted dataset of six images with one square each, the last one a crowd of two."""
    content = document(6)
    content["annotations"][5]["category_id"] = 7
    content["annotations"].append(square(99, 6, 3, 3, 8, iscrowd=1))
    images, annotations = write(tmp_path, content)
    convert_coco.convert_dataset(images, annotations, tmp_path / "out/train", num_shards=2)
    return tmp_path / "out/train"


def _rewrite(prefix, change):
    """Apply `change` to the features of image 2."""
    for path in DatasetInfo.load(prefix).record_files(prefix):
        examples = [
            tf.train.Example.FromString(raw)
            for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        ]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples:
                features = example.features.feature
                if features["image/source_id"].bytes_list.value[0] == b"2":
                    change(features)
                writer.write(example.SerializeToString())


def test_a_sound_dataset_has_no_problems(prefix, tmp_path):
    """Instances are counted by class, without crowds, and images are drawn."""
    report = check_dataset(prefix, tmp_path / "seen", num_images=4)

    assert [] == report.problems
    assert {3: 5, 7: 1} == report.num_instances
    files = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert len(files) == 5
    assert "contact_sheet.png" in files
    assert tmp_path / "seen/contact_sheet.png" == report.contact_sheet
    text = "\n".join(report.lines())
    assert "  box                5          5\n" in text
    assert "  all classes        6          6\n" in text
    assert "Most objects in an image: 1 (image " in text
    assert "No problems." in text


def test_roles_are_counted_and_drawn(prefix, tmp_path):
    """With a split each class has its role, and novel boxes look different."""
    report = check_dataset(prefix, tmp_path / "a", 6, seen_ids=frozenset([3]))
    check_dataset(prefix, tmp_path / "b", 6, seen_ids=frozenset([7]))

    assert ("seen", "novel") == (report.role(3), report.role(7))
    text = "\n".join(report.lines())
    assert "  leaf                     1          1  novel" in text
    assert "  all seen classes         5          5" in text
    assert "  all novel classes        1          1" in text
    assert not np.array_equal(
        Image.open(tmp_path / "a/1.png"), Image.open(tmp_path / "b/1.png")
    )


@pytest.mark.slow
def test_the_seed_chooses_the_images(prefix, tmp_path):
    """Equal seeds choose the same images, different seeds different ones."""
    chosen = {}
    for seed in (0, 0, 1, 2, 3, 4):
        folder = tmp_path / f"{len(chosen)}-{seed}"
        check_dataset(prefix, folder, 1, seed=seed)
        found = {path.name for path in folder.iterdir()} - {"contact_sheet.png"}
        assert found == chosen.setdefault(seed, found)
    assert len({tuple(found) for found in chosen.values()}) > 1


def _set(name, kind, index, value):
    def change(features):
        getattr(features[f"image/object/{name}"], f"{kind}_list").value[index] = value

    return change


def _mask(mask):
    return _set("mask", "bytes", 0, masks.encode_png(mask))


def _far_mask():
    mask = np.zeros((30, 40), np.uint8)
    mask[:5, 30:] = 1
    return mask


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("bbox/xmax", "float", 0, 1.2), r"Image 2, instance 0 \(box\): the box .* outside"),
        (_set("bbox/ymax", "float", 0, 0.01), "the box .* is empty or outside 30 x 40 pixels"),
        (_set("class/label", "int64", 0, 5), r"instance 0 \(5\): class 5 is not in this data"),
        (
            _mask(np.zeros((30, 40), np.uint8)),
            "The info file says 0 instances without mask, the records 1",
        ),
        (_mask(np.full((30, 40), 255, np.uint8)), "the mask holds 255; it must be 0 or 1"),
        (_mask(_far_mask()), "100% of the mask lies outside the box"),
        (_mask(np.ones((20, 40), np.uint8)), r"is \(30, 40\) pixels, but its masks are \(20, 40\)"),
        (_set("is_crowd", "int64", 0, 1), "The info file says 6 instances, the records 5"),
        (
            lambda features: features["image/object/class/label"].int64_list.value.append(3),
            r"Image 2 has 2 classes, but \{'boxes': 1",
        ),
        (
            lambda features: features["image/height"].int64_list.value.__setitem__(0, 31),
            r"Image 2 is \(30, 40\) pixels, but its record says \(31, 40\)",
        ),
        (
            lambda features: features["image/encoded"].bytes_list.value.__setitem__(0, b"no"),
            r"Record \d of train-0000\d-of-00002\.tfrecord does not decode",
        ),
        (
            lambda features: features["image/source_id"].bytes_list.value.__setitem__(0, b"1"),
            "Image 1 is in the records twice",
        ),
        (
            lambda features: features["image/source_id"].bytes_list.value.__setitem__(0, b"8"),
            "Annotated images that are not in the records: 1; images in the records without "
            "annotations: 1.",
        ),
        (_set("area", "float", 0, 7.0), "from different conversions"),
    ],
)
def test_a_planted_fault_is_found(prefix, tmp_path, change, message):
    """One record is damaged; the report says where and how, and goes on to the end."""
    _rewrite(prefix, change)
    report = check_dataset(prefix, tmp_path / "seen", num_images=6)

    assert any(_matches(message, problem) for problem in report.problems), report.problems
    assert any("from different conversions" in problem for problem in report.problems)
    assert sum(report.num_instances.values()) >= 5
    assert "Problems:" in report.lines()


def _matches(pattern, text):
    try:
        with pytest.raises(UserError, match=pattern):
            raise UserError(text)
    except AssertionError:
        return False
    return True


def test_a_truncated_record_file_is_found(prefix, tmp_path):
    """A partly copied file is reported, and the rest is still read."""
    path = DatasetInfo.load(prefix).record_files(prefix)[0]
    path.write_bytes(path.read_bytes()[:-20])
    report = check_dataset(prefix, tmp_path / "seen")

    corrupt = "train-00000-of-00002.tfrecord is corrupt after record 2"
    assert any(corrupt in problem for problem in report.problems)
    assert any("The info file says 6 images, the records 5" in p for p in report.problems)


def test_shards_of_two_conversions_are_found(prefix, tmp_path):
    """A mixture of two conversions is found even if counts and records are valid."""
    content = document(6)
    content["annotations"][5]["category_id"] = 7
    content["annotations"].append(square(99, 6, 3, 3, 8, iscrowd=1))
    for annotation in content["annotations"]:
        annotation["bbox"][2] += 1
    images, annotations = write(tmp_path / "other", content)
    convert_coco.convert_dataset(images, annotations, tmp_path / "other/train", num_shards=2)
    shard = dataset_info.shard_path(prefix, 1, 2)
    shutil.copy(tmp_path / "other" / shard.name, shard)

    problems = check_dataset(prefix, tmp_path / "seen").problems
    assert len(problems) == 1
    assert "they come from different conversions" in problems[0]


def test_a_fault_of_every_record_is_not_a_line_for_each(prefix, tmp_path):
    """At most five problems of a kind are listed, then the number of further ones."""
    info = DatasetInfo.load(prefix)
    dataclasses.replace(info, categories=info.categories[1:]).save(prefix)
    problems = check_dataset(prefix, tmp_path / "seen").problems

    assert sum("class 3 is not in this dataset" in problem for problem in problems) == 5
    assert "1 more like this (class)." in problems


def test_annotations_of_other_images_are_found(prefix, tmp_path):
    """Evaluation would look for images that the records do not hold."""
    path = dataset_info.annotations_path(prefix)
    content = json.loads(path.read_text())
    content["images"].append({"id": 77})
    path.write_text(json.dumps(content))

    problems = check_dataset(prefix, tmp_path / "seen").problems
    assert [
        "Annotated images that are not in the records: 1; images in the records without "
        "annotations: 0."
    ] == problems


def test_drawing_nothing_is_fine_and_less_is_refused(prefix, tmp_path):
    """Zero images are allowed, for counting only; negative numbers are refused."""
    report = check_dataset(prefix, tmp_path / "seen", num_images=0)

    assert report.contact_sheet is None
    assert [] == list((tmp_path / "seen").iterdir())
    with pytest.raises(UserError, match="images to draw must be at least 0, got -1"):
        check_dataset(prefix, tmp_path / "seen", num_images=-1)


def test_a_missing_dataset_is_refused(tmp_path):
    """A prefix without a dataset is refused."""
    with pytest.raises(UserError, match="There is no dataset"):
        check_dataset(tmp_path / "no", tmp_path / "seen")


def test_boxes_without_masks_are_counted_by_class(tmp_path):
    """Boxes without masks are not a problem, but are counted for each class."""
    content = document(3)
    for annotation in content["annotations"][:2]:
        annotation |= {"category_id": 7, "segmentation": []}
    content["annotations"].append(square(99, 3, 3, 3, 8, iscrowd=1, segmentation=[]))
    images, annotations = write(tmp_path, content)
    convert_coco.convert_dataset(images, annotations, tmp_path / "train")
    report = check_dataset(tmp_path / "train", tmp_path / "drawn", seen_ids=frozenset([3]))

    assert [] == report.problems
    assert ({3: 1, 7: 2}, {7: 2}) == (report.num_instances, report.num_boxes_only)
    assert "  leaf                     2          0  novel" in report.lines()
    assert "  box                      1          1  seen" in report.lines()
    assert "(leaf)" in report.notes[0]


@pytest.mark.parametrize(("seen", "problems", "note"), [
    ([7], ["No object of a seen class has a mask to train the mask head on."],
     "Seen, with boxes but no masks"),
    ([3], [], "Novel, with boxes but no masks, so that predicted masks cannot be evaluated"),
    ([], [], "Novel, with boxes but no masks, so that predicted masks cannot be evaluated"),
    (None, [], "Boxes but no masks")])
def test_a_split_without_any_mask_to_train_on_is_a_problem(tmp_path, seen, problems, note):
    """Unless the split has no seen classes at all."""
    content = document(2)
    content["annotations"][1] |= {"category_id": 7, "segmentation": []}
    images, annotations = write(tmp_path, content)
    convert_coco.convert_dataset(images, annotations, tmp_path / "train")
    split = None if seen is None else frozenset(seen)
    report = check_dataset(tmp_path / "train", tmp_path / "drawn", 0, seen_ids=split)

    assert problems == report.problems
    assert f"{note}: 1 class (leaf)." in report.notes


def test_counts_of_objects_per_image_are_verified(prefix, tmp_path):
    """Plans and trials tell from them what is dropped; older datasets have none."""
    info = DatasetInfo.load(prefix)
    assert {1: 6} == info.images_by_num_instances
    for counts, problems in (({1: 5, 2: 1}, 1), (None, 0)):
        dataclasses.replace(info, images_by_num_instances=counts).save(prefix)
        found = check_dataset(prefix, tmp_path / "seen", 0).problems
        assert problems * ["The info file says other numbers of objects per image."] == found


def test_records_without_objects_are_a_problem(tmp_path):
    """Nothing can be learned from crowds alone."""
    content = document(2)
    del content["annotations"][0]
    images, annotations = write(tmp_path, content)
    convert_coco.convert_dataset(images, annotations, tmp_path / "train")
    _rewrite(tmp_path / "train", _set("is_crowd", "int64", 0, 1))
    report = check_dataset(tmp_path / "train", tmp_path / "drawn", 0)

    assert "The records have no objects, so there is nothing to learn." in report.problems
    assert "No objects: 2 classes (box; leaf)." in report.notes


@pytest.mark.slow
def test_coco_has_no_problems(tmp_path):
    """On real annotations no tolerance is too tight."""
    annotations = coco_tiny.root() / "annotations/instances.json"
    convert_coco.convert_dataset(coco_tiny.root() / "images", annotations, tmp_path / "all")
    report = check_dataset(tmp_path / "all", tmp_path / "seen")

    assert ([], []) == (report.problems, report.notes)
    assert (44, "166918") == (report.most_objects, report.most_objects_image)
    assert sum(report.num_instances.values()) == 1463
    assert len(report.num_instances) == 80
    assert len(list((tmp_path / "seen").iterdir())) == 17

"""COCO instances files are read, checked and completed."""

from __future__ import annotations

import json

import pytest

from deepmac_ablate.data import coco_annotations
from deepmac_ablate.errors import UserError
from tests.helpers.data_fixtures import document, square


def _read(tmp_path, content):
    path = tmp_path / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return coco_annotations.read_coco(path)


def test_reads_images_annotations_and_categories_by_id(tmp_path):
    """Own categories keep their ids and are sorted by them."""
    truth = _read(tmp_path, document())

    assert [(3, "box"), (7, "leaf")] == [(c.id, c.name) for c in truth.categories]
    assert [1, 2, 3] == [image["id"] for image in truth.images]
    assert [12] == [annotation["id"] for annotation in truth.annotations[2]]


def test_an_annotation_that_is_complete_stays_as_it_is(tmp_path):
    """The truth of evaluation is the source's, fields that nobody knows included."""
    content = document()
    content["annotations"][0]["colour"] = "red"
    content["info"] = {"year": 2017}

    assert content == _read(tmp_path, content).document


def test_missing_crowd_flag_and_area_are_derived(tmp_path):
    """Annotation tools leave them out; COCO's evaluation needs them."""
    content = document()
    for key in ("iscrowd", "area"):
        del content["annotations"][1][key]
    truth = _read(tmp_path, content)

    assert content["annotations"][0] == truth.document["annotations"][0]
    assert truth.document["annotations"][1]["iscrowd"] == 0
    assert truth.document["annotations"][1]["area"] == 100.0
    assert (1, 1) == (truth.num_derived_crowd, truth.num_derived_area)


@pytest.mark.parametrize("segmentation", [None, [], [[]], [[1, 2, 3, 4]], {}])
def test_a_missing_mask_becomes_an_empty_one(tmp_path, segmentation):
    """COCO's evaluation would fail on each of these."""
    content = document()
    content["annotations"][0]["segmentation"] = segmentation
    annotation = _read(tmp_path, content).document["annotations"][0]

    assert not coco_annotations.mask_of(annotation, 30, 40).any()
    assert [30, 40] == annotation["segmentation"]["size"]


def test_annotation_ids_are_raised_where_one_is_zero(tmp_path):
    """COCO's evaluation takes a match with annotation 0 for no match."""
    content = document(2)
    content["annotations"] = [square(0, 1, 2, 2, 5), square(1, 2, 2, 2, 5)]

    assert [1, 2] == [a["id"] for a in _read(tmp_path, content).document["annotations"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n"images": [}', r"instances\.json is not valid JSON: line 2, column 12"),
        ("[]", "holds a list, not a COCO instances object"),
        ('{"images": [], "annotations": []}', "has no list 'categories'"),
        (
            '{"images": [], "annotation": [], "categories": []}',
            r"has no list 'annotations'\. Did you mean 'annotation'\?",
        ),
        ('{"images": [1], "annotations": [], "categories": []}', "not an object"),
    ],
)
def test_a_file_that_is_not_coco_instances_is_refused(tmp_path, content, message):
    """The message says where the file stops being one."""
    with pytest.raises(UserError, match=message):
        _read(tmp_path, content)


def test_a_missing_file_is_refused(tmp_path):
    """No traceback for a wrong path."""
    with pytest.raises(UserError, match=r"no\.json does not exist"):
        coco_annotations.read_coco(tmp_path / "no.json")
    with pytest.raises(UserError, match="is a folder"):
        coco_annotations.read_coco(tmp_path)


def test_binary_files_are_refused(tmp_path):
    """An image given as the annotations, say."""
    (tmp_path / "x.json").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UserError, match="not a JSON text file"):
        coco_annotations.read_coco(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("categories", {"id": 2**63},
         "category 'leaf' has the id 9223372036854775808, which does not fit into 64 bits"),
        ("categories", {"id": 3}, "category id 3 is used 2 times"),
        ("categories", {"name": "box"}, "category name 'box' is used 2 times"),
        ("categories", {"name": None}, "category number 0 has the name None; it must be a string"),
        ("images", {"id": 2}, "image id 2 is used 2 times"),
        ("images", {"id": "a"}, "image number 0 has the id 'a'; it must be an integer"),
        ("images", {"height": None}, "image number 0 has the height None"),
        ("images", {"width": 0}, "image '1.png' has the size 0 x 30; both sides must be"),
        ("annotations", {"id": 12}, "annotation id 12 is used 2 times"),
        ("annotations", {"image_id": 9}, "annotation 11 refers to image 9, which is not listed"),
        (
            "annotations",
            {"category_id": 5},
            r"annotation 11 has the category 5, .*lists 2 categories from 3 to 7",
        ),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotation 11 has the bbox \[1, 2, 3\]"),
        ("annotations", {"bbox": [1, 2, 3, None]}, "annotation 11 has the bbox"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, "annotation 11 has the bbox"),
        ("annotations", {"iscrowd": 2}, "annotation 11 has iscrowd 2; it must be 0 or 1"),
        ("annotations", {"area": "big"}, "annotation 11 has the area 'big'"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path, table, change, message):
    """Each mistake is refused with the entry and the value."""
    content = document()
    content[table][0].update(change)

    with pytest.raises(UserError, match=message):
        _read(tmp_path, content)


def test_a_missing_field_is_named(tmp_path):
    """An entry without an id, say."""
    content = document()
    del content["annotations"][2]["id"]

    with pytest.raises(UserError, match="annotation number 2 has no 'id'; it must be an integer"):
        _read(tmp_path, content)


def test_no_images_and_no_categories_are_refused(tmp_path):
    """An empty dataset is a mistake."""
    with pytest.raises(UserError, match="has no images"):
        _read(tmp_path, {**document(), "images": [], "annotations": []})
    with pytest.raises(UserError, match="has no categories"):
        _read(tmp_path, {**document(), "categories": [], "annotations": []})


def test_boxes_alone_are_refused(tmp_path):
    """A detection dataset has nothing to train a mask head with, however it says so."""
    content = document()
    for annotation, nothing in zip(content["annotations"], (None, [], [[1, 2, 3, 4]]), strict=True):
        annotation["segmentation"] = nothing

    with pytest.raises(UserError, match="has no masks: none of its 3 annotations has a segm"):
        _read(tmp_path, content)


def test_a_malformed_mask_is_named_with_its_annotation():
    """The message about a malformed mask names the annotation and the image."""
    annotation = {"id": 5, "image_id": 8, "segmentation": [[1, 2, 3, 4, 5, 6, 7]]}

    with pytest.raises(UserError, match=r"mask of annotation 5 \(image 8\) cannot be read: a poly"):
        coco_annotations.mask_of(annotation, 30, 40)

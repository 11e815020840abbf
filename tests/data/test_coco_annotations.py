"""COCO instances files are read, checked and completed."""

from __future__ import annotations

import json

import pytest

from deepmac_ablate import cli
from deepmac_ablate.data import coco_annotations
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from tests.helpers.data_fixtures import document, square, write


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
    content["annotations"].append(square(-1, 2, 2, 2, 5))
    assert [2, 3, 1] == [a["id"] for a in _read(tmp_path, content).document["annotations"]]


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
         "category number 0 has the id 9223372036854775808; it must fit into 64 bits"),
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
        ("annotations", {"area": float("nan")}, "annotation 11 has the area nan"),
        ("annotations", {"area": -1}, r"has the area -1; .* from 0 to 1e\+10"),
        ("annotations", {"bbox": [1, 2, True, 4]}, "annotation 11 has the bbox"),
        ("annotations", {"bbox": [1, 2, 1e300, 4]}, "at most 100000 outside the image of 40 x 30"),
        ("annotations", {"bbox": [10**400, 2, 3, 4]}, r"has the bbox \[10+\.\.\.; it must be"),
        ("annotations", {"segmentation": [[1, 2, 5e9, 2, 5, 9]]},
         r"instances\.json: the segmentation of annotation 11 .* corner at 5000000000\.0"),
        ("images", {"id": 2**64}, "image number 0 has the id 18446744073709551616; .* 64 bits"),
        ("images", {"id": 1.0}, r"has the id 1\.0; it must be an integer, such as 1 \(pandas"),
        ("images", {"id": "001"}, "has the id '001'; it must be an integer, not text; number"),
        ("images", {"width": 10**6, "height": 10**6}, "must have at most 2147483647 pixels"),
        ("annotations", {"id": 2**63}, "annotation number 0 has the id 9223372036854775808"),
        ("annotations", {"image_id": 1.0}, r"has the image_id 1\.0; it must be an integer, such"),
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

    with pytest.raises(UserError, match=r"has no masks: none of its 3 objects has a segmentation\. "
                       r"1 object has polygons of fewer than three corners \(a rectangle.*"
                       r"--boxes-only converts for them\."):
        _read(tmp_path, content)


def test_boxes_alone_are_converted_on_request(tmp_path, capsys):
    """For weak losses; the records have boxes, and trials without a weak loss refuse them."""
    content = document()
    for annotation in content["annotations"]:
        annotation["segmentation"] = []
    images, annotations = write(tmp_path, content)
    prefix = tmp_path / "train"
    assert 0 == cli.main([
        "data", "coco", "--images", str(images), "--annotations", str(annotations), "--output",
        str(prefix), "--boxes-only"])
    info = DatasetInfo.load(prefix)
    assert (3, 3, {}) == (info.num_instances, info.num_boxes_only, info.num_masks_by_class)
    with pytest.raises(UserError, match=r"selects no mask in the dataset train.*gin/weak_losses/"):
        info.check_masks(set(info.names), None)


@pytest.mark.parametrize(("fields", "message"), [
    ({"iscrowd": 1}, "has no objects: all of its 3 annotations are crowds, .* Set iscrowd to 0"),
    ({"bbox": [90, 9, 9, 9]}, "has no masks: it has no annotation whose box has an area inside"),
    ({"segmentation": [[0, 0, 0.5, 0, 1.0, 1]]}, "all polygons lie between 0 and 1"),
    ({"bbox": [0.2, 0.2, 0.5, 0.5]}, "all boxes lie between 0 and 1, .* multiply x by its width"),
])
def test_annotations_that_teach_nothing_are_refused(tmp_path, fields, message):
    """Crowds alone, boxes elsewhere and coordinates relative to the image are mistakes."""
    content = document()
    for annotation in content["annotations"]:
        annotation.update(fields)

    with pytest.raises(UserError, match=message):
        _read(tmp_path, content)


def test_an_annotation_outside_its_image_is_left_out_everywhere(tmp_path):
    """Evaluation must not count as missed what training never saw."""
    content = document()
    content["annotations"][1]["bbox"] = [41, 3, 5, 5]
    truth = _read(tmp_path, content)

    assert {coco_annotations.NO_BOX_AREA: 1} == truth.skipped
    assert [11, 13] == [annotation["id"] for annotation in truth.document["annotations"]]
    assert [] == truth.annotations.get(2, [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_is_no_content(tmp_path, encoding):
    """PowerShell and Notepad write marks and UTF-16."""
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document()), encoding=encoding)
    assert document() == coco_annotations.read_coco(path).document


@pytest.mark.parametrize(("content", "message"), [
    ("[" * 100_000, "nests lists or objects too deeply"),
    ("[" + "9" * 5000 + "]", "an integer of more than 4300 digits"),
])
def test_json_that_python_cannot_read_is_refused(tmp_path, content, message):
    """Valid JSON can still be beyond the library."""
    with pytest.raises(UserError, match=message):
        _read(tmp_path, content)


def test_images_of_lvis_are_named_by_their_url(tmp_path):
    """LVIS has no file names, and says where its classes are not annotated exhaustively."""
    content = document()
    for entry in content["images"]:
        entry["coco_url"] = f"http://example.org/val2017/{entry.pop('file_name')}"
    content["images"][0]["neg_category_ids"] = [3]
    truth = _read(tmp_path, content)

    assert ["val2017/1.png", "val2017/2.png", "val2017/3.png"] == [
        image["file_name"] for image in truth.document["images"]]
    assert {1, 2, 3} == truth.named_by_url
    [(note, count)] = truth.notes.items()
    assert ("LVIS" in note, count) == (True, 1)


def test_a_malformed_mask_is_named_with_its_annotation():
    """The message about a malformed mask names the annotation and the image."""
    annotation = {"id": 5, "image_id": 8, "segmentation": [[1, 2, 3, 4, 5, 6, 7]]}

    with pytest.raises(UserError, match=r"mask of annotation 5 \(image 8\) cannot be read: a poly"):
        coco_annotations.mask_of(annotation, 30, 40)

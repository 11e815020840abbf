"""The three formats of files of boxes, and errors in them."""

from __future__ import annotations

import json
import re

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.serving.box_file import FileBox, clip_boxes, read_boxes, read_image_ids

NAMES = ["a.jpg", "b/c.png"]
BOX = [1.0, 2.0, 3.0, 4.5]
COCO = {
    "images": [{"id": 70, "file_name": "a.jpg"}, {"id": 4, "file_name": "b/c.png"}],
    "annotations": [
        {"id": 1, "image_id": 70, "bbox": BOX, "category_id": 5},
        {"id": 2, "image_id": 70, "bbox": BOX, "category_id": 5, "iscrowd": 1},
        {"id": 3, "image_id": 4, "bbox": [0, 0, 9, 9], "category_id": 2},
    ],
    "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}],
}
LIST = [
    {"file_name": "a.jpg", "bbox": BOX, "category_id": 5, "score": 0.3},
    {"file_name": "b/c.png", "bbox": [0, 0, 9, 9]},
]
MAPPING = {"a.jpg": [BOX, {"bbox": [0, 0, 9, 9], "category_id": 2}], "b/c.png": []}


def read(tmp_path, content, names=NAMES):
    path = tmp_path / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_boxes(path, names)


def test_coco_instances_bring_classes_and_ids(tmp_path):
    """COCO instances give image ids and class names, and crowds are ignored."""
    boxes = read(tmp_path, COCO)
    assert {"a.jpg": [FileBox(BOX, 5)], "b/c.png": [FileBox([0, 0, 9, 9], 2)]} == boxes.by_name
    assert {"a.jpg": (70, None), "b/c.png": (4, None)} == boxes.listed
    assert {5: "cat", 2: "dog"} == boxes.class_names
    assert [] == boxes.problems


def test_ids_and_sizes_of_images_are_read(tmp_path):
    """A list of images is enough for ids; a size of 0 is an unknown one."""
    path = tmp_path / "ann.json"
    images = [{"id": 7, "file_name": "a.jpg", "width": 9, "height": 5},
              {"id": 9, "file_name": "b.jpg", "width": 0, "height": 0}]
    path.write_text(json.dumps({"images": images}))
    assert {"a.jpg": (7, (9, 5)), "b.jpg": (9, None)} == (
        read_image_ids(path, ["a.jpg", "b.jpg"]).listed)
    some = read_image_ids(path, ["a.jpg", "c.jpg"])
    assert [f"1 image is not listed in {path} and skipped; the first is 'c.jpg'."] == some.problems
    with pytest.raises(UserError, match=r"lists none of the images; .* 'a.jpeg'\. Did you mean 'a"):
        read_image_ids(path, ["a.jpeg"])
    entries = [{**LIST[0], "image_id": 70}, LIST[1]]
    assert {"a.jpg": (70, None)} == read(tmp_path, entries).listed
    for content, message in (
            ([], r".* must be a COCO file with a list 'images'\."),
            ({"annotations": []}, r".* has no list 'images' of objects with 'id' and .*"),
            ({"images": [{"id": "x", "file_name": "a.jpg"}]},
             r".*: image 'a\.jpg' has the id 'x'; it must be an integer\.")):
        path.write_text(json.dumps(content))
        with pytest.raises(UserError) as raised:
            read_image_ids(path, NAMES)
        assert re.fullmatch(message, str(raised.value)), raised.value


def test_a_list_names_the_file_of_each_box(tmp_path):
    """Other fields of an entry are ignored, so predictions.json can be used."""
    boxes = read(tmp_path, LIST)
    assert {"a.jpg": [FileBox(BOX, 5)], "b/c.png": [FileBox([0, 0, 9, 9], None)]} == boxes.by_name


def test_boxes_by_file(tmp_path):
    """Boxes are lists of numbers, or objects that also have a class."""
    boxes = read(tmp_path, MAPPING)
    assert {"a.jpg": [FileBox(BOX, None), FileBox([0, 0, 9, 9], 2)]} == boxes.by_name


def test_files_that_are_not_there_are_one_sentence_together(tmp_path):
    """Boxes of missing images are reported together, with a suggestion for the first."""
    boxes = read(tmp_path, {**MAPPING, "b/c.pgn": [BOX], "d.jpg": [BOX, BOX]})
    assert ["a.jpg"] == list(boxes.by_name)
    [problem] = boxes.problems
    assert re.fullmatch(
        r".*boxes\.json has boxes for 2 files that are not among the images; the first is "
        r"'b/c\.pgn'\. Did you mean 'b/c\.png'\?", problem)


def test_names_of_another_system_are_found_and_told(tmp_path):
    """Backslashes, other capitals and the folder of the images are no other file."""
    path = tmp_path / "boxes.json"
    path.write_text(
        json.dumps({"photos\\A.jpg": [BOX], "b\\c.png": [BOX]}), encoding="utf-8-sig")
    boxes = read_boxes(path, NAMES, "photos")
    assert {"a.jpg", "b/c.png"} == set(boxes.by_name)
    assert [
        f"{path}: file names with backslashes, read as slashes: 2",
        f"{path}: file names that begin with the images folder, read without it: 1",
        f"{path}: file names in other capitals than on disk: 1"] == boxes.notes
    windows = json.loads(json.dumps(COCO).replace("b/c", "b\\\\c"))
    listed = read(tmp_path, windows).listed
    assert {"a.jpg": 70, "b/c.png": 4} == {name: image.image_id for name, image in listed.items()}


@pytest.mark.parametrize(("content", "message"), [
    ({"a.jpg": [[0, 0, 1e300, 9]]}, r".* has the bbox \[0, 0, 1e\+300, 9\]; it must be .*"),
    ({"a.jpg": [[0, 0, 10**400, 9]]}, r".*: box 0 of 'a\.jpg' has the bbox .*"),
    ("{", r".*boxes\.json is not valid JSON: line 1, column 2: .*"),
    ("3", r".*boxes\.json has no boxes but 3; it must have COCO instances, .*"),
    ({"annotations": []}, r".* has no list 'images' .*"),
    ({"annotations": [], "images": []}, r".* has no list 'categories' .*"),
    ({"images": [], "categories": [], "annotations": {}},
     r".*: annotations must be a list, not a dict\."),
    ({"images": [], "categories": [], "annotations": [{"image_id": 3}]},
     r".*: annotation number 0 refers to image 3, which the file does not list\."),
    ([BOX], r".*: entry number 0 must be an object, not a list\."),
    ([{"filename": "a.jpg", "bbox": BOX}],
     r".*: entry number 0 has no 'file_name'\. Did you mean 'filename'\?"),
    ([{"file_name": "a.jpg"}], r".*: entry number 0 has the bbox None; it must be \[x, y, .*"),
    ({"a.jpg": {"bbox": BOX}}, r".*: the value of 'a\.jpg' must be a list of boxes, not a dict\."),
    ({"a.jpg": [BOX, BOX[:3]]}, r".*: box 1 of 'a\.jpg' has the bbox \[1\.0, 2\.0, 3\.0\]; .*"),
    ({"a.jpg": [[0, 0, "9", 9]]}, r".*: box 0 of 'a\.jpg' has the bbox .*"),
    ('{"a.jpg": [[0, 0, NaN, 9]]}', r".*: box 0 of 'a\.jpg' has the bbox .*"),
    ({"a.jpg": [{"bbox": BOX, "category_id": "1"}]},
     r".* has the category_id '1'; it must be an integer\."),
    ({"a.jpg": []}, r".* has no boxes\."),
    ({"a.jpeg": [BOX]}, r".* has boxes for 1 file, none of which is among the images; the first is "
                        r"'a\.jpeg'\. Did you mean 'a\.jpg'\?"),
])
def test_a_wrong_file_is_one_sentence(tmp_path, content, message):
    """An error names the problem and its place."""
    with pytest.raises(UserError) as raised:
        read(tmp_path, content)
    assert re.fullmatch(message, str(raised.value)), raised.value


def test_a_file_that_is_not_there(tmp_path):
    """A missing file and a folder are errors."""
    with pytest.raises(UserError, match=r"The file of boxes .*/x\.json does not exist\."):
        read_boxes(tmp_path / "x.json", NAMES)
    with pytest.raises(UserError, match="is a folder; pass a JSON file of boxes"):
        read_boxes(tmp_path, NAMES)


def test_boxes_are_cut_to_the_picture(tmp_path):
    """Boxes are clipped to the image, and those without area are reported."""
    boxes = [
        FileBox([-5.0, 2.0, 10.0, 4.0], 3), FileBox([90.0, 40.0, 20.0, 20.0], None),
        FileBox([100.0, 0.0, 5.0, 5.0], None), FileBox([3.0, 3.0, 0.0, 5.0], None),
        FileBox([3.0, 3.0, 5.0, -5.0], None)]
    clipped = clip_boxes(boxes, "a.jpg", 50, 100)
    assert [FileBox([0.0, 2.0, 5.0, 4.0], 3),
            FileBox([90.0, 40.0, 10.0, 10.0], None)] == clipped.boxes
    outside, *empty = clipped.problems
    assert outside == ("a.jpg: the box [100.0, 0.0, 5.0, 5.0] lies outside the image of 100 x 50 "
                       "pixels and is skipped.")
    assert empty == [
        f"a.jpg: the box {bbox} has no area and is skipped."
        for bbox in ([3.0, 3.0, 0.0, 5.0], [3.0, 3.0, 5.0, -5.0])]

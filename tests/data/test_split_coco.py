"""Random parts of a COCO instances file."""

from __future__ import annotations

import json
import re

import pytest
from pycocotools.coco import COCO

from deepmac_ablate import cli
from deepmac_ablate.data.coco_annotations import read_coco
from deepmac_ablate.data.split_coco import split_annotations
from deepmac_ablate.errors import UserError


def write(path, images=20, classes=3):
    """Two objects on each image; the last class is on the first image only."""
    entries = [
        {"id": 2 * image + number + 1, "image_id": image,
         "category_id": classes if image == 1 and number else number % (classes - 1) + 1,
         "bbox": [2, 2, 8, 8], "area": 64, "iscrowd": 0,
         "segmentation": [[2, 2, 10, 2, 10, 10, 2, 10]], "note": "kept"}
        for image in range(1, images + 1) for number in range(2)]
    path.write_text(json.dumps({
        "info": {"year": 2026}, "annotations": entries,
        "images": [{"id": image, "file_name": f"{image}.png", "height": 16, "width": 16}
                   for image in range(1, images + 1)],
        "categories": [{"id": number, "name": f"class{number}"}
                       for number in range(1, classes + 1)]}))
    return path


def test_each_image_is_in_one_part_with_its_annotations(tmp_path):
    """As pycocotools reads the files; entries are copied with all their fields."""
    source = write(tmp_path / "all.json")
    lines = split_annotations(source, tmp_path / "parts", 0.25)
    parts = {part: COCO(tmp_path / "parts" / f"{part}.json") for part in ("train", "val")}
    assert {"train": 15, "val": 5} == {part: len(coco.imgs) for part, coco in parts.items()}
    images = [set(coco.imgs) for coco in parts.values()]
    assert set(range(1, 21)) == images[0] | images[1]
    assert set() == images[0] & images[1]
    original = {entry["id"]: entry for entry in json.loads(source.read_text())["annotations"]}
    copied = {key: entry for coco in parts.values() for key, entry in coco.anns.items()}
    assert original == copied
    for coco in parts.values():
        assert 3 == len(coco.cats)
        assert {entry["image_id"] for entry in coco.anns.values()} == set(coco.imgs)
    assert "  without an annotation of: class3" in lines
    assert 20 == len(read_coco(source).images)


def test_the_draw_depends_on_the_seed_and_on_nothing_else(tmp_path):
    """Other seeds draw other images; the order of the file does not matter."""
    source = write(tmp_path / "all.json")
    document = json.loads(source.read_text())
    document["images"].reverse()
    (tmp_path / "reversed.json").write_text(json.dumps(document))

    def drawn(path, seed):
        folder = tmp_path / f"{path.stem}-{seed}"
        split_annotations(path, folder, 0.25, seed)
        return {image["id"] for image in json.loads((folder / "val.json").read_text())["images"]}

    assert drawn(source, 0) == drawn(tmp_path / "reversed.json", 0)
    assert 3 == len({frozenset(drawn(source, seed)) for seed in (1, 2, 3)})


@pytest.mark.parametrize(("share", "message"), [
    ("0", "The share of the images must be between 0 and 1, got 0."),
    ("1.5", "The share of the images must be between 0 and 1, got 1.5."),
    ("0.01", "0.01 of 20 images leaves no image in one of the two parts; "),
])
def test_a_part_without_images_is_refused(tmp_path, capsys, share, message):
    """Nothing is written."""
    source = write(tmp_path / "all.json")
    words = ["data", "split", "--annotations", str(source), "--output", str(tmp_path / "parts")]
    assert 2 == cli.main([*words, "--share", share])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "parts").exists()


def test_files_are_not_replaced(tmp_path):
    """The second run names the file that is there."""
    source = write(tmp_path / "all.json")
    split_annotations(source, tmp_path, 0.5)
    with pytest.raises(UserError, match=re.escape("train.json already exists")):
        split_annotations(source, tmp_path, 0.5)

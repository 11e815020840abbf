"""Predictions on image files equal those of an evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from deepmac_ablate import cli
from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.training.session import prepare_model
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_tensorflow")]
op_by_op = pytest.mark.usefixtures("op_by_op")


# Written beside the drawings.
TABLES = {"drawings.json", "images.json", "predictions.json"}


class Val(NamedTuple):
    """Evaluated images as files, with the predictions of the evaluation."""

    folder: Path
    annotations: Path
    detections: list[dict]
    in_boxes: list[dict]


@pytest.fixture
def val(finished, tmp_path):
    prefix = finished.recipe.data / "val"
    prepared = prepare_model(finished.trial)
    restore_latest(prepared, finished.workdir)
    numbers = prepared.evaluation.evaluate(prepared.model, prepared.strategy, None)
    annotations = Path(annotations_path(prefix))
    images = json.loads(annotations.read_text())["images"]
    names = {image["id"]: image["file_name"] for image in images}
    (tmp_path / "val").mkdir()
    for image_id, pixels in prepared.evaluation.data.images(list(names)):
        Image.fromarray(pixels).save(tmp_path / "val" / names[image_id])
    return Val(tmp_path / "val", annotations, numbers.predictions["detections"],
               numbers.predictions["groundtruth"])


def predict(workdir, *options):
    return cli.main(["predict", "--workdir", str(workdir), *map(str, options)])


def read(folder):
    return json.loads((folder / "predictions.json").read_text())


def by_image(results):
    """Return results by image, sorted by box, as batches may order equal scores differently."""
    return sorted(results, key=lambda r: (r["image_id"], r["category_id"], *np.round(r["bbox"], 2)))


def assert_same(expected, actual):
    assert len(expected) == len(actual) > 0
    for one, other in zip(by_image(expected), by_image(actual), strict=True):
        assert one["category_id"] == other["category_id"]
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=1e-3)
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        masks = [rle.decode(r["segmentation"]) for r in (one, other)]
        assert masks[0].shape == masks[1].shape
        assert np.mean(masks[0] != masks[1]) < 1e-3


def test_detections_are_those_of_evaluation(finished, val, tmp_path, capsys, monkeypatch):
    """Results equal those of the evaluation, with one trace and one drawing per image.

    With the ids of the annotations, pycocotools reads and evaluates them.
    """
    traces = []
    features = MaskRCNN.features
    monkeypatch.setattr(
        MaskRCNN, "features", lambda *args, **kw: traces.append(1) or features(*args, **kw))
    status = predict(
        finished.workdir.path, "--images", val.folder, "--output", tmp_path / "o", "--batch_size",
        2, "--min_score", 0, "--image-ids", val.annotations)
    # Once for the variables, and once for seven pictures in four batches.
    assert (0, 2) == (status, len(traces))
    printed = capsys.readouterr().out
    results = read(tmp_path / "o")
    listed = json.loads(val.annotations.read_text())["images"]
    assert_same(val.detections, results)
    fields = ("id", "file_name", "width", "height")
    written = json.loads((tmp_path / "o" / "images.json").read_text())
    assert sorted(tuple(image[field] for field in fields) for image in listed) == sorted(
        tuple(image[field] for field in fields) for image in written)
    truth = COCO(val.annotations)
    for kind in ("bbox", "segm"):
        scored = COCOeval(truth, truth.loadRes(str(tmp_path / "o" / "predictions.json")), kind)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
        assert 0 <= scored.stats[0] <= 1
    scores = [r["score"] for r in results if r["image_id"] == results[0]["image_id"]]
    assert sorted(scores, reverse=True) == scores
    drawn = {path.name for path in (tmp_path / "o").iterdir()} - TABLES
    assert {Path(image["file_name"]).stem + ".jpg" for image in listed} == drawn
    # disc, crescent, triangle, hexagon, star, arrow
    seen = sum(r["category_id"] in (1, 3, 5, 7, 9, 11) for r in results)
    assert [
        f"{tmp_path}/o: 7 of 7 images, drawn with {len(results)} masks that score at least 0 "
        f"({seen} of seen classes, {len(results) - seen} of novel ones)",
        f"{tmp_path}/o/predictions.json: {len(results)} masks",
    ] == printed.splitlines()


@op_by_op
def test_an_output_has_the_pictures_of_one_run(finished, odd, tmp_path, capsys):
    """Those of an earlier run are deleted, even of an image that cannot be read any more."""
    options = ("--images", odd, "--output", tmp_path / "o", "--min-score", 1)
    assert 1 == predict(finished.workdir.path, *options)
    printed = capsys.readouterr().out
    results = read(tmp_path / "o")
    best = max(results, key=lambda result: result["score"])
    assert (
        f"drawn with 0 masks that score at least 1; the best score is {best['score']:.2g}, in "
        f"{best['file_name']}") in printed
    (tmp_path / "o" / "notes.txt").write_text("mine")
    (odd / "clear.png").write_bytes(b"broken")
    (odd / "grey.png").unlink()
    assert 1 == predict(finished.workdir.path, *options)
    assert "1 picture of an earlier run was deleted" in capsys.readouterr().out
    assert {"turned.jpg", "wide.jpg", "notes.txt", *TABLES} == {
        path.name for path in (tmp_path / "o").iterdir()}


@op_by_op
@pytest.mark.extended
def test_masks_in_given_boxes_are_those_of_evaluation(finished, val, tmp_path):
    """Masks in given boxes equal those of the evaluation, also from predictions.json."""
    boxes = val.annotations
    for output in (tmp_path / "once", tmp_path / "again"):
        assert 0 == predict(
            finished.workdir.path, "--images", val.folder, "--boxes", boxes, "--output", output)
        assert_same(val.in_boxes, read(output))
        boxes = output / "predictions.json"


@pytest.fixture
def odd(tmp_path):
    """Images of several formats, two of them broken."""
    folder = tmp_path / "odd"
    folder.mkdir()
    noise = Image.effect_noise((40, 90), 60)
    noise.save(folder / "grey.png")
    noise.resize((2000, 300)).convert("CMYK").save(folder / "wide.jpg")
    noise.convert("RGBA").save(folder / "clear.png")
    exif = Image.Exif()
    exif[274] = 6
    noise.convert("RGB").save(folder / "turned.jpg", exif=exif)
    noise.save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:500])
    (folder / "text.jpg").write_text("no picture")
    return folder


@op_by_op
def test_odd_pictures_and_boxes(finished, odd, tmp_path, capsys):
    """Broken images and unusable boxes are reported and skipped."""
    boxes = {
        "grey.png": [[0, 0, 40, 90], [50, 0, 9, 9], [0, 0, 0, 9]],
        "wide.jpg": [[1000, 100, 5000, 100]], "turned.jpg": [{"bbox": [0, 0, 80, 30]}],
        "cut.png": [[0, 0, 9, 9]], "gone.png": [[0, 0, 9, 9]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    status = predict(
        finished.workdir.path, "--images", odd, "--boxes", tmp_path / "boxes.json",
        "--output", tmp_path / "o")
    assert 1 == status
    results = read(tmp_path / "o")
    # [height, width], upright; a box that overruns is cut.
    assert {
        "grey.png": ([90, 40], [0, 0, 40, 90]),
        "wide.jpg": ([300, 2000], [1000, 100, 1000, 100]),
        "turned.jpg": ([40, 90], [0, 0, 80, 30]),
    } == {r["file_name"]: (r["segmentation"]["size"], r["bbox"]) for r in results}
    assert {1.0} == {r["score"] for r in results}
    assert not any("category_id" in r for r in results)
    with Image.open(tmp_path / "o" / "turned.jpg") as drawn:
        assert drawn.width > drawn.height
    said = [line for line in capsys.readouterr().err.splitlines()
            if line.startswith("deepmac-ablate: ")]
    assert 4 == len(said), said
    for message in (
            r"boxes for 1 file that is not among the images; the first is 'gone\.png'\.",
            r"grey\.png: the box \[50\.0, 0\.0, 9\.0, 9\.0\] lies outside the image of 40 x 90",
            r"grey\.png: the box \[0\.0, 0\.0, 0\.0, 9\.0\] has no area and is skipped\.",
            r"cut\.png cannot be read: .*; it is skipped\."):
        assert any(re.search(message, line) for line in said), (message, said)


@op_by_op
def test_ids_and_orientation_follow_the_annotations(finished, odd, tmp_path, capsys):
    """Listed images keep their ids, also beside broken ones, and are turned as they were annotated.

    Without ids, images are numbered from 1, and a broken one keeps its number.
    """
    for name in (".DS_Store", "._grey.png", "photo.heic"):
        (odd / name).write_bytes(b"\x00\x05\x16\x07")
    # Stored with 40 x 90 pixels, upright 90 x 40: annotated as it is stored.
    coco = {
        "images": [
            {"id": 20, "file_name": "turned.jpg", "width": 40, "height": 90},
            {"id": 7, "file_name": "cut.png", "width": 40, "height": 90},
            {"id": 9, "file_name": "grey.png", "width": 40, "height": 90},
            {"id": 3, "file_name": "clear.png", "width": 41, "height": 90}],
        "annotations": [
            {"id": i, "image_id": i, "bbox": [0, 10, 30, 70], "category_id": 1}
            for i in (3, 7, 9, 20)],
        "categories": [{"id": 1, "name": "disc"}]}
    (tmp_path / "ann.json").write_text(json.dumps(coco))
    assert 1 == predict(
        finished.workdir.path, "--images", odd, "--boxes", tmp_path / "ann.json",
        "--output", tmp_path / "o")
    assert {20: [90, 40], 9: [90, 40]} == {
        r["image_id"]: r["segmentation"]["size"] for r in read(tmp_path / "o")}
    printed = capsys.readouterr()
    assert "left unturned despite their EXIF orientation, as their annotations fit them so: 1" in (
        printed.out)
    for message in (
            "1 hidden file is skipped, such as .*_grey\\.png\\.",
            "1 image is skipped because of the format, such as .*photo\\.heic;",
            "clear\\.png is 40 x 90 pixels, but its annotations say 41 x 90; it is skipped"):
        assert re.search(message, printed.err), printed.err

    boxes = {name: [[0, 0, 20, 20]] for name in ("cut.png", "grey.png", "turned.jpg")}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    predict(finished.workdir.path, "--images", odd, "--boxes", tmp_path / "boxes.json",
            "--output", tmp_path / "p")
    assert [
        {"id": 2, "file_name": "grey.png", "width": 40, "height": 90},
        {"id": 3, "file_name": "turned.jpg", "width": 90, "height": 40},
    ] == json.loads((tmp_path / "p" / "images.json").read_text())


@op_by_op
@pytest.mark.extended
def test_a_picture_that_cannot_be_read_costs_no_other(finished, odd, tmp_path, capsys):
    """A broken image does not affect the others, and the limit counts it."""
    assert 1 == predict(
        finished.workdir.path, "--images", odd, "--output", tmp_path / "o", "--batch_size", 1)
    assert {"clear.jpg", "grey.jpg", "turned.jpg", "wide.jpg", *TABLES} == {
        path.name for path in (tmp_path / "o").iterdir()}
    assert "4 of 6 images" in capsys.readouterr().out
    assert 0 == predict(
        finished.workdir.path, "--images", odd / "grey.png", odd / "text.jpg", "--limit", 1,
        "--output", tmp_path / "p", "--min_score", 1)
    assert {"grey.jpg", *TABLES} == {path.name for path in (tmp_path / "p").iterdir()}
    printed = capsys.readouterr().out
    assert "1 of 1 image, drawn with 0 masks that score at least 1; the best" in printed


@op_by_op
@pytest.mark.parametrize(("options", "message"), [
    (["--images", "{odd}", "--min_score", "30"], r"--min-score must be from 0 to 1, got 30\."),
    (["--images", "{odd}x"], r"The file or folder .*oddx does not exist\. Did you mean 'odd'\?"),
    (["--images", "{odd}", "--boxes", "{odd}/b.json"], r"The file of boxes .* does not exist\."),
    (["--images", "{odd}", "--output", "{odd}/o"], r"The output .*/o lies among the images .*"),
    (["--images", "{odd}", "--workdir", "{odd}"], r"There is no trial in .*: trial\.json is .*"),
])
def test_a_mistake_is_one_sentence(finished, odd, tmp_path, capsys, options, message):
    """A wrong option is an error, and nothing is written."""
    options = [option.format(odd=odd) for option in options]
    assert 2 == predict(finished.workdir.path, "--output", tmp_path / "o", *options)
    said = capsys.readouterr().err.splitlines()[-1].removeprefix("deepmac-ablate: ")
    assert re.fullmatch(message, said), said
    assert not (tmp_path / "o").exists()
    assert not (odd / "o").exists()


@op_by_op
def test_other_names_of_classes_are_told(finished, odd, tmp_path, capsys):
    """A head that knows no classes segments any object, and the names of the file are drawn."""
    (tmp_path / "boxes.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "grey.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 90]}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}))
    assert 0 == predict(
        finished.workdir.path, "--images", odd, "--boxes", tmp_path / "boxes.json",
        "--output", tmp_path / "o")
    assert [1] == [result["category_id"] for result in read(tmp_path / "o")]
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == (
        "class 1 is 'disc' in the trial but 'cat' in the file of boxes: the names of the file of "
        "boxes are used.")


@op_by_op
@pytest.mark.extended
def test_a_class_specific_head_needs_classes(tiny_recipe, odd, tmp_path, capsys):
    """Boxes for a class-specific mask head need a known class."""
    workdir = TrialWorkdir(tmp_path / "w")
    run_trial(
        tiny_recipe.trial("ConvMaskHead.class_agnostic = False", "STEPS = 1"), workdir, "train")
    statuses, masks = [], []
    for class_id in (None, 13, 1, 2):
        box = {"bbox": [0, 0, 40, 90], "category_id": class_id}
        (tmp_path / "boxes.json").write_text(json.dumps({"grey.png": [box]}))
        output = tmp_path / f"o{class_id}"
        statuses.append(predict(
            workdir.path, "--images", odd, "--boxes", tmp_path / "boxes.json", "--output", output))
        masks += [result["segmentation"] for result in (read(output) if output.exists() else [])]
    assert [2, 2, 0, 0] == statuses
    assert masks[0] != masks[1]
    said = capsys.readouterr().err
    for class_id in (None, 13):
        assert re.search(
            r"every box needs a category_id from 1 to 12; the box \[0\.0, 0\.0, 40\.0, 90\.0\] of "
            rf"grey\.png has {class_id}\.", said)
    (tmp_path / "boxes.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "grey.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 90]}],
        "categories": [{"id": 1, "name": "cat"}]}))
    assert 2 == predict(workdir.path, "--images", odd, "--boxes", tmp_path / "boxes.json")
    said = capsys.readouterr().err
    assert "class 1 is 'disc' in the trial but 'cat' in the file of boxes" in said

"""COCO datasets become records that Model Garden reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from official.vision.data import create_coco_tf_record
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder
from PIL import Image
from pycocotools.coco import COCO

from deepmac_ablate.data import coco_annotations, convert_coco, dataset_info, masks
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from tests.helpers import coco_tiny
from tests.helpers.data_fixtures import document, square, write


def _decoded(prefix):
    """The records of a dataset as training reads them, by image id."""
    files = [str(path) for path in DatasetInfo.load(prefix).record_files(prefix)]
    decoder = TfExampleDecoder(include_mask=True)
    records = tf.data.TFRecordDataset(files).map(decoder.decode).as_numpy_iterator()
    return {int(record["source_id"]): record for record in records}


def _serialized(prefix):
    files = [str(path) for path in DatasetInfo.load(prefix).record_files(prefix)]
    return {
        int(example.features.feature["image/source_id"].bytes_list.value[0]): example
        for raw in tf.data.TFRecordDataset(files).as_numpy_iterator()
        for example in [tf.train.Example.FromString(raw)]
    }


def _convert(folder, content, prefix="out/train", **options):
    images, annotations = write(folder, content)
    return convert_coco.convert_dataset(images, annotations, folder / prefix, **options)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The COCO subset, converted."""
    prefix = tmp_path_factory.mktemp("tiny") / "all"
    annotations = coco_tiny.root() / "annotations/instances.json"
    return prefix, convert_coco.convert_dataset(
        coco_tiny.root() / "images", annotations, prefix, num_shards=3)


@pytest.mark.slow
def test_coco_comes_back_as_pycocotools_reads_it(tiny):
    """Every mask pixel by pixel, every box, class and crowd flag of 156 COCO images."""
    prefix, summary = tiny
    truth = COCO(coco_tiny.root() / "annotations/instances.json")
    records = _decoded(prefix)

    assert (156, 1463, 17) == (
        summary.info.num_images,
        summary.info.num_instances,
        summary.info.num_crowds,
    )
    assert {} == summary.skipped
    assert set(truth.imgs) == set(records)
    for image_id, record in records.items():
        entry, annotations = truth.imgs[image_id], truth.imgToAnns[image_id]
        size = np.array([entry["height"], entry["width"]])
        assert (*size, 3) == record["image"].shape
        assert [a["category_id"] for a in annotations] == record["groundtruth_classes"].tolist()
        assert [a["iscrowd"] for a in annotations] == record["groundtruth_is_crowd"].tolist()
        boxes = np.reshape([a["bbox"] for a in annotations], (-1, 4))
        corners = np.stack(
            [boxes[:, 1], boxes[:, 0], boxes[:, 1] + boxes[:, 3], boxes[:, 0] + boxes[:, 2]], -1
        )
        np.testing.assert_allclose(
            corners, record["groundtruth_boxes"] * np.tile(size, 2), rtol=0, atol=1e-4
        )
        for annotation, mask in zip(
            annotations, record["groundtruth_instance_masks"], strict=True
        ):
            np.testing.assert_array_equal(truth.annToMask(annotation), mask)


@pytest.mark.slow
def test_records_equal_upstreams(tiny):
    """Feature by feature what Model Garden's own converter writes, masks by their pixels.

    It is sound for polygons without and run lengths with a crowd flag, which is all of COCO.
    """
    prefix, _ = tiny
    truth = COCO(coco_tiny.root() / "annotations/instances.json")
    names = {category["id"]: category["name"] for category in truth.cats.values()}
    records = _serialized(prefix)
    with_crowd = [a["image_id"] for a in truth.anns.values() if a["iscrowd"]]
    for image_id in {*with_crowd[:5], *list(truth.imgs)[:25]}:
        upstream, num_skipped = create_coco_tf_record.create_tf_example(
            truth.imgs[image_id],
            [str(coco_tiny.root() / "images")],
            bbox_annotations=truth.imgToAnns[image_id],
            id_to_name_map=names,
            include_masks=True,
        )
        assert num_skipped == 0
        expected = dict(upstream.features.feature)
        actual = dict(records[image_id].features.feature)
        assert set(expected) == set(actual)
        for png, other in zip(
            expected.pop("image/object/mask").bytes_list.value,
            actual.pop("image/object/mask").bytes_list.value,
            strict=True,
        ):
            np.testing.assert_array_equal(tf.io.decode_png(png), tf.io.decode_png(other))
        assert expected == actual


@pytest.mark.slow
def test_the_annotations_of_evaluation_are_the_sources(tiny):
    """Evaluation sees what COCO says, not what the records hold."""
    prefix, _ = tiny
    expected = json.loads((coco_tiny.root() / "annotations/instances.json").read_text())

    assert expected == json.loads(dataset_info.annotations_path(prefix).read_text())


@pytest.mark.slow
def test_processes_and_shards_leave_the_content_alone(tiny, tmp_path):
    """Two processes and another number of shards: the same fingerprint, the same records."""
    prefix, summary = tiny
    other = convert_coco.convert_dataset(
        coco_tiny.root() / "images",
        coco_tiny.root() / "annotations/instances.json",
        tmp_path / "other",
        num_shards=7,
        num_processes=2,
    )

    assert summary.info.fingerprint == other.info.fingerprint
    assert _serialized(prefix) == _serialized(tmp_path / "other")


def test_a_dataset_of_own_classes(tmp_path):
    """The documented example: ids 3 and 7, three images with one square each."""
    summary = _convert(tmp_path, document())
    record = _decoded(tmp_path / "out/train")[2]

    assert summary.info == DatasetInfo.load(tmp_path / "out/train")
    assert ("train", 3, 3, 0, 1) == (
        summary.info.name,
        summary.info.num_images,
        summary.info.num_instances,
        summary.info.num_crowds,
        summary.info.num_shards,
    )
    expected = np.zeros((30, 40))
    expected[4:14, 7:17] = 1
    np.testing.assert_array_equal(expected, record["groundtruth_instance_masks"][0])
    np.testing.assert_allclose(
        [[4 / 30, 7 / 40, 14 / 30, 17 / 40]], record["groundtruth_boxes"], rtol=1e-6
    )
    assert [3] == record["groundtruth_classes"].tolist()
    assert [100.0] == record["groundtruth_area"].tolist()


def test_crowds_and_every_way_to_write_a_mask(tmp_path):
    """Polygons with a crowd flag and run lengths without one, where upstream fails."""
    content = document(1)
    runs = [35 * 4 + 2, 2, 28, 2, 1200 - 35 * 4 - 34]
    packed = masks.encode_runs(np.eye(30, 40, dtype=np.uint8))
    content["annotations"] = [
        square(1, 1, 4, 4, 6, iscrowd=1),
        square(2, 1, 4, 4, 2, segmentation={"size": [30, 40], "counts": runs}),
        square(3, 1, 4, 4, 2, segmentation={"size": [30, 40], "counts": runs}, iscrowd=1),
        square(4, 1, 4, 4, 2, segmentation=packed),
    ]
    summary = _convert(tmp_path, content)
    record = _decoded(tmp_path / "out/train")[1]

    assert (2, 2) == (summary.info.num_instances, summary.info.num_crowds)
    assert [True, False, True, False] == record["groundtruth_is_crowd"].tolist()
    truth = COCO(dataset_info.annotations_path(tmp_path / "out/train"))
    for annotation, mask in zip(
        truth.imgToAnns[1], record["groundtruth_instance_masks"], strict=True
    ):
        np.testing.assert_array_equal(truth.annToMask(annotation), mask)


def test_boxes_are_clipped_and_empty_ones_counted(tmp_path):
    """A box that overruns its image by rounding is kept, silently; by more, it is reported."""
    content = document(1)
    content["annotations"] = [
        square(1, 1, 10, 10, 4, bbox=[30.000000001, 10, 10, 10]),
        square(2, 1, 10, 10, 4, bbox=[-2, 10, 45, 10]),
        square(3, 1, 10, 10, 4, bbox=[41, 10, 5, 5]),
        square(4, 1, 10, 10, 4, bbox=[10, 10, 0, 5]),
        square(5, 1, 10, 10, 4, bbox=[10, 10, 5, -5]),
    ]
    summary = _convert(tmp_path, content)
    boxes = _decoded(tmp_path / "out/train")[1]["groundtruth_boxes"] * [30, 40, 30, 40]

    np.testing.assert_allclose([[10, 30, 20, 40], [10, 0, 20, 40]], boxes, atol=1e-4)
    assert {coco_annotations.NO_BOX_AREA: 3} == summary.skipped
    assert summary.num_clipped == 1
    text = "\n".join(summary.lines())
    assert "1 image, 2 instances and 0 crowds of 2 categories in 1 shard." in text
    assert "annotations skipped, box without area inside the image: 3" in text
    assert "boxes clipped to their image: 1" in text
    truth = COCO(dataset_info.annotations_path(tmp_path / "out/train"))
    assert {1, 2} == set(truth.anns)


def test_boxes_without_masks_stay_and_are_counted(tmp_path):
    """Objects without masks are kept, because they train the detector."""
    content = document(1)
    bare = square(2, 1, 12, 10, 4, category_id=7)
    del bare["segmentation"]
    content["annotations"] = [
        square(1, 1, 4, 4, 6),
        bare,
        square(3, 1, 20, 10, 5, segmentation=None),
        square(4, 1, 30, 10, 6, segmentation=[]),
        square(5, 1, 50, 50, 4, bbox=[10, 10, 5, 5]),
        square(6, 1, 2, 20, 9, segmentation=[], iscrowd=1),
    ]
    summary = _convert(tmp_path, content)
    record = _decoded(tmp_path / "out/train")[1]

    boxes = record["groundtruth_boxes"] * [30, 40, 30, 40]
    expected = [[4, 4, 10, 10], [10, 12, 14, 16], [10, 20, 15, 25], [10, 30, 16, 36]]
    np.testing.assert_allclose(expected, boxes[:4], atol=1e-4)
    assert [3, 7, 3, 3, 3, 3] == record["groundtruth_classes"].tolist()
    areas = record["groundtruth_instance_masks"].sum(axis=(1, 2))
    assert [36, 0, 0, 0, 0, 0] == areas.tolist()
    assert {} == summary.skipped
    info = DatasetInfo.load(tmp_path / "out/train")
    assert (5, 1, 4) == (info.num_instances, info.num_crowds, info.num_boxes_only)
    assert {3: 1} == info.num_masks_by_class
    assert [
        "  objects with a box but no mask, segmentation missing: 3",
        "  objects with a box but no mask, segmentation encloses no pixel: 1",
    ] == summary.lines()[1:]


def test_what_is_read_otherwise_is_counted(tmp_path):
    """Each kind has a line: names, notations, and masks and areas that look wrong."""
    content = document(1)
    corners = [[4, 4], [9, 4], [9, 9]]
    content["annotations"] = [
        square(1, 1, 4, 4, 6, segmentation=corners),
        square(2, 1, 4, 4, 6, segmentation=[[4, 4, 9, 9]]),
        square(3, 1, 4, 4, 6, bbox=[20, 20, 5, 5], area=0),
    ]
    images, annotations = write(tmp_path, content)
    content["images"][0]["file_name"] = "images\\1.png"
    annotations.write_text(json.dumps(content))
    summary = convert_coco.convert_dataset(images, annotations, tmp_path / "train")

    assert {3: 2} == summary.info.num_masks_by_class
    assert [
        "  objects with a box but no mask, polygons of fewer than three corners (a rectangle needs "
        "four): 1",
        "  segmentations of [x, y] pairs, read as polygons: 1",
        "  file names with backslashes, read as slashes: 1",
        "  file names that begin with the images folder, read without it: 1",
        "  objects with a mask but the area 0, which AP counts as small: 1",
        "  objects whose mask lies outside their box: 1",
    ] == summary.lines()[1:]
    stored = json.loads(dataset_info.annotations_path(tmp_path / "train").read_text())
    assert ["1.png"] == [image["file_name"] for image in stored["images"]]


def test_masks_without_a_pixel_are_refused(tmp_path):
    """Nothing can be learned of masks that all lie outside their images; nothing is written."""
    content = document()
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[50, 50, 60, 50, 60, 60]]

    with pytest.raises(UserError, match="no segmentation encloses a pixel"):
        _convert(tmp_path, content)
    assert [] == list((tmp_path / "out").iterdir())


def test_images_without_annotations_stay(tmp_path):
    """An empty image teaches the detector what is ground."""
    content = document()
    del content["annotations"][1]
    summary = _convert(tmp_path, content)
    record = _decoded(tmp_path / "out/train")[2]

    assert (3, 1) == (summary.info.num_images, summary.num_without_instances)
    assert (0, 30, 40) == record["groundtruth_instance_masks"].shape


def test_changed_images_are_counted_and_named(tmp_path):
    """The summary says which images are not stored as they are, and an example of each kind."""
    images, annotations = write(tmp_path, document())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(images / "1.png", exif=exif)
    Image.fromarray(np.full((30, 40), 9, np.uint16)).save(images / "2.png")
    summary = convert_coco.convert_dataset(images, annotations, tmp_path / "train")

    assert [
        "  images stored as PNG: 2",
        "  images of more than 8 bits that become nearly black, as they use few of their levels: 1,"
        " such as 2.png",
        "  images of more than 8 bits, scaled to 8: 1, such as 2.png",
        "  images turned upright by their EXIF orientation: 1, such as 1.png",
    ] == summary.lines()[1:]
    assert (30, 40, 3) == _decoded(tmp_path / "train")[1]["image"].shape


def _break_image(images):
    data = (images / "2.png").read_bytes()
    (images / "2.png").write_bytes(data[: len(data) // 2])


def _resize_image(images):
    Image.new("RGB", (20, 20)).save(images / "2.png")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda images: (images / "2.png").unlink(), r"1 of 3 images is missing from .*'2\.png'"),
        (lambda images: (images / "2.png").write_text("x"), r"image .*2\.png cannot be read"),
        (_break_image, r"image .*2\.png cannot be read"),
        (_resize_image, r"2\.png is 20 x 20 pixels, but its annotations say 40 x 30\."),
    ],
)
@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_faulty_image_leaves_nothing_behind(tmp_path, fault, message, num_processes):
    """The image is named, and no file of the new dataset exists."""
    images, annotations = write(tmp_path, document())
    fault(images)

    with pytest.raises(UserError, match=message):
        convert_coco.convert_dataset(
            images, annotations, tmp_path / "out/train", num_processes=num_processes)
    assert not (tmp_path / "out").exists() or [] == list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_shards": 0}, "must be from 1 to the number of images, 3; got 0"),
        ({"num_shards": 4}, "must be from 1 to the number of images, 3; got 4"),
        ({"prefix": ""}, "is a folder; name the dataset in it"),
        ({"prefix": "new/"}, None),
    ],
)
def test_an_impossible_output_is_refused(tmp_path, options, message):
    """Too many shards would be empty ones; a folder has no name for the dataset."""
    if message is None:
        images, annotations = write(tmp_path, document())
        with pytest.raises(UserError, match="new/ is a folder; name the dataset in it"):
            convert_coco.convert_dataset(images, annotations, f"{tmp_path}/new/")
        return
    with pytest.raises(UserError, match=message):
        _convert(tmp_path, document(), **options)


def test_a_missing_images_folder_is_refused(tmp_path):
    """Before the annotations are read."""
    _, annotations = write(tmp_path, document())
    with pytest.raises(UserError, match=r"images folder .*/no does not exist"):
        convert_coco.convert_dataset(tmp_path / "no", annotations, tmp_path / "train")


def test_the_fingerprint_is_of_the_content(tmp_path):
    """Equal for other shards, paths and orders; another one for any change of what is trained."""
    base = _convert(tmp_path / "a", document()).info.fingerprint
    reordered = document()
    for table in ("images", "annotations", "categories"):
        reordered[table].reverse()
    assert base == _convert(tmp_path / "b", reordered, "x/val", num_shards=3).info.fingerprint
    seen = {base}
    for table, change in [
        ("annotations", {"category_id": 7}),
        ("annotations", {"bbox": [6, 4, 10, 11]}),
        ("annotations", {"iscrowd": 1}),
        ("annotations", {"segmentation": [[6, 4, 16, 4, 16, 14]]}),
        ("images", {"id": 9}),
        ("categories", {"name": "tree"}),
    ]:
        content = document()
        content[table][0].update(change)
        if table == "images":
            content["annotations"][0]["image_id"] = 9
        seen.add(_convert(tmp_path / f"c{len(seen)}", content).info.fingerprint)
    assert len(seen) == 7


def test_shards_are_mixed_the_same_way_every_time(tmp_path):
    """A shard is not one part of the dataset, and two conversions are equal byte by byte."""
    first = _convert(tmp_path / "a", document(40), num_shards=2).info
    _convert(tmp_path / "b", document(40), num_shards=2)
    paths = first.record_files(tmp_path / "a/out/train")
    others = first.record_files(tmp_path / "b/out/train")

    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in others]
    records = tf.data.TFRecordDataset(str(paths[0])).map(TfExampleDecoder().decode)
    ids = [int(record["source_id"]) for record in records.as_numpy_iterator()]
    assert len(ids) == 20
    assert min(ids) <= 10
    assert max(ids) > 30


def test_a_new_version_leaves_nothing_of_the_old_one(tmp_path):
    """Fewer shards than before: the superfluous ones go."""
    _convert(tmp_path, document(), num_shards=3)
    _convert(tmp_path, document(2), num_shards=2)

    assert [
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "train-annotations.json",
        "train-info.json",
    ] == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert {1, 2} == set(_decoded(tmp_path / "out/train"))


def test_a_failed_conversion_keeps_the_previous_version(tmp_path):
    """The old dataset is whole after the new one was refused."""
    old = _convert(tmp_path, document(), num_shards=3).info
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    content = document(5)
    content["images"][4]["width"] = 41

    with pytest.raises(UserError, match="say 41 x 30"):
        _convert(tmp_path, content)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert old == DatasetInfo.load(tmp_path / "out/train")


@pytest.mark.parametrize("num_renames", range(5))
def test_an_interrupted_replacement_is_never_a_mixture(tmp_path, monkeypatch, num_renames):
    """Stopped between two renames, the dataset refuses to be loaded until converted again."""
    _convert(tmp_path, document(), num_shards=3)
    replace, done = os.replace, []

    def failing_replace(path, target):
        if len(done) == num_renames:
            raise KeyboardInterrupt
        done.append(path)
        return replace(path, target)

    monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises(KeyboardInterrupt):
        _convert(tmp_path, document(4), num_shards=3)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"incomplete|no dataset"):
        DatasetInfo.load(tmp_path / "out/train")
    again = _convert(tmp_path, document(4), num_shards=3).info
    assert again == DatasetInfo.load(tmp_path / "out/train")


@pytest.mark.slow
def test_a_killed_conversion_keeps_the_previous_version(tmp_path):
    """SIGKILL in the middle: the old version is whole, and the next conversion cleans up."""
    old = _convert(tmp_path, document(), num_shards=3).info
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    program = (
        "import sys; from pathlib import Path; from deepmac_ablate.data import convert_coco;"
        "convert_coco.convert_dataset(*map(Path, sys.argv[1:]), num_processes=1)"
    )
    annotations = coco_tiny.root() / "annotations/instances.json"
    prefix = tmp_path / "out/train"
    process = subprocess.Popen(
        [sys.executable, "-c", program, coco_tiny.root() / "images", annotations, prefix]
    )
    partial = tmp_path / "out/.train.partial"
    while not any(path.stat().st_size for path in partial.glob("*")):
        assert process.poll() is None, "the conversion ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert partial.is_dir()
    assert old == DatasetInfo.load(prefix)
    assert before == {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()
    }
    _convert(tmp_path, document(4))
    assert not partial.exists()

"""A SavedModel of a trial gives the same results as the trial's model."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate import cli
from deepmac_ablate.evaluation.predictor import Predictor
from deepmac_ablate.serving.trained import load_trained
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.extended]

BOXES = [[[0.1, 0.2, 0.7, 0.6], [0.3, 0.0, 1.0, 0.9]]] * 2

# What a server does: it has TensorFlow, and nothing of this project.
SERVE = """
import json, sys
import numpy as np
import tensorflow as tf

folder, images = sys.argv[1:]
loaded = tf.saved_model.load(folder + "/saved_model")
images = tf.constant(np.load(images))
found = loaded.signatures["serving_default"](inputs=images)
named = loaded.signatures["image_tensor"](images)
boxes = tf.constant({boxes})
segmented = loaded.signatures["image_and_boxes_tensor"](images=images, boxes=boxes)
assert all(bool(tf.reduce_all(found[name] == named[name])) for name in found)
assert not any(name.startswith("deepmac_ablate") or name == "official" for name in sys.modules)
np.savez(folder + "/served.npz", given=segmented["detection_masks"], **found)
"""


class Exported(NamedTuple):
    """Output of a process that exported a model and one that served it."""

    folder: Path
    printed: str
    images: np.ndarray
    served: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    run = subprocess.run(
        [sys.executable, "-m", "deepmac_ablate.cli", "export", "--workdir", finished.workdir.path,
         "--output", folder / "e", "--input_type", "image_tensor",
         "--input_type", "image_and_boxes_tensor"],
        cwd=ROOT, capture_output=True, text=True, check=True)
    coarse = np.random.default_rng(0).integers(0, 256, (2, 6, 10, 3), np.uint8)
    images = coarse.repeat(15, axis=1).repeat(15, axis=2)
    np.save(folder / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", SERVE.format(boxes=BOXES), folder / "e", folder / "images.npy"],
        cwd=folder, check=True, capture_output=True)
    return Exported(folder / "e", run.stdout, images, dict(np.load(folder / "e" / "served.npz")))


@pytest.mark.usefixtures("clean_tensorflow")
def test_a_fresh_process_serves_what_the_model_gives(finished, exported):
    """Detections, masks and masks in given boxes are equal to 1e-5 for images that are resized."""
    model = load_trained(finished.workdir.path).model
    # By hand: 90 x 150 pixels become 38 x 64, normalised as ImageNet's, padded below.
    normalised = (exported.images / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    resized = tf.image.resize(normalised.astype(np.float32), [38, 64])
    padded = tf.image.pad_to_bounding_box(resized, 0, 0, 64, 64)
    found = model(padded, tf.constant([[64.0, 64.0]] * 2), training=False)
    assert (found["num_detections"].numpy() > 0).any()
    for name in ("boxes", "classes", "scores", "masks"):
        largest = np.abs(found[name]).max()
        np.testing.assert_allclose(
            exported.served[f"detection_{name}"], found[name], rtol=0.0, atol=1e-5 * largest,
            err_msg=name)
    np.testing.assert_array_equal(exported.served["num_detections"], found["num_detections"])
    np.testing.assert_allclose(
        exported.served["image_info"], [[[90, 150], [64, 64], [38 / 90, 64 / 150], [0, 0]]] * 2)
    boxes = (np.array(BOXES) * [38, 64, 38, 64]).reshape(-1, 4).astype(np.float32)
    given = model.predict_masks(
        found["features"], tf.constant(boxes), tf.constant([0, 0, 1, 1]), tf.zeros(4, tf.int32))
    assert np.ptp(given) > 0.01
    np.testing.assert_allclose(
        exported.served["given"].reshape(given.shape), given, rtol=0.0, atol=1e-5)


@pytest.mark.usefixtures("clean_tensorflow")
def test_served_detections_are_those_of_evaluation(finished, exported):
    """Detected boxes divided by the scale are in pixels of the image."""
    model = load_trained(finished.workdir.path)
    served = exported.served
    data = {"image_ids": tf.range(2), "image_info": tf.constant(served["image_info"])}
    normalised = (exported.images / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    data["images"] = tf.image.pad_to_bounding_box(
        tf.image.resize(normalised.astype(np.float32), [38, 64]), 0, 0, 64, 64)
    for i, image in enumerate(
            Predictor(model.model, model.strategy, 2).predict(data, {}, detect=True)):
        number = served["num_detections"][i]
        assert number == len(image.detections)
        y0, x0, y1, x1 = (
            served["detection_boxes"][i][:number] / np.tile(served["image_info"][i][2], 2)).T
        np.testing.assert_allclose(
            np.transpose([x0, y0, x1 - x0, y1 - y0]),
            np.reshape([d["bbox"] for d in image.detections], (-1, 4)), atol=1e-3)
        assert [d["category_id"] for d in image.detections] == served[
            "detection_classes"][i][:number].tolist()
    assert served["num_detections"].sum() > 0


def test_an_export_is_described_and_recorded(finished, exported):
    """The command prints inputs and outputs, and writes names and roles of the classes."""
    assert "image_tensor: inputs [any, any, any, 3] uint8\n" in exported.printed
    assert ("image_and_boxes_tensor: images [any, any, any, 3] uint8, boxes [any, any, 4] float32\n"
            in exported.printed)
    assert "  -> detection_masks [any, 5, 16, 16] float32\n" in exported.printed
    facts = json.loads((exported.folder / "export.json").read_text())
    assert finished.workdir.read_trial_id() == facts["trial"]
    assert (50, [64, 64], ["image_tensor", "image_and_boxes_tensor"]) == (
        facts["step"], facts["image_size"], facts["inputs"])
    assert {"id": 1, "name": "disc", "role": "seen"} == facts["classes"][0]
    assert "ConvMaskHead.width = 4" in (exported.folder / "config.gin").read_text()


def export(workdir, output, *options):
    return cli.main(["export", "--workdir", str(workdir), "--output", str(output), *options])


@pytest.mark.usefixtures("clean_tensorflow")
def test_options_reach_the_model(finished, tmp_path, capsys):
    """Options set the image size and batch size, and override bindings of the trial."""
    assert 0 == export(
        finished.workdir.path, tmp_path / "e", "--batch_size", "3", "--input_image_size", "96,128",
        "--gin_bindings", "Detections.max_per_image = 2", "--input_type", "image_bytes")
    printed = capsys.readouterr().out
    assert "image_bytes: inputs [3] string\n" in printed
    assert "  -> detection_boxes [3, 2, 4] float32\n" in printed
    facts = json.loads((tmp_path / "e" / "export.json").read_text())
    assert [96, 128] == facts["image_size"]


@pytest.mark.usefixtures("clean_tensorflow")
def test_a_failed_export_leaves_nothing(finished, tmp_path, monkeypatch):
    """An export that fails halfway in TensorFlow leaves no files."""
    def save(_, folder, **__):
        Path(folder).mkdir()
        (Path(folder) / "saved_model.pb").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(KeyboardInterrupt):
        export(finished.workdir.path, tmp_path / "e")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.usefixtures("clean_tensorflow")
@pytest.mark.parametrize(("options", "message"), [
    (["--input_type", "image_bytes"] * 2, r"The input type image_bytes is given twice\."),
    (["--input_image_size", "60,64"], r"MaskRCNN\.image_size = \(60, 64\) does not suit .*32\."),
    (["--gin_bindings", "HourglassMaskHead.width = 8"],
     r".*HourglassMaskHead\.width = 8.* has no effect: nothing in the trial's model uses it\."),
    (["--gin_bindings", "ConvMaskHead.width = 8"],
     r"The checkpoint in .*/checkpoints does not fit the model: .*"),
])
def test_wrong_options_are_refused(finished, tmp_path, capsys, options, message):
    """A wrong option is an error, and nothing is written."""
    assert 2 == export(finished.workdir.path, tmp_path / "e", *options)
    said = capsys.readouterr().err.splitlines()[-1].removeprefix("deepmac-ablate: ")
    assert re.fullmatch(message, said), said
    assert [] == list(tmp_path.iterdir())


@pytest.mark.usefixtures("clean_tensorflow")
def test_nothing_is_overwritten_and_nothing_made_up(finished, tmp_path, capsys):
    """An existing output, a missing trial and a missing checkpoint are errors."""
    (tmp_path / "e").mkdir()
    assert 2 == export(finished.workdir.path, tmp_path / "e")
    assert re.search(r"/e already exists; ", capsys.readouterr().err)
    assert 2 == export(tmp_path / "nothing", tmp_path / "f")
    assert re.search(
        r"There is no trial in .*/nothing: trial\.json is missing\.", capsys.readouterr().err)
    shutil.copytree(finished.workdir.path, tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "checkpoints")
    assert 2 == export(tmp_path / "w", tmp_path / "f")
    assert re.search(r"There is no checkpoint in .*/w/checkpoints\.", capsys.readouterr().err)
    assert {"e", "w"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("clean_tensorflow")
def test_a_model_needs_no_records(finished, tmp_path):
    """A model loads without its dataset and devices; without classes.json, too, without names."""
    shutil.copytree(finished.workdir.path, tmp_path / "w")
    (tmp_path / "w/classes.json").unlink()
    fields = json.loads((tmp_path / "w" / "trial.json").read_text())
    moved = dataclasses.replace(finished.trial, bindings=(
        "TRAIN = 'nowhere/x'", "VAL = '/x/y'", "Runtime.strategy = 'tpu'"))
    (tmp_path / "w" / "trial.json").write_text(
        json.dumps({**json.loads(moved.to_json()), "id": fields["id"]}))
    model = load_trained(str(tmp_path / "w"))
    assert (50, {}, {}) == (model.step, model.classes.names, model.classes.roles)
    kept = tf.train.load_variable(
        str(TrialWorkdir(tmp_path / "w").checkpoints),
        "mask_head/logits/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(kept, model.model.mask_head.logits.kernel)

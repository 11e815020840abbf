"""Datasets that meet in a trial agree on their classes, and users see their own class ids."""

from __future__ import annotations

import json
import re
import shutil
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from deepmac_ablate import cli
from deepmac_ablate.data.convert_coco import convert_dataset
from deepmac_ablate.errors import UserError
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.training.session import prepare_session
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.tiny_trial import op_by_op

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_tensorflow", "op_by_op")]

# Ids of a database, in the order of the classes 1 to 12 of the shapes.
IDS = dict(enumerate([-7, 0, 5, 77, 1000, *range(1183637182, 1183637189)], start=1))
# The mask head has an output for each class, so that a wrong number would change every mask.
SETTINGS = ("STEPS = 3", "ConvMaskHead.class_agnostic = False", "DATASET = None",
            "Detections.score_threshold = 0.0")


class Pair(NamedTuple):
    """The same trial on two datasets that differ only in their class ids."""

    plain: TrialWorkdir
    renumbered: TrialWorkdir


def renumber(recipe, part):
    """Return the annotations of a part of the shapes with other class ids."""
    document = json.loads((recipe.data / f"images/{part}.json").read_text())
    for annotation in document["annotations"]:
        annotation["category_id"] = IDS[annotation["category_id"]]
    for category in document["categories"]:
        category["id"] = IDS[category["id"]]
    return document


def convert(recipe, part, document, prefix):
    """Convert the images of a part of the shapes with other annotations; return the prefix."""
    prefix.with_suffix(".json").write_text(json.dumps(document))
    convert_dataset(recipe.data / "images" / part, prefix.with_suffix(".json"), prefix)
    return str(prefix)


@pytest.fixture(scope="module")
def pair(tiny_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    prefixes = [
        convert(tiny_recipe, part, renumber(tiny_recipe, part), folder / part)
        for part in ("train", "val")]
    workdirs = Pair(TrialWorkdir(folder / "plain"), TrialWorkdir(folder / "renumbered"))
    trials = (
        tiny_recipe.trial(*SETTINGS, "Training.seen_classes = [1, 3, 5]"),
        tiny_recipe.trial(
            *SETTINGS, f"Training.seen_classes = {[IDS[i] for i in (1, 3, 5)]}",
            f"TRAIN = '{prefixes[0]}'", f"VAL = '{prefixes[1]}'"))
    with op_by_op():
        for trial, workdir in zip(trials, workdirs, strict=True):
            run_trial(trial, workdir)
    return workdirs


def numbers(workdir):
    """Return the metrics of result.json."""
    return {name: value for name, value in workdir.read_result().items() if "/" in name}


@pytest.mark.slow
@pytest.mark.extended
def test_the_numbers_do_not_depend_on_the_ids(pair):
    """Losses and metrics are equal to the last bit, class by class under the user's ids."""
    plain, other = pair
    losses = [
        [{k: v for k, v in line.items() if "loss" in k} for line in workdir.read_metrics()]
        for workdir in pair]
    assert losses[0] == losses[1]
    assert any(line["train/mask_loss"] > 0 for line in losses[0])
    assert numbers(plain) == numbers(other)
    tables = [pd.read_csv(workdir.path / "per_class.csv") for workdir in pair]
    tables[0]["category_id"] = tables[0]["category_id"].map(IDS)
    pd.testing.assert_frame_equal(*tables)
    assert tables[1]["role"].tolist().count("seen") == 6


@pytest.mark.parametrize("boxes", [False, True])
def test_predictions_have_the_ids_of_the_user(pair, tiny_recipe, tmp_path, boxes):
    """In detected and in given boxes, without the training data at hand."""
    shutil.copytree(pair.renumbered.path, tmp_path / "renumbered")
    trial = tmp_path / "renumbered/trial.json"
    trial.write_text(re.sub("TRAIN = '[^']*'", "TRAIN = '/nowhere/train'", trial.read_text()))
    (tmp_path / "boxes.json").write_text(json.dumps(renumber(tiny_recipe, "val")))

    def predictions(workdir, boxes_file):
        options = ["--boxes", str(boxes_file)] if boxes else []
        assert cli.main([
            "predict", "--workdir", str(workdir), "--images",
            str(tiny_recipe.data / "images/val"), "--output", str(tmp_path / "out"),
            *options]) == 0
        return json.loads((tmp_path / "out/predictions.json").read_text())

    found = predictions(tmp_path / "renumbered", tmp_path / "boxes.json")
    expected = predictions(pair.plain.path, tiny_recipe.data / "images/val.json")
    assert len(expected) > 5
    assert [{**result, "category_id": IDS[result["category_id"]]} for result in expected] == found


@pytest.mark.extended
def test_an_export_has_the_ids_of_the_user(pair, tmp_path):
    """Classes come out as ids, and given classes are taken as ids."""
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)), tf.uint8)
    boxes = tf.constant([[[0.1, 0.1, 0.8, 0.7]] * 2])
    loaded = []
    for workdir in pair:
        output = tmp_path / workdir.path.name
        assert cli.main([
            "export", "--workdir", str(workdir.path), "--output", str(output), "--input-type",
            "image_tensor", "--input-type", "image_and_boxes_tensor"]) == 0
        loaded.append(tf.saved_model.load(str(output / "saved_model")).signatures)
    plain, other = (signatures["image_tensor"](images) for signatures in loaded)
    number = int(plain["num_detections"][0])
    assert number > 0
    assert [IDS[i] for i in plain["detection_classes"][0, :number].numpy()] == (
        other["detection_classes"][0, :number].numpy().tolist())
    given = [
        signatures["image_and_boxes_tensor"](
            images=images, boxes=boxes, classes=tf.constant([classes]))["detection_masks"]
        for signatures, classes in zip(loaded, ([2, 12], [IDS[2], IDS[12]]), strict=True)]
    np.testing.assert_array_equal(*given)
    assert not np.array_equal(given[0][0, 0], given[0][0, 1])


@pytest.fixture
def swapped(tiny_recipe, tmp_path):
    """Prefix of the validation images in which the classes 1 and 2 have exchanged names."""
    document = json.loads((tiny_recipe.data / "images/val.json").read_text())
    first, second = document["categories"][:2]
    first["name"], second["name"] = second["name"], first["name"]
    return convert(tiny_recipe, "val", document, tmp_path / "swapped")


CONFLICT = r"class 1 is 'disc' in .* but 'ellipse' in .*swapped; class 2 is 'ellipse' in"


def test_training_and_evaluation_must_name_classes_alike(tiny_recipe, swapped, tmp_path):
    """A trial whose numbers would stand under wrong names does not begin."""
    trial = tiny_recipe.trial(f"VAL = '{swapped}'")
    with pytest.raises(UserError, match=CONFLICT):
        run_trial(trial, TrialWorkdir(tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_another_dataset_must_name_classes_as_the_trial(pair, swapped, capsys):
    """`evaluate --data` compares with the classes that were trained."""
    assert cli.main(
        ["evaluate", "--workdir", str(pair.plain.path), "--data", swapped]) == 2
    assert re.search(CONFLICT, capsys.readouterr().err)


def init(checkpoint, *parts):
    """Return bindings that initialise from a checkpoint."""
    return f"Training.init_checkpoint = '{checkpoint}'", f"Training.init_parts = {parts!r}"


@pytest.mark.parametrize("ending", ["", "/ckpt-3"])
def test_a_mask_head_may_not_know_novel_classes(pair, tiny_recipe, ending):
    """Its masks of a class that is novel here would not be those of an unseen class."""
    checkpoint = f"{pair.plain.checkpoints}{ending}"
    trial = tiny_recipe.trial(
        *SETTINGS, *init(checkpoint, "mask_head"), "Training.seen_classes = [1, 4]")
    session = prepare_session(trial)
    with pytest.raises(UserError, match=r"with masks of 'crescent', 'triangle', which are novel"):
        session.training.load_initial_weights(session.model)


def test_what_it_has_seen_may_be_seen(pair, tiny_recipe):
    """A subset of the classes, or other parts than the mask head, can be read."""
    for parts, seen in ((("mask_head",), [1, 2, 3, 5]), (("backbone",), [4])):
        session = prepare_session(tiny_recipe.trial(
            *SETTINGS, *init(pair.plain.checkpoints, *parts), f"Training.seen_classes = {seen}"))
        session.training.load_initial_weights(session.model)


def test_a_detector_of_other_classes_is_no_beginning(pair, tiny_recipe):
    """The weights of one class would become those of another."""
    session = prepare_session(tiny_recipe.trial(
        *SETTINGS, *init(pair.renumbered.checkpoints, "detection_head")))
    with pytest.raises(UserError, match=r"The classes of Training.init_checkpoint and of .* do "
                                        r"not agree: class 5 is 'crescent' in Training.init_"):
        session.training.load_initial_weights(session.model)

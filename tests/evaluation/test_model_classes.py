"""Classes of a trained model: names, roles, and numbers in the model."""

from __future__ import annotations

import json

import pytest

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.model_classes import (
    ModelClasses,
    dataset_classes,
    read_classes,
    trial_classes,
)
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.data_fixtures import write_classes

KNOWN = [Category(2, "cat"), Category(5, "dog")]
# A database's ids: the model numbers them from 1.
NUMBERED = [Category(0, "cat", 1), Category(1183637182, "dog", 2)]


def test_the_dataset_names_its_classes():
    """Names and roles come from the dataset."""
    classes = dataset_classes(KNOWN, ["dog"])
    assert {2: "cat", 5: "dog"} == classes.names
    assert {2: "novel", 5: "seen"} == classes.roles
    assert ["cat", "3"] == [classes.display_name(2), classes.display_name(3)]
    assert [2, 3] == [classes.label(2), classes.id_of(3)]


def test_ids_are_translated_both_ways():
    """Numbers that stand for no class have no id, and unknown ids become the background."""
    classes = dataset_classes(NUMBERED, [0])
    assert {0: "seen", 1183637182: "novel"} == classes.roles
    assert [1, 2, 0] == [classes.label(i) for i in (0, 1183637182, 7)]
    assert [None, 0, 1183637182, None] == [classes.id_of(label) for label in range(4)]


@pytest.mark.parametrize("categories", [KNOWN, NUMBERED])
def test_classes_are_read_from_the_folder_of_the_trial(tmp_path, categories):
    """The file that a trial writes at its start tells its classes without its dataset."""
    classes = dataset_classes(categories, [categories[0].id])
    workdir = TrialWorkdir(tmp_path)
    workdir.start(Trial(("a.gin",), (), 0, "a"), "1" * 12, "", classes.to_json())
    assert classes == trial_classes(workdir, "/nowhere/train", "voc", 91)
    written = json.loads((tmp_path / "classes.json").read_text())["classes"]
    assert {"id": categories[1].id, "name": "dog", "role": "novel",
            "label": categories[1].label} == written[1]


def test_older_trials_go_by_their_dataset(tmp_path):
    """Without classes.json the info file of the training data tells the classes."""
    write_classes(tmp_path / "train", NUMBERED)
    found = trial_classes(TrialWorkdir(tmp_path / "old"), str(tmp_path / "train"), ["cat"], 3)
    assert dataset_classes(NUMBERED, ["cat"]) == found


def test_a_broken_file_of_classes_is_named(tmp_path):
    """It is not taken for a missing one."""
    (tmp_path / "classes.json").write_text('{"classes": [{"id": 1}]}')
    with pytest.raises(UserError, match=r"classes\.json does not list classes with id, name, "):
        read_classes(TrialWorkdir(tmp_path))


def guess(tmp_path, split, num_classes):
    """Return the classes of a model about which no file tells anything."""
    return trial_classes(TrialWorkdir(tmp_path), "/nowhere/train", split, num_classes)


def test_91_classes_are_cocos(tmp_path):
    """COCO's names stand in for a dataset that is not available."""
    classes = guess(tmp_path, "voc", 91)
    assert class_splits.COCO == classes.names
    assert {i for i, role in classes.roles.items() if role == "seen"} == class_splits.VOC


@pytest.mark.parametrize(("split", "seen"), [
    (None, {1, 2, 3}), ([], set()), ("none", set()), ([2], {2}), (["dog"], None), ("voc", None)])
def test_other_classes_go_by_their_ids(tmp_path, split, seen):
    """Without names, a split by name gives no roles."""
    classes = guess(tmp_path, split, 4)
    assert ({}, "3") == (classes.names, classes.display_name(3))
    expected = {} if seen is None else {i: "seen" if i in seen else "novel" for i in (1, 2, 3)}
    assert expected == classes.roles


def test_others_may_call_classes_otherwise(tmp_path):
    """A class keeps its role if both names agree, or if only the others have names."""
    theirs = {2: "cat", 5: "wolf", 7: "fox"}
    ours = dataset_classes(KNOWN, ["dog"])
    assert ModelClasses(theirs, {2: "novel"}) == ours.with_names(theirs)
    assert ours == ours.with_names({})
    assert (theirs, {2: "seen", 5: "novel"}) == guess(tmp_path, [2], 6).with_names(theirs)[:2]

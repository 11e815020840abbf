"""What a model's classes are called, and which of them brought masks."""

from __future__ import annotations

import pytest

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.serving.trained import classes_of

KNOWN = [Category(2, "cat"), Category(5, "dog")]


def test_the_data_set_names_its_classes():
    """Whatever the number of the model's classes."""
    classes = classes_of(KNOWN, ["dog"], 91)
    assert {2: "cat", 5: "dog"} == classes.names
    assert {2: "novel", 5: "seen"} == classes.roles
    assert ["cat", "3"] == [classes.label(2), classes.label(3)]


def test_91_classes_are_cocos():
    """Where the dataset is out of reach."""
    classes = classes_of(None, "voc", 91)
    assert class_splits.COCO == classes.names
    assert {i for i, role in classes.roles.items() if role == "seen"} == class_splits.VOC


@pytest.mark.parametrize(("split", "seen"), [
    (None, {1, 2, 3}), ([], set()), ("none", set()), ([2], {2}), (["dog"], None), ("voc", None)])
def test_other_classes_go_by_their_ids(split, seen):
    """A split that goes by names says nothing then; nothing is guessed."""
    classes = classes_of(None, split, 4)
    assert ({}, "3") == (classes.names, classes.label(3))
    expected = {} if seen is None else {i: "seen" if i in seen else "novel" for i in (1, 2, 3)}
    assert expected == classes.roles


def test_others_may_call_classes_otherwise():
    """Then a role holds where both mean the same, or where only they know the names."""
    theirs = {2: "cat", 5: "wolf", 7: "fox"}
    ours = classes_of(KNOWN, ["dog"], 91)
    assert (theirs, {2: "novel"}) == ours.renamed(theirs)
    assert ours == ours.renamed({})
    assert (theirs, {2: "seen", 5: "novel"}) == classes_of(None, [2], 6).renamed(theirs)

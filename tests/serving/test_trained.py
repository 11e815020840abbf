"""Names and roles of the classes of a trained model."""

from __future__ import annotations

import pytest

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.serving.trained import derive_classes

KNOWN = [Category(2, "cat"), Category(5, "dog")]


def test_the_dataset_names_its_classes():
    """Names and roles come from the dataset, whatever the number of the model's classes."""
    classes = derive_classes(KNOWN, ["dog"], 91)
    assert {2: "cat", 5: "dog"} == classes.names
    assert {2: "novel", 5: "seen"} == classes.roles
    assert ["cat", "3"] == [classes.label(2), classes.label(3)]


def test_91_classes_are_cocos():
    """COCO's names stand in for a dataset that is not available."""
    classes = derive_classes(None, "voc", 91)
    assert class_splits.COCO == classes.names
    assert {i for i, role in classes.roles.items() if role == "seen"} == class_splits.VOC


@pytest.mark.parametrize(("split", "seen"), [
    (None, {1, 2, 3}), ([], set()), ("none", set()), ([2], {2}), (["dog"], None), ("voc", None)])
def test_other_classes_go_by_their_ids(split, seen):
    """Without names, a split by name gives no roles."""
    classes = derive_classes(None, split, 4)
    assert ({}, "3") == (classes.names, classes.label(3))
    expected = {} if seen is None else {i: "seen" if i in seen else "novel" for i in (1, 2, 3)}
    assert expected == classes.roles


def test_others_may_call_classes_otherwise():
    """A class keeps its role if both names agree, or if only the others have names."""
    theirs = {2: "cat", 5: "wolf", 7: "fox"}
    ours = derive_classes(KNOWN, ["dog"], 91)
    assert (theirs, {2: "novel"}) == ours.with_names(theirs)
    assert ours == ours.with_names({})
    assert (theirs, {2: "seen", 5: "novel"}) == derive_classes(None, [2], 6).with_names(theirs)

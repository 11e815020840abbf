"""Two lists of classes agree unless a class has another id or name in one of them."""

from __future__ import annotations

import pytest

from deepmac_ablate.data.class_agreement import check_agreement, describe_missing
from deepmac_ablate.errors import UserError

OURS = {1: "cup", 2: "lid", 5: "pot"}


@pytest.mark.parametrize("theirs", [OURS, {}, {1: "cup"}, {5: "pot", 9: "pan"}])
def test_classes_that_one_list_lacks_are_no_contradiction(theirs):
    """Subsets and other classes agree."""
    check_agreement("train", OURS, "val", theirs)
    check_agreement("val", theirs, "train", OURS)


@pytest.mark.parametrize(("theirs", "phrase"), [
    ({1: "lid", 2: "cup"},
     "class 1 is 'cup' in train but 'lid' in val; class 2 is 'lid' in train but 'cup' in val"),
    ({1: "Cup"}, "class 1 is 'cup' in train but 'Cup' in val"),
    ({7: "pot"}, "'pot' has the id 5 in train but 7 in val"),
    ({1: "a", 2: "b", 5: "c", 8: "cup"},
     "class 1 is 'cup' in train but 'a' in val; class 2 is 'lid' in train but 'b' in val; class 5 "
     "is 'pot' in train but 'c' in val"),
])
def test_contradictions_are_named(theirs, phrase):
    """The message has the class, both ids or names, and what to do."""
    with pytest.raises(UserError) as error:
        check_agreement("train", OURS, "val", theirs)
    assert str(error.value) == (
        f"The classes of train and of val do not agree: {phrase}. Give each class the same id and "
        "name in both, and convert again.")


def test_only_a_few_contradictions_are_listed():
    """The others are counted."""
    names = {i: f"class {i}" for i in range(1, 81)}
    moved = {i - 1: name for i, name in names.items()}
    with pytest.raises(UserError, match=r"'class 3' in train but 'class 4' in val; and 76 more\."):
        check_agreement("train", names, "val", moved)


def test_missing_classes_are_counted():
    """Classes of the second list that the first lacks are named, at most three of them."""
    assert describe_missing("train", OURS, "val", {1: "cup"}) == ""
    assert describe_missing("train", OURS, "val", {1: "cup", 9: "pan"}) == (
        "val has 1 class that train lacks: 'pan'; no training image has them.")
    many = {i: f"class {i}" for i in range(1, 8)}
    assert describe_missing("train", {}, "val", many) == (
        "val has 7 classes that train lacks: 'class 1', 'class 2', 'class 3' and 4 more; no "
        "training image has them.")

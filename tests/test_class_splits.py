"""Seen and novel classes."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys

import pytest

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError
from tests.helpers import coco_tiny


@dataclasses.dataclass(frozen=True)
class Category:
    """A class of a dataset as the tests write it."""

    id: int
    name: str


def categories(*names: str) -> list[Category]:
    return [Category(i, name) for i, name in enumerate(names, start=1)]


COCO = [Category(i, name) for i, name in class_splits.COCO.items()]
SHAPES = categories(*class_splits.SHAPES_A, *class_splits.SHAPES_B)
PETS = categories("cat", "dog", "fish")


def test_coco_classes_are_those_of_the_real_annotations():
    """The built-in table equals the categories in COCO's own file, ids and names."""
    annotations = coco_tiny.instances()
    assert {c["id"]: c["name"] for c in annotations["categories"]} == class_splits.COCO


def test_voc_is_the_twenty_classes_of_pascal_voc():
    """The ids stand for VOC's class list (written out here in COCO's names)."""
    expected = {
        "person", "bird", "cat", "cow", "dog", "horse", "sheep", "airplane", "bicycle", "boat",
        "bus", "car", "motorcycle", "train", "bottle", "chair", "dining table", "potted plant",
        "couch", "tv",
    }  # fmt: skip
    assert expected == {class_splits.COCO[i] for i in class_splits.resolve("voc", COCO)}


def test_nonvoc_is_the_other_sixty():
    """The two directions share no class and leave none out."""
    voc, nonvoc = class_splits.resolve("voc", COCO), class_splits.resolve("nonvoc", COCO)
    assert [len(voc), len(nonvoc)] == [20, 60]
    assert set(class_splits.COCO) == voc | nonvoc


def test_coco40_is_opmasks_list():
    """Counted from 0 without gaps, as OPMask's class_splits.py counts, VOC and these twenty."""
    voc = [0, 1, 2, 3, 4, 5, 6, 8, 14, 15, 16, 17, 18, 19, 39, 56, 57, 58, 60, 62]
    further = [9, 10, 13, 23, 24, 25, 26, 36, 42, 47, 48, 49, 52, 54, 61, 63, 70, 74, 76, 79]
    ids = sorted(class_splits.COCO)
    assert {ids[i] for i in voc} == class_splits.resolve("voc", COCO)
    seen = class_splits.resolve("coco40", COCO)
    assert {ids[i] for i in voc + further} == seen
    assert len(seen) == 40


def test_random_splits_stay_what_they_are():
    """These were drawn once; published numbers hang on them."""
    assert class_splits.resolve("random-2-seed-0", PETS) == {2, 3}
    assert class_splits.resolve("random-5-seed-3", COCO) == {5, 22, 58, 85, 89}


def test_random_splits_rank_classes_by_hashes():
    """The k smallest of sha256("seed:id"); a larger k adds classes, other seeds draw others."""
    ranked = sorted(
        class_splits.COCO, key=lambda i: hashlib.sha256(f"7:{i}".encode()).hexdigest())
    for number in (1, 20, 79, 80):
        drawn = class_splits.resolve(f"random-{number}-seed-7", COCO)
        assert set(ranked[:number]) == drawn
    draws = {class_splits.resolve(f"random-20-seed-{seed}", COCO) for seed in range(50)}
    assert len(draws) == 50
    # Every class has its turn.
    assert frozenset().union(*draws) == set(class_splits.COCO)


def test_random_splits_do_not_depend_on_the_order_of_classes():
    """Ids decide, in whatever order the annotations list them."""
    drawn = class_splits.resolve("random-20-seed-3", COCO)
    assert drawn == class_splits.resolve("random-20-seed-3", COCO[::-1])


def test_none_is_all_and_an_empty_list_is_none():
    """The two values that other code bases confuse mean opposite things here."""
    assert frozenset({1, 2, 3}) == class_splits.resolve(None, PETS)
    assert frozenset() == class_splits.resolve([], PETS)
    assert frozenset({1, 2, 3}) == class_splits.resolve("all", PETS)
    assert frozenset() == class_splits.resolve("none", PETS)


def test_ids_and_names_mix():
    """A list may name classes either way, in a list or a tuple."""
    assert frozenset({1, 3}) == class_splits.resolve([3, "cat"], PETS)
    assert frozenset({1, 3}) == class_splits.resolve(("fish", 1), PETS)


def test_shapes_halves_are_complementary():
    """Classes that are seen in one half of the shapes are novel in the other."""
    a, b = class_splits.resolve("shapes_a", SHAPES), class_splits.resolve("shapes_b", SHAPES)
    assert [len(a), len(b)] == [6, 6]
    assert set(range(1, 13)) == a | b


def test_voc_of_a_part_of_coco_is_the_part_that_is_there():
    """A dataset with some of COCO's classes gets the split's classes among them."""
    part = [Category(1, "person"), Category(8, "truck"), Category(16, "bird")]
    assert frozenset({1, 16}) == class_splits.resolve("voc", part)
    assert frozenset({8}) == class_splits.resolve("nonvoc", part)


def test_roles_cover_every_class():
    """Every class is seen or novel, in the order of the dataset."""
    expected = {1: "novel", 2: "seen", 3: "novel"}
    actual = class_splits.roles(["dog"], PETS)
    assert list(expected.items()) == list(actual.items())


def test_roles_accept_a_generator():
    """Categories that can be read once are read once."""
    expected = class_splits.roles([3], PETS)
    assert expected == class_splits.roles([3], (category for category in PETS))
    assert expected[3] == "seen"


@pytest.mark.parametrize(
    ("split", "dataset", "message"),
    [
        ("vok", COCO, r"Unknown class split 'vok'\. Did you mean 'voc'\?"),
        ("random-81-seed-0", COCO, r"'random-81-seed-0' draws 81 classes, but .* has 80\."),
        ("random-0-seed-0", COCO, r"'random-0-seed-0' is not of the form random-<k>-seed-<s>"),
        ("random-20", COCO, r"such as random-20-seed-3\.$"),
        ("random-020-seed-3", COCO, r"'random-020-seed-3' is not of the form"),
        ("random-20-seed--3", COCO, r"'random-20-seed--3' is not of the form"),
        ("coco-40", COCO, r"Unknown class split 'coco-40'\. Did you mean 'coco40'\?"),
        ("person", COCO, r"'person' is the name of a class; .*, write \['person'\]"),
        (3, COCO, r"a list of class ids and names, got 3"),
        ([12], COCO, r"class id 12, which the dataset lacks: it has 80 ids in 1\.\.90"),
        (["persn"], COCO, r"class 'persn', which the dataset lacks\. Did you mean 'person'\?"),
        ([2, "dog"], PETS, r"lists class 2 \('dog'\) twice, the second time as 'dog'"),
        ([2, 2], PETS, r"lists class 2 \('dog'\) twice"),
        ([True], PETS, r"lists True, which is not a class id or name"),
        ([1.0], PETS, r"lists 1\.0, which is not a class id or name"),
        ("shapes_a", PETS, r"class 'disc', which the dataset lacks"),
        (["cat"], categories("cat", "cat"), r"2 classes 'cat'; list them by id: \[1, 2\]"),
    ],
)
def test_mistakes_are_named(split, dataset, message):
    """A split that the dataset cannot have is refused, saying what and what would be right."""
    with pytest.raises(UserError, match=message):
        class_splits.resolve(split, dataset)


@pytest.mark.parametrize("split", ["voc", "nonvoc", "coco40"])
def test_own_classes_with_coco_ids_are_not_coco(split):
    """Ids 1..20 of other classes do not make a dataset COCO: names are compared too."""
    message = f"'{split}' needs COCO's classes, .* is 'cat' where COCO has 'person'"
    with pytest.raises(UserError, match=message):
        class_splits.resolve(split, PETS)


def test_a_class_beside_coco_makes_a_dataset_not_coco():
    """An id that COCO does not use has no side in its split, so the split is refused."""
    with pytest.raises(UserError, match=r"class 12 .* is 'street sign' where COCO has no class"):
        class_splits.resolve("voc", [*COCO, Category(12, "street sign")])


def test_voc_without_a_voc_class_is_not_silently_none():
    """A split that selects nothing is refused, as it would train without any mask."""
    with pytest.raises(UserError, match="'voc' has no class in common with the dataset"):
        class_splits.resolve("voc", [Category(8, "truck")])


def test_import_is_light():
    """Planning resolves splits without numpy, pandas or TensorFlow."""
    code = (
        "import sys, deepmac_ablate.class_splits;"
        "sys.exit(', '.join({'numpy', 'pandas', 'tensorflow', 'gin'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

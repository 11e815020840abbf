"""Checks of validation results against the datasets that are in reach."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deepmac_ablate.data.dataset_info import Category, DatasetInfo
from deepmac_ablate.sweep.validation.dataset_checks import check_datasets
from deepmac_ablate.sweep.validation.validation_result import DataRequirements, ValidationResult
from tests.helpers.data_fixtures import write_classes
from tests.sweep.validation.test_cost import COST

GOOD = ValidationResult("arm", cost=COST, data=DataRequirements("a/train", "a/val", "voc", 91))


def needing(**changes):
    return dataclasses.replace(GOOD, data=dataclasses.replace(GOOD.data, **changes))


def write_dataset(path, names):
    """Write a dataset of some classes."""
    return write_classes(path, (Category(*entry) for entry in names.items()))


@pytest.fixture
def prefix(tmp_path):
    """A dataset of two classes."""
    return write_dataset(tmp_path / "train", {1: "cat", 7: "dog"})


@pytest.mark.parametrize("result", [
    GOOD, ValidationResult("arm", ("One.", "Two.")), needing(seen_classes=[1, "cat"]),
    needing(seen_classes=None), dataclasses.replace(GOOD, data_out_of_reach=("a/train",))])
def test_results_survive_json(result):
    """A result that is written as JSON is read back as it was."""
    assert result == ValidationResult.from_json(json.loads(json.dumps(result.to_json())))


def test_data_out_of_reach_is_named_and_no_problem():
    """A plan may be made where the data is not."""
    [result] = check_datasets([GOOD])
    assert () == result.problems
    assert ("a/train", "a/val") == result.data_out_of_reach


def test_a_dataset_used_twice_is_named_once():
    """Training and evaluating on the same records is one dataset out of reach."""
    [result] = check_datasets([needing(evaluation="a/train")])
    assert ("a/train",) == result.data_out_of_reach


def test_an_unknown_split_is_a_problem_without_data():
    """Its name is wrong whatever the classes are."""
    [unknown] = check_datasets([needing(seen_classes="vok")])
    [random] = check_datasets([needing(seen_classes="random-20")])
    assert "Did you mean 'voc'?" in unknown.problems[0]
    assert "random-<k>-seed-<s>" in random.problems[0]


def test_data_in_reach_must_suit(prefix):
    """Classes that it lacks and a model with too few are problems; a model with enough is none."""
    data = {"train": str(prefix), "evaluation": str(prefix)}
    [few, split, right] = check_datasets([
        needing(**data, num_classes=7, seen_classes="all"),
        needing(**data, num_classes=91, seen_classes=["unicorn"]),
        needing(**data, num_classes=8, seen_classes="all")])
    assert "MaskRCNN.num_classes = 7 is too small" in few.problems[0]
    assert "'unicorn', which the dataset lacks" in split.problems[0]
    assert ((), ()) == (right.problems, right.data_out_of_reach)


def test_data_must_be_what_it_is_declared_to_be(prefix):
    """By its fingerprint, whatever it is called; what is evaluated on is not declared."""
    data = {"train": str(prefix), "evaluation": str(prefix), "seen_classes": "all"}
    [right, renamed, wrong, elsewhere] = check_datasets([
        needing(**data, declared=f"train@{'0' * 12}"), needing(**data, declared=f"x@{'0' * 12}"),
        needing(**data, declared=f"train@{'1' * 12}"),
        needing(**{**data, "train": "no/train"}, declared=f"train@{'1' * 12}")])
    assert [(), (), ()] == [result.problems for result in (right, renamed, elsewhere)]
    assert f"is the dataset train@{'0' * 12}, but TrainingData.dataset" in wrong.problems[0]


def test_seen_classes_must_have_masks(prefix):
    """A split without any mask in the training data is a problem of the plan."""
    info = DatasetInfo.load(prefix)
    dataclasses.replace(info, num_masks_by_class={7: 5}).save(prefix)
    data = {"train": str(prefix), "evaluation": str(prefix)}
    [cat, dog, none] = check_datasets([
        needing(**data, seen_classes=["cat"]), needing(**data, seen_classes=["dog"]),
        needing(**data, seen_classes=[])])
    assert "seen_classes = ['cat'] selects no mask in the dataset train" in cat.problems[0]
    assert [(), ()] == [dog.problems, none.problems]


def test_all_problems_with_data_are_reported(prefix):
    """Not only the first one."""
    data = {"train": str(prefix), "evaluation": str(prefix)}
    [result] = check_datasets([needing(**data, num_classes=7, seen_classes=["unicorn"])])
    assert 2 == len(result.problems)


def test_an_incomplete_dataset_is_a_problem(prefix):
    """Its info file is there, but a part that it names is not."""
    [record] = prefix.parent.glob("train-*.tfrecord")
    record.unlink()
    [result] = check_datasets([needing(train=str(prefix))])
    assert "incomplete" in result.problems[0]
    assert ("a/val",) == result.data_out_of_reach


def test_a_result_with_problems_stays_as_it_is():
    """Its datasets are unknown, so there is nothing to check."""
    bad = ValidationResult("arm", ("No.",))
    assert [bad] == check_datasets([bad])


def test_datasets_that_name_classes_differently_are_a_problem(prefix, tmp_path):
    """Numbers would stand under the name of another class."""
    swapped = write_dataset(tmp_path / "swapped", {1: "dog", 7: "cat"})
    [result] = check_datasets([
        needing(train=str(prefix), evaluation=str(swapped), seen_classes="all")])
    [problem] = result.problems
    assert f"class 1 is 'cat' in {prefix} but 'dog' in {swapped}; class 7 is 'dog'" in problem


def test_classes_without_training_images_are_noted(prefix, tmp_path):
    """They are evaluated, so this is no problem."""
    larger = write_dataset(tmp_path / "larger", {1: "cat", 7: "dog", 9: "fox"})
    data = {"seen_classes": ["cat"]}
    [more, less] = check_datasets([
        needing(train=str(prefix), evaluation=str(larger), **data),
        needing(train=str(larger), evaluation=str(prefix), **data)])
    assert ((), ()) == (more.problems, less.problems)
    assert (f"{larger} has 1 class that {prefix} lacks: 'fox'; no training image has them.",) == (
        more.data_notes)
    assert () == less.data_notes


def test_objects_beyond_the_limit_are_noted(prefix):
    """With counts, and only where there are any; the evaluation has no such limit."""
    info = DatasetInfo.load(prefix)
    counts = {0: 1, 4: 2, 7: 1}
    dataclasses.replace(
        info, num_images=4, num_instances=15, images_by_num_instances=counts).save(prefix)
    data = {"train": str(prefix), "evaluation": str(prefix), "seen_classes": "all"}
    [less, enough, unknown] = check_datasets([
        needing(**data, max_instances=most) for most in (3, 7, None)])
    [note] = less.data_notes
    assert note.startswith(
        "3 of 4 images of the dataset train have more objects than TrainingData.max_instances = 3, "
        "up to 7: in each epoch 6 of 15 objects (40.0%)")
    assert ((), ()) == (enough.data_notes, unknown.data_notes)


def test_a_first_checkpoint_must_suit_the_classes(prefix, tmp_path):
    """A trial of other classes, or one that saw novel masks, is named in the plan."""
    classes = [{"id": 1, "name": "cat", "role": "seen", "label": 1},
               {"id": 7, "name": "fox", "role": "seen", "label": 7}]
    (tmp_path / "first").mkdir()
    path = tmp_path / "first/classes.json"
    data = {"train": str(prefix), "evaluation": str(prefix), "seen_classes": ["dog"],
            "init_checkpoint": str(tmp_path / "first/checkpoints")}
    path.write_text(json.dumps({"classes": classes}))
    [other, backbone] = check_datasets([
        needing(**data, init_parts=("detection_head",)), needing(**data, init_parts=("backbone",))])
    assert "class 7 is 'fox' in Training.init_checkpoint but 'dog' in" in other.problems[0]
    assert () == backbone.problems
    path.write_text(json.dumps({"classes": classes[:1]}))
    [leak] = check_datasets([needing(**data, init_parts=("all",))])
    assert "was trained with masks of 'cat', which are novel in this trial" in leak.problems[0]


@pytest.mark.usefixtures("object_store")
def test_a_first_checkpoint_may_be_directly_in_a_bucket(prefix):
    """The bucket has no folder above it that could be of a trial."""
    [found] = check_datasets([needing(
        train=str(prefix), evaluation=str(prefix), seen_classes=["dog"],
        init_checkpoint="gs://bucket/first", init_parts=("all",))])
    assert () == found.problems

"""Trials and their ids."""

from __future__ import annotations

import json

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.trial import Trial, trial_id

TRIAL = Trial(("gin/base.gin",), ("A.x = 'größe'",), 3, "hourglass 52")


def test_a_trial_survives_json():
    """A trial is read back equal, including Unicode and tuples."""
    assert TRIAL == Trial.from_json(TRIAL.to_json())
    assert "größe" in TRIAL.to_json()
    assert TRIAL.to_json().endswith("}\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sede": 1}, "trial.json has an unknown field 'sede'. Did you mean 'seed'?"),
        ({"seed": None}, "trial.json: seed must be a whole number of at least 0, got None."),
        ({"seed": True}, "trial.json: seed must be a whole number of at least 0, got True."),
        ({"seed": -1}, "trial.json: seed must be a whole number of at least 0, got -1."),
        ({"arm": 5}, "trial.json: arm must be a string, got 5."),
        ({"bindings": "A.x = 1"}, "trial.json: bindings must be a list of strings, got 'A.x = 1'."),
        ({"gin_files": [1]}, "trial.json: gin_files must be a list of strings, got [1]."),
    ],
)
def test_wrong_fields_are_named(change, message):
    """An unknown field or a wrong type is refused in one sentence."""
    text = json.dumps(json.loads(TRIAL.to_json()) | change)
    with pytest.raises(UserError) as caught:
        Trial.from_json(text, "trial.json")
    assert message == str(caught.value)


def test_a_missing_field_is_named():
    """Every field must be there."""
    with pytest.raises(UserError, match=r"^The trial has no field 'seed'\.$"):
        Trial.from_json('{"gin_files": [], "bindings": [], "arm": ""}')


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not valid JSON: "), ("[]", r"must be a JSON object, got a list\.$")])
def test_invalid_json_is_refused(text, message):
    """Broken JSON is named in one sentence."""
    with pytest.raises(UserError, match=f"^The trial {message}"):
        Trial.from_json(text)


def test_the_id_is_the_content():
    """The order of bindings does not change an id; every other difference does."""
    merged = {
        "Training.steps": "100", "Model.head": "@Head()", "TrainingData.dataset": "'coco@abc'"}
    first = trial_id(merged, 1)
    assert first == trial_id(dict(reversed(merged.items())), 1)
    # Computed with sha256sum; the ids of finished trials on disk must never change.
    assert "be3b58b8cc00" == first
    others = [
        trial_id(merged | {"Training.steps": "101"}, 1),
        trial_id(merged, 2),
        trial_id(merged | {"TrainingData.dataset": "'coco@abd'"}, 1),
    ]
    assert 4 == len({first, *others})


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_cannot_be_used_is_refused(seed):
    """A seed must be a signed 32-bit number, as for TensorFlow."""
    with pytest.raises(UserError, match=rf"^The seed must be from 0 to 2147483647, got {seed}\.$"):
        Trial((), (), seed, "")


@pytest.mark.parametrize("selector", ["TrainingData", "a/pipeline.TrainingData"])
def test_the_path_of_declared_data_does_not_count(selector):
    """The same dataset under another path keeps the id; another dataset changes it."""

    def identity(prefix, dataset, **others):
        bound = {f"{selector}.prefix": prefix, f"{selector}.dataset": dataset}
        return trial_id({"TrainingData.flip": "True"} | bound | others, 0)

    here = identity("'/tmp/train'", "'train@aa'")
    assert here == identity("'gs://b/train'", "'train@aa'")
    assert here != identity("'/tmp/train'", "'train@bb'")
    assert here != identity("'/tmp/train'", "'train@aa'", **{"TrainingData.flip": "False"})
    assert here != identity("'/tmp/train'", "'train@aa'", **{"Other.prefix": "'/tmp/train'"})


@pytest.mark.parametrize(
    "declared",
    [{}, {"TrainingData.dataset": "None"}, {"TrainingData.dataset": "%my.CONSTANT"},
     {"TrainingData.dataset": "'train@aa'", "a/TrainingData.dataset": "None"}])
def test_data_that_is_not_declared_is_known_by_its_path(declared):
    """Without a declaration, or with different ones by scope, paths count."""
    here = trial_id({"TrainingData.prefix": "'/tmp/train'"} | declared, 0)
    assert here == trial_id({"TrainingData.prefix": "'/tmp/train'"} | declared, 0)
    assert here != trial_id({"TrainingData.prefix": "'gs://b/train'"} | declared, 0)

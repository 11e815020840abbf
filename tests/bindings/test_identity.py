"""The bindings that make up a trial's identity, from the text alone."""

from __future__ import annotations

import pytest

from deepmac_ablate.bindings import explicit_bindings, read

BASE = [
    "Training.model = @Model()",
    "Training.steps = %STEPS",
    "STEPS = 100",
    "Model.head = @HeadA()",
    "HeadA.depth = 4",
    "HeadB.depth = 8",
    "Runtime.device = 'cpu'",
    "Evaluation.evaluator = @Evaluator()",
    "Evaluator.images = 5",
]


def identity(*given):
    return explicit_bindings(read([], [*BASE, *given]).bindings)


def test_what_training_reaches_is_the_identity():
    """References are followed and macros expanded; unselected modules and other roots stay out."""
    assert {
        "HeadA.depth": "4",
        "Model.head": "@HeadA()",
        "Training.model": "@Model()",
        "Training.steps": "100",
    } == identity()
    assert sorted(identity()) == list(identity())


@pytest.mark.parametrize(
    "given",
    [
        "HeadB.depth = 9",
        "Runtime.device = 'tpu'",
        "Evaluator.images = 6",
        "Evaluation.evaluator = None",
        "Training.steps = 100",
        "UNUSED = 3",
        "HeadA.depth=4   # the same",
    ],
)
def test_what_does_not_change_the_training_does_not_change_the_identity(given):
    """Evaluation, devices, unselected modules and spelling do not change the identity."""
    assert identity() == identity(given)


@pytest.mark.parametrize(
    "given",
    [
        "STEPS = 101",
        "HeadA.depth = 5",
        "HeadA.depth = 4.0",
        "Model.head = @HeadB()",
        "Model.head = @HeadA",
        "Model.head = @fine/HeadA()",
        "Training.rate = 0.1",
        "Runtime.model = @Model()\nModel.width = 3",
    ],
)
def test_what_changes_the_training_changes_the_identity(given):
    """Different values, types, references and scopes give different identities."""
    assert identity() != identity(given)


def test_scopes_are_followed_as_gin_does():
    """A reference's scope is inherited by the unscoped references below it."""
    given = [
        "Training.train_input = @train/Input()",
        "Evaluation.input = @eval/Input()",
        "Input.parser = @Parser()",
        "train/Parser.flip = True",
        "eval/Parser.flip = False",
        "train/inner/Input.size = 3",
    ]
    assert {"Input.parser": "@Parser()", "train/Parser.flip": "True"} == {
        name: value for name, value in identity(*given).items() if "Input." in name or "Par" in name
    }


def test_references_in_containers_and_macros_are_followed():
    """A module may be selected through a macro, a list or a dictionary."""
    given = ["HEADS = [@HeadB(), {'c': @HeadC}]", "Model.head = %HEADS", "HeadC.depth = 1"]
    assert {"HeadB.depth": "8", "HeadC.depth": "1"} == {
        name: value for name, value in identity(*given).items() if name.startswith("Head")
    }


def test_a_circle_of_references_ends():
    """Two functions that refer to each other do not loop."""
    assert identity("HeadA.other = @Model", "Model.other = @HeadA")

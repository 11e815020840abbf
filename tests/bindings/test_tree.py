"""The tree of a configuration, without a registry."""

from __future__ import annotations

from deepmac_ablate.bindings import reachable_bindings, read
from deepmac_ablate.bindings.tree import compose_tree, flatten_tree

BASE = [
    "Training.model = @Model",
    "Training.steps = %STEPS",
    "STEPS = %MORE",
    "MORE = 100",
    "Model.norm = @Norm()",
    "Model.head = @fine/Head()",
    "Norm.rate = 0.5",
    "fine/Norm.rate = 0.25",
    "Head.norm = @Norm()",
    "Head.sizes = [%STEPS, 1]",
    "Other.norm = @Norm()",
    "Evaluation.parts = [@Norm(), {'a': @Reader()}]",
    "Reader.batch = 3",
]


def composed(*given):
    return compose_tree(read([], [*BASE, *given]).bindings)


def test_the_tree_is_what_training_runtime_and_evaluation_reach():
    """Every bound parameter by its complete name, in the order in which references lead there."""
    assert {
        "Training.model": "@Model",
        "Model.norm": "@Norm()",
        "Norm.rate": "0.5",
        "Model.head": "@fine/Head()",
        "fine/Head.norm": "@Norm()",
        "fine/Norm.rate": "0.25",
        "fine/Head.sizes": "[100, 1]",
        "Training.steps": "100",
        "Evaluation.parts": "[@Norm(), {'a': @Reader()}]",
        "Reader.batch": "3",
    } == (found := {
        name: parameter.value for name, parameter in flatten_tree(composed()).items()})
    assert list(found)[:6] == [
        "Training.model", "Model.norm", "Norm.rate", "Model.head", "fine/Head.norm",
        "fine/Norm.rate"]


def test_the_tree_reaches_what_the_identity_reaches():
    """On a real recipe both ways to follow references lead to the same bindings."""
    text = read(["gin/experiments/deep_mask_head_rcnn_voc_spinenet143_hg52.gin"], []).bindings
    for root in ("Training", "Evaluation"):
        parameters = flatten_tree(compose_tree(text, [root])).values()
        tree = {parameter.sources[0].name for parameter in parameters}
        reached = reachable_bindings(text, root)
        assert tree <= reached.keys()
        # What one of an inner scope replaces everywhere is reached, but used nowhere.
        inner = {binding.parameter for binding in reached.values() if binding.scope}
        assert {reached[name].parameter for name in reached.keys() - tree} <= inner


def test_a_macro_is_expanded_and_all_its_lines_are_named(tmp_path, monkeypatch):
    """From the binding over macros to the value; the last line decides."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gin").write_text("Training.steps = %STEPS\nSTEPS = %MORE\nMORE = 1\nMORE = 7\n")
    steps = flatten_tree(compose_tree(read(["a.gin"], []).bindings))["Training.steps"]
    assert ("%STEPS", "7") == (steps.written, steps.value)
    assert ("a.gin:1", "a.gin:2", "a.gin:4") == steps.where
    assert ("a.gin:4",) == steps.decided
    text = read(["a.gin"], ["Training.steps = [%MORE]"])
    both = flatten_tree(compose_tree(text.bindings))["Training.steps"]
    assert ("binding", "a.gin:4") == both.where == both.decided


def test_what_is_referred_to_twice_is_shown_once():
    """A call that is shown before only names its place, so circular references end."""
    training, _, evaluation = composed("Model.self = @Model")
    model = training.parameters[0].below[0]
    assert None is model.shown_at
    again = model.parameters[-1].below[0]
    assert ("Model", (), "Training.model") == (again.name, again.parameters, again.shown_at)
    norm, reader = evaluation.parameters[0].below
    assert ("Model.norm", None) == (norm.shown_at, reader.shown_at)


def test_the_innermost_scope_wins_whatever_the_order():
    """As in gin, a binding in a scope overrides one without, even a later one."""
    found = flatten_tree(composed("fine/Head.depth = 1", "Head.depth = 2"))
    assert "1" == found["fine/Head.depth"].value

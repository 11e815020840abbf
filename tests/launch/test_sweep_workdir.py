"""The files of a sweep beside those of its trials."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial.trial import Trial
from tests.sweep.validation.test_cost import COST


def plan(*arms: str) -> Plan:
    trials = tuple(
        PlannedTrial(f"{arm}{seed}", Trial(("a.gin",), (), seed, arm), {}, 10)
        for arm in arms for seed in (0, 1))
    return Plan("s", "?", {}, arms[0], trials)


def test_costs_are_noted_by_trial_and_outlive_a_launch_of_other_arms(tmp_path):
    """As plan.json does not, which holds what was launched last."""
    workdir = SweepWorkdir(tmp_path)
    dear = dataclasses.replace(COST, steps=20)
    workdir.write_costs(plan("a", "b"), {"a": COST, "b": dear})
    workdir.write_costs(plan("c"), {"c": COST})
    found = json.loads((tmp_path / "costs.json").read_text())
    assert ["a0", "a1", "b0", "b1", "c0", "c1"] == list(found)
    assert [COST, COST, dear, dear, COST, COST] == [Cost.from_json(it) for it in found.values()]


def test_broken_costs_are_named(tmp_path):
    """They are not replaced without a word."""
    (tmp_path / "costs.json").write_text("{")
    with pytest.raises(UserError, match=r"costs\.json is broken: it is not valid JSON .*delete it"):
        SweepWorkdir(tmp_path).write_costs(plan("a"), {"a": COST})


@pytest.mark.parametrize("content", [
    "{}", '{"trials": 1}', '{"trials": [1]}',
    '{"name": "s", "question": "", "axes": [], "baseline": "a", "trials": []}'])
def test_what_is_no_plan_is_named(tmp_path, content):
    """Whichever command reads it, nobody sees a traceback."""
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=r"plan\.json is broken, as it is no plan \(.*\); launch"):
        SweepWorkdir(tmp_path).read_plan()

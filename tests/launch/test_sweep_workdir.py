"""The files of a sweep apart from those of its trials."""

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


def test_costs_of_earlier_launches_are_kept(tmp_path):
    """costs.json is extended by each launch, unlike plan.json, which is replaced."""
    workdir = SweepWorkdir(tmp_path)
    dear = dataclasses.replace(COST, steps=20)
    workdir.write_costs(plan("a", "b"), {"a": COST, "b": dear})
    workdir.write_costs(plan("c"), {"c": COST})
    found = json.loads((tmp_path / "costs.json").read_text())
    assert ["a0", "a1", "b0", "b1", "c0", "c1"] == list(found)
    assert [COST, COST, dear, dear, COST, COST] == [Cost.from_json(cost) for cost in found.values()]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a0": {"steps": -1}, "b": null}'])
def test_broken_costs_are_written_anew(tmp_path, content):
    """Costs are estimates, so those of earlier launches that are broken do not stop a launch."""
    (tmp_path / "costs.json").write_text(content)
    SweepWorkdir(tmp_path).write_costs(plan("a"), {"a": COST})
    assert ["a0", "a1"] == list(json.loads((tmp_path / "costs.json").read_text()))


@pytest.mark.parametrize("content", [
    "{}", '{"trials": 1}', '{"trials": [1]}',
    '{"name": "s", "question": "", "axes": [], "baseline": "a", "trials": []}'])
def test_an_invalid_plan_is_an_error(tmp_path, content):
    """The message names the file and what to do."""
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=r"plan\.json is broken: .*; launch"):
        SweepWorkdir(tmp_path).read_plan()

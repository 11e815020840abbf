"""Hours of a sweep on this machine, from finished trials or a rehearsal."""

from __future__ import annotations

import os

import pytest

from deepmac_ablate.launch import plan_report
from deepmac_ablate.launch.status_rows import Pace, TrialRow
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.time_forecast import (
    forecast_time,
    measure_arms,
    remember_rehearsal,
)
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.checked_plan import CheckedPlan
from deepmac_ablate.sweep.validation.validation_result import ValidationResult
from tests.helpers import result_workdirs
from tests.helpers.result_workdirs import COST, STEPS

PACE = Pace(step=0.5, setup=20.0, restart=4.0, image=0.1, images=150)
RESULT = {
    "step_seconds": 0.25, "setup_seconds": 30.0, "evaluation_seconds": 30.0, "images": 300,
    "trials_before": 0}
OTHER = COST.__class__(**{**COST.to_json(), "mask_gmacs": 9.0})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def sweep(tmp_path):
    """A plan of two arms with three seeds, and its workdir, in which nothing has started."""
    plan = result_workdirs.plan({"a": {"axis": "a"}, "b": {"axis": "b"}}, seeds=3)
    return plan, result_workdirs.write(tmp_path / "w", plan)


def finish(workdir, plan, trial, start, seconds, host="", **result):
    """Finish a trial that ran for some seconds on this machine, or another."""
    result_workdirs.finish(workdir, plan, trial, {**RESULT, **result})
    Attempt(
        "train", 1, "finished", host or os.uname().nodename, 1, None, started=start,
        heartbeat=start + seconds, ended=start + seconds).write(workdir.folder(trial))


def forecast(workdir, plan, costs=None, **options):
    rows = StatusReader(workdir, plan).read_rows()
    measured = measure_arms(workdir, plan, rows, costs or {"a": COST, "b": OTHER})
    return forecast_time(plan, rows, measured, "s.py", **options)


def test_without_a_measurement_the_way_to_get_one_is_named(sweep):
    """In one line, for the sweep at hand."""
    plan, workdir = sweep
    found = forecast(workdir, plan)
    assert found.line() == (
        "Time on this machine: unknown; `deepmac-ablate launch s.py --rehearse` measures it.")
    assert found.to_json()["seconds"] is None


def test_a_rehearsal_is_remembered_by_architecture(sweep):
    """Also for another number of steps; arms that were not rehearsed are taken as the mean."""
    plan, workdir = sweep
    shorter = COST.__class__(**{**COST.to_json(), "steps": 10})
    remember_rehearsal({"x": PACE}, {"x": shorter}, 2)
    found = forecast(workdir, plan)
    assert {"a": PACE} == {arm: measured.pace for arm, measured in found.arms.items()}
    first, other = 20 + 0.5 * STEPS + 15, 4 + 0.5 * STEPS + 15
    assert first + 2 * other == pytest.approx(found.seconds) == found.seconds_left
    assert found.line() == (
        "Time on this machine, 2 trials at a time: about 16.2 min for the whole sweep (measured in "
        "a rehearsal of 1 arm; 1 other arm as their mean).")
    one_at_a_time = forecast(workdir, plan, parallel=1)
    assert 2 * found.seconds == pytest.approx(one_at_a_time.seconds)
    assert "a rehearsal of 1 arm, which ran 2 at a time; 1 other" in one_at_a_time.line()


def test_finished_trials_come_before_a_rehearsal(sweep):
    """Theirs is the pace; two at a time, as they ran; what has finished is not left."""
    plan, workdir = sweep
    remember_rehearsal({"a": PACE, "b": PACE}, {"a": COST, "b": OTHER}, 1)
    finish(workdir, plan, "a-0", 1000.0, 210.0)
    finish(workdir, plan, "a-1", 1000.0, 190.0, setup_seconds=10.0, trials_before=1)
    found = forecast(workdir, plan)
    assert Pace(0.25, 30.0, 10.0, 0.1, 300) == found.arms["a"].pace
    assert (("a-0", "a-1"), 2) == (found.arms["a"].trials, found.arms["a"].parallel)
    assert PACE == found.arms["b"].pace
    assert 4 == found.trials_left
    assert "measured in 2 finished trials and a rehearsal of 1 arm" in found.line()
    assert f"for 4 unfinished trials, {found.seconds / 60:.1f} min for the whole" in found.line()


def test_trials_of_earlier_launches_count_if_their_architecture_is_the_same(sweep):
    """As when the number of steps has changed; those of other machines never count."""
    plan, workdir = sweep
    for trial, host in (("a-0", ""), ("b-0", "elsewhere")):
        finish(workdir, plan, trial, 1000.0, 210.0, host)
    workdir.write_costs(plan, {"a": COST, "b": OTHER})
    longer = plan._replace(trials=tuple(
        each._replace(id=f"{each.id}-longer", steps=2 * STEPS) for each in plan.trials))
    found = forecast(workdir, longer)
    assert {"a": 0.25} == {arm: measured.pace.step for arm, measured in found.arms.items()}
    # `status` knows the costs of the last launch.
    rows = StatusReader(workdir, plan).read_rows()
    assert {"a"} == measure_arms(workdir, plan, rows).keys()


def test_plan_shows_the_time_of_a_trial_and_of_the_sweep(sweep):
    """As a column and a line; programs get the durations."""
    plan, workdir = sweep
    remember_rehearsal({"a": PACE}, {"a": COST}, 1)
    results = {
        label: ValidationResult(label, cost=cost) for label, cost in (("a", COST), ("b", OTHER))}
    rows = [TrialRow(each.id, each.trial.arm, each.trial.seed, "new", steps=STEPS)
            for each in plan.trials]
    checked, here = CheckedPlan(plan, results), forecast(workdir, plan)
    text = plan_report.render_text(checked, rows, here)
    [head, *arms] = text.splitlines()[2:5]
    assert head.endswith(" time")
    assert [True, False] == [line.rstrip().endswith(" 5.6 min") for line in arms]
    assert "time: of one trial on this machine" in text
    assert here.line() in text
    content = plan_report.render_json(checked, rows, here)["this_machine"]
    assert here.seconds == content["seconds"]
    assert PACE._asdict() == content["arms"]["a"]["pace"]


def test_names_of_axes_and_levels_are_not_broken_in_a_plan(sweep):
    """However many there are: they are copied into --only."""
    plan, workdir = sweep
    axes = {f"{letter * 30}_axis": (f"{letter * 30}_level",) for letter in "uvwxy"}
    levels = {axis: names[0] for axis, names in axes.items()}
    plan = plan._replace(
        axes=axes, trials=tuple(each._replace(levels=levels) for each in plan.trials))
    results = {label: ValidationResult(label, cost=COST) for label in ("a", "b")}
    rows = [TrialRow(each.id, each.trial.arm, each.trial.seed, "new", steps=STEPS)
            for each in plan.trials]
    text = plan_report.render_text(CheckedPlan(plan, results), rows, forecast(workdir, plan))
    [head, first] = text.splitlines()[2:4]
    assert [*axes] == head.split()[:5]
    assert [*levels.values()] == first.split()[:5]

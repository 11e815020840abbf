"""Trials that continue from shorter ones, and those that cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepmac_ablate import cli, results
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.continuation import (
    Continuation,
    copy_shorter_trial,
    find_continuations,
)
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.axes import axis
from deepmac_ablate.sweep.plan import resolve_sweep
from deepmac_ablate.sweep.sweep import Sweep
from deepmac_ablate.sweep.sweep_file import load_sweep
from deepmac_ablate.trial import provenance
from tests.training.test_run import assert_same_numbers, assert_same_run

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CONSTANT = ["warm_up.then = @constant_rate()", "constant_rate.value = %LEARNING_RATE"]


def plan_of(sweep, *edits, steps=None):
    plan, problems = resolve_sweep(sweep.edited(list(edits), 1, [], steps))
    assert not problems
    return plan


@pytest.fixture
def recorded(tmp_path):
    """A copy of a recorded sweep of 60 steps, with checkpoints that nothing reads."""
    shutil.copytree(GOLDEN / "sweeps/recorded_a", tmp_path / "a")
    for folder in (tmp_path / "a" / "trials").iterdir():
        (folder / "checkpoints").mkdir()
        for step in (40, 60):
            (folder / "checkpoints" / f"ckpt-{step}.index").touch()
    return SweepWorkdir(tmp_path / "a"), load_sweep(str(GOLDEN / "recorded_a.py"))


def test_a_schedule_that_follows_the_steps_is_refused(recorded):
    """The sentence names the setting and both values."""
    workdir, sweep = recorded
    with pytest.raises(UserError, match=(
            r"^default\+proposals\+shapes_a cannot continue from its trial [0-9a-f]{12} of 60 "
            r"steps, as cosine\.steps follows the number of steps: the first 60 of 90 steps")):
        find_continuations(workdir, plan_of(sweep, steps=90).trials)


def test_trials_that_differ_in_nothing_but_the_steps_are_found(recorded):
    """A decay that stays where it was is allowed; other settings and lost checkpoints are not."""
    workdir, sweep = recorded
    short = plan_of(sweep, steps=60)
    fixed = ("cosine.steps = 60",)
    longer = plan_of(sweep, *fixed, steps=90)
    found = find_continuations(workdir, longer.trials)
    assert [(each.id, 60) for each in short.trials] == [
        tuple(found[each.id]) for each in longer.trials]
    assert {} == find_continuations(workdir, plan_of(sweep, *fixed, steps=50).trials)
    assert {} == find_continuations(
        workdir, plan_of(sweep, *fixed, "Losses.mask_weight = 2.0", steps=90).trials)
    other_seed = [each._replace(trial=each.trial.__class__(**{**vars(each.trial), "seed": 9}))
                  for each in longer.trials]
    assert {} == find_continuations(workdir, other_seed)
    # Its last checkpoint is gone, or it has not finished.
    first, second = (workdir.folder(each.id) for each in short.trials[:2])
    (first / "checkpoints/ckpt-60.index").unlink()
    (second / "result.json").unlink()
    kept = find_continuations(workdir, longer.trials)
    assert {each.id for each in longer.trials[2:]} == kept.keys()
    # One that has begun goes on where it is.
    begun = workdir.folder(longer.trials[-1].id) / "checkpoints"
    begun.mkdir(parents=True)
    (begun / "ckpt-70.index").touch()
    assert longer.trials[-1].id not in find_continuations(workdir, longer.trials)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
def test_a_continued_trial_is_the_one_trained_in_one_go(tiny_recipe, tmp_path):
    """Metrics, weights, momenta and results are equal, and its origin is recorded and shown."""
    from deepmac_ablate.training.run import run_trial

    arms = axis("rate", slow="LEARNING_RATE = 0.01")
    sweep = Sweep(
        str(tiny_recipe.gin_file), *CONSTANT, "Runtime.checkpoint_every = 3",
        "Evaluation.every = 2", arms=arms, seeds=1)
    short, long = (plan_of(sweep, steps=steps) for steps in (4, 6))
    [shorter], [longer] = short.trials, long.trials
    workdir, whole = SweepWorkdir(tmp_path / "w"), SweepWorkdir(tmp_path / "whole")
    for files, planned, plan in ((workdir, shorter, short), (whole, longer, long)):
        files.prepare_trial(plan, planned)
        run_trial(planned.trial, files.trial(planned.id))
    found = find_continuations(workdir, long.trials)
    assert {longer.id: Continuation(shorter.id, 4)} == found
    workdir.prepare_trial(long, longer)
    copy_shorter_trial(workdir, longer.id, found[longer.id])
    continued, expected = workdir.trial(longer.id), whole.trial(longer.id)
    result = run_trial(longer.trial, continued)
    assert_same_run(expected, continued, 6)
    assert_same_numbers(expected.read_result(), result, 1e-9)
    on_the_way = [
        {name: line[name] for name in line if name != "wall_time"}
        for line in continued.read_evaluations()]
    assert on_the_way == [
        pytest.approx({name: line[name] for name in line if name != "wall_time"}, nan_ok=True)
        for line in expected.read_evaluations()]

    starts = continued.read_attempts()
    assert [(shorter.id, 0, 4), (None, 4, 6)] == [
        (start.get("trial"), start["step"], start["steps"]) for start in starts]
    origin = f"{shorter.id} at step 4"
    assert origin == provenance.continued_from(starts)
    [row] = StatusReader(workdir, long).read_rows_with_code()
    assert (origin, "") == (row.continued_from, row.code_state)
    workdir.write_plan(long)
    frame = results.load(workdir.path).set_index("trial")
    assert [origin, 1, 6] == list(
        frame.loc[longer.id, ["continued_from", "attempts", "steps"]])
    assert "" == frame.loc[shorter.id, "continued_from"]
    assert 0 == cli.main(["report", str(workdir.path), "--output", str(tmp_path / "r.html")])
    page = (tmp_path / "r.html").read_text()
    assert f"from the shorter trial <code>{origin}</code>" in page


def test_a_damaged_copy_is_not_an_origin():
    """The trial then began at step 0, and says so."""
    copied, own = {"trial": "abc", "step": 0}, {"step": 0}
    assert "" == provenance.continued_from([copied, own])
    assert "" == provenance.continued_from([own])
    assert "abc at step 60" == provenance.continued_from([copied, {"step": 60}, {"step": 80}])

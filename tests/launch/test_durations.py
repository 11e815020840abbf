"""Durations of trials and sweeps, from the pace of other trials."""

from __future__ import annotations

import pytest

from deepmac_ablate.launch.durations import (
    batch_size,
    duration_text,
    measured_pace,
    seconds_left,
    seconds_of_trials,
    sweep_seconds_left,
    trials_at_a_time,
)
from deepmac_ablate.launch.status_rows import Evaluating, Pace
from tests.launch.test_status_rows import nan, row

PACE = Pace(step=0.5, setup=20.0, restart=4.0, image=0.1, images=150)


def test_the_time_left_of_a_sweep():
    """The trials that wait follow those that run, as soon as one of these ends."""
    fast = row(1, "running", "fast", step=500, steps_per_second=10.0)
    slow = row(2, "running", "slow", step=0, steps_per_second=1.0)
    # 50 s and 1000 s are left: the longer one decides.
    assert 1000.0 == pytest.approx(sweep_seconds_left([fast, slow]))
    waiting = [row(3, "new", "slow"), row(4, "interrupted", "fast", step=900)]
    done = [row(5, "finished", "slow", step=1000), nan(6)]
    # The slow one begins after 50 s, the fast one, of which 10 s are left, after 1000 s.
    assert 50 + 1000 == pytest.approx(sweep_seconds_left([fast, slow, *waiting, *done]))
    # An arm that never ran is assumed to take the mean of 0.1 and 1 s per step.
    other = row(7, "finished", "other", pace=Pace(1.0))
    assert 50 + 550 == pytest.approx(sweep_seconds_left([fast, row(3, "new", "slow"), other]))
    assert sweep_seconds_left([*waiting, *done]) is None
    assert sweep_seconds_left([row(1, "running")]) is None


def test_the_time_left_of_a_trial_includes_start_and_evaluation():
    """Of the start the part that is left, of steps their own pace, and all images."""
    starting = row(1, "running", seconds=12.0)
    assert 8 + 500 + 15 == pytest.approx(seconds_left(starting, PACE))
    training = row(1, "running", step=600, steps_per_second=4.0, seconds=400.0)
    assert 100 + 15 == pytest.approx(seconds_left(training, PACE))
    # On the way, 40 of 50 images took 20 s; then come the other steps and the last evaluation.
    on_the_way = training._replace(evaluating=Evaluating(40, 50, 20.0))
    assert 5 + 100 + 15 == pytest.approx(seconds_left(on_the_way, PACE))
    last = training._replace(step=1000, evaluating=Evaluating(60, 150, 30.0))
    assert 45 == pytest.approx(seconds_left(last, PACE))
    assert 45 == pytest.approx(seconds_left(last))
    assert seconds_left(row(1, "finished", step=1000), PACE) is None


def test_a_sweep_takes_as_long_as_its_processes():
    """Two processes share twelve trials; only the first trial of a process pays for the start."""
    rows = [row(number, "new", arm) for number, arm in enumerate("aaabbbcccddd")]
    first, other = 20 + 500 + 15, 4 + 500 + 15
    # Six trials each, of two arms each.
    assert 2 * first + 4 * other == pytest.approx(
        seconds_of_trials(rows, dict.fromkeys("abcd", PACE), 2))
    assert 4 * first + 8 * other == pytest.approx(
        seconds_of_trials(rows, dict.fromkeys("abcd", PACE), 1))
    # The seeds of a single arm are shared out.
    assert first + other == pytest.approx(seconds_of_trials(rows[:3], {"a": PACE}, 2))
    assert 0.0 == seconds_of_trials([], {"a": PACE}, 2)


def test_seeds_of_an_arm_share_a_process_up_to_a_fair_share():
    """Of five seeds with two processes three are taken at once; other arms are not."""
    assert [3, 2, 1] == [
        batch_size(list("aaaaab"), 6, 2), batch_size(list("aab"), 4, 1),
        batch_size(list("abb"), 3, 1)]


def test_a_result_tells_what_took_how_long():
    """Per step and per image; the start of a seed that shares a process is a restart."""
    result = {
        "step_seconds": 0.5, "setup_seconds": 20.0, "trials_before": 0, "images": 150,
        "evaluation_seconds": 15.0}
    done = row(1, "finished", step=1000, seconds=540.0, steps_per_second=4.0)
    assert Pace(0.5, 20.0, None, 0.1, 150) == measured_pace(done, result)
    shared = measured_pace(done, {**result, "trials_before": 2, "setup_seconds": 4.0})
    assert 4.0 == shared.restart
    # Earlier versions recorded the last pace only: the rest of the attempt is the start.
    assert Pace(0.25, 290.0) == measured_pace(done, {"step": 1000})
    assert measured_pace(done._replace(attempt=2), {"step": 1000}) is None


def test_trials_at_a_time_come_from_their_intervals():
    """Two processes without a pause are two at a time; a pause between launches does not count."""
    def ran(number, start, seconds):
        return row(number, "finished", started=start, seconds=seconds)

    assert 2 == trials_at_a_time([ran(1, 0, 50), ran(2, 0, 50), ran(3, 50, 50), ran(4, 52, 50)])
    assert 1 == trials_at_a_time([ran(1, 0, 50), ran(2, 5000, 50)])
    assert 1 == trials_at_a_time([row(1, "finished")])


@pytest.mark.parametrize(("seconds", "text"), [
    (42.4, "42 s"), (738.0, "12.3 min"), (18360.0, "5.1 h"), (276480.0, "3.2 days")])
def test_durations_are_short(seconds, text):
    """In the largest unit that gives at least 1, and hours up to two days."""
    assert text == duration_text(seconds)

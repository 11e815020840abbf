"""The circuit breaker, which keeps a mistake that all trials share from wasting all of them."""

from __future__ import annotations

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.launcher import CircuitBreaker
from deepmac_ablate.launch.status_rows import TrialRow


def ended(number, status, cause="", log=""):
    return TrialRow(f"trial{number}", "arm", 0, status, 1, cause=cause, log=log)


def diverged(number):
    return ended(number, "failed", f"The loss is nan between steps {number} and {number + 1}.")


def test_the_first_trial_runs_alone_until_it_has_metrics():
    """Afterwards any number may run, for the rest of the launch."""
    breaker = CircuitBreaker()
    assert breaker.may_start(running=0)
    assert not breaker.may_start(running=1)
    assert breaker.may_start(running=1, has_metrics=True)
    assert breaker.may_start(running=7, has_metrics=False)


@pytest.mark.parametrize(
    ("status", "others_may"), [("finished", True), ("failed", False), ("interrupted", False)])
def test_a_first_trial_without_metrics_lets_others_start_only_if_it_finished(status, others_may):
    """After a failure or an interruption the next trial runs alone again."""
    breaker = CircuitBreaker()
    breaker.record(ended(1, status, "out of memory"))
    assert breaker.may_start(running=0)
    assert others_may == breaker.may_start(running=1)


@pytest.mark.parametrize(("limit", "trials"), [(1, "1 trial"), (3, "3 trials"), (5, "5 trials")])
def test_repeated_failures_with_one_cause_stop_the_launch(limit, trials):
    """Causes that differ in numbers are equal; the message names the cause and the way to go on."""
    breaker = CircuitBreaker(limit)
    for number in range(limit):
        assert breaker.may_start(running=2, has_metrics=True)
        assert "" == breaker.message
        breaker.record(diverged(number))
    assert not breaker.may_start(running=0, has_metrics=True)
    last = limit - 1
    assert (
        f"{trials} in a row failed with the same cause, so no more are started: The loss is "
        f"nan between steps {last} and {limit}. (last: trial{last}, trials/trial{last}/logs). Fix "
        "the cause and launch the sweep again with --retry-failed; finished trials are kept and "
        "interrupted ones resume.") == breaker.message


@pytest.mark.parametrize(
    "between",
    [
        [ended(9, "finished")],
        [ended(9, "failed", "out of memory")],
    ],
    ids=["a success", "another cause"])  # fmt: skip
def test_a_success_or_another_cause_resets_the_count(between):
    """Failures are counted anew from there."""
    breaker = CircuitBreaker(limit=3)
    for result in (diverged(1), diverged(2), *between, diverged(3), diverged(4)):
        breaker.record(result)
        assert breaker.may_start(running=0)
    breaker.record(diverged(5))
    assert not breaker.may_start(running=0)


def test_interruptions_are_ignored():
    """An interruption neither counts as a failure nor resets the count."""
    breaker = CircuitBreaker(limit=2)
    for result in (diverged(1), ended(9, "interrupted", "asked to end"), diverged(2)):
        assert breaker.may_start(running=0)
        breaker.record(result)
    assert not breaker.may_start(running=0)


def test_a_trial_that_fails_again_counts_once():
    """One bad arm that is tried three times does not stop the others."""
    breaker = CircuitBreaker(limit=2)
    for _ in range(3):
        breaker.record(diverged(1))
    assert breaker.may_start(running=0)
    breaker.record(diverged(2))
    assert not breaker.may_start(running=0)


def test_the_message_names_the_log():
    """If the path of the log is known, the message contains it."""
    breaker = CircuitBreaker(limit=1)
    breaker.record(ended(1, "failed", "", log="trials/trial1/logs/train-2.log"))
    assert "unknown cause (last: trial1, trials/trial1/logs/train-2.log)" in breaker.message


def test_a_limit_of_zero_never_stops_a_launch():
    """Negative limits are refused."""
    breaker = CircuitBreaker(limit=0)
    for number in range(9):
        breaker.record(diverged(number))
    assert breaker.may_start(running=0)
    with pytest.raises(UserError, match="limit must be at least 0, got -1"):
        CircuitBreaker(limit=-1)

"""A mistake that all trials share is made by few of them."""

from __future__ import annotations

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.launcher import Breaker
from deepmac_ablate.launch.status_rows import TrialRow


def ended(number, status, cause="", log=""):
    return TrialRow(f"trial{number}", "arm", 0, status, 1, cause=cause, log=log)


def diverged(number):
    return ended(number, "failed", f"The loss is nan between steps {number} and {number + 1}.")


def test_the_first_trial_runs_alone_until_it_has_metrics():
    """Then as many as the launcher likes, for the rest of the launch."""
    breaker = Breaker()
    assert breaker.may_start(running=0)
    assert not breaker.may_start(running=1)
    assert breaker.may_start(running=1, has_metrics=True)
    assert breaker.may_start(running=7, has_metrics=False)


@pytest.mark.parametrize(
    ("status", "others_may"), [("finished", True), ("failed", False), ("interrupted", False)])
def test_the_first_trial_may_end_before_it_has_metrics(status, others_may):
    """If it finished others may follow together; else the next one is alone again."""
    breaker = Breaker()
    breaker.note(ended(1, status, "out of memory"))
    assert breaker.may_start(running=0)
    assert others_may == breaker.may_start(running=1)


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_so_many_failures_of_one_cause_in_a_row_stop_the_launch(limit):
    """Numbers in the cause do not make it another; the message says it and how to go on."""
    breaker = Breaker(limit)
    for number in range(limit):
        assert breaker.may_start(running=2, has_metrics=True)
        assert "" == breaker.message
        breaker.note(diverged(number))
    assert not breaker.may_start(running=0, has_metrics=True)
    last = limit - 1
    assert (
        f"{limit} trials in a row have failed of the same cause, so no more are started: The loss "
        f"is nan between steps {last} and {limit}. (last trial{last}: trials/trial{last}/logs). "
        "Mend it and launch the sweep again: what is finished stays, and what was interrupted goes "
        "on.") == breaker.message


@pytest.mark.parametrize(
    "between",
    [
        [ended(9, "finished")],
        [ended(9, "failed", "out of memory")],
    ],
    ids=["a success", "another cause"])  # fmt: skip
def test_the_row_is_broken(between):
    """Failures count from there anew."""
    breaker = Breaker(limit=3)
    for result in (diverged(1), diverged(2), *between, diverged(3), diverged(4)):
        breaker.note(result)
        assert breaker.may_start(running=0)
    breaker.note(diverged(5))
    assert not breaker.may_start(running=0)


def test_an_interruption_says_nothing():
    """It neither counts nor breaks the row."""
    breaker = Breaker(limit=2)
    for result in (diverged(1), ended(9, "interrupted", "asked to end"), diverged(2)):
        assert breaker.may_start(running=0)
        breaker.note(result)
    assert not breaker.may_start(running=0)


def test_one_trial_that_fails_again_counts_once():
    """A single bad arm that is tried three times does not stop the others."""
    breaker = Breaker(limit=2)
    for _ in range(3):
        breaker.note(diverged(1))
    assert breaker.may_start(running=0)
    breaker.note(diverged(2))
    assert not breaker.may_start(running=0)


def test_the_log_is_named_where_it_is_known():
    """So that one can read on."""
    breaker = Breaker(limit=1)
    breaker.note(ended(1, "failed", "", log="trials/trial1/logs/train-2.log"))
    assert "no cause is known (last trial1: trials/trial1/logs/train-2.log)" in breaker.message


def test_without_a_limit_nothing_stops_it():
    """0 stands for never; less makes no sense."""
    breaker = Breaker(limit=0)
    for number in range(9):
        breaker.note(diverged(number))
    assert breaker.may_start(running=0)
    with pytest.raises(UserError, match="limit must be at least 0, got -1"):
        Breaker(limit=-1)

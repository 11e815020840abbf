"""Progress of loops, in a log and on a terminal."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from deepmac_ablate import progress


def _console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def _let_seconds_pass(monkeypatch, seconds):
    """Let a clock advance by some seconds whenever it is read."""
    clock = itertools.count(step=seconds)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    """A line is printed when some time has passed, not for each item, and the last one has all."""
    _let_seconds_pass(monkeypatch, 4)
    console = _console(terminal=False)

    assert list("abcdefgh") == list(progress.track("abcdefgh", 8, "Converting", console))
    lines = console.file.getvalue().splitlines()
    assert 2 <= len(lines) <= 4
    assert all(line.startswith("Converting: ") and line.endswith(" of 8") for line in lines)
    assert "Converting: 8 of 8" == lines[-1]
    assert len(lines) == len(set(lines))


def test_the_last_line_of_a_training_has_the_last_loss(monkeypatch):
    """Numbers are those of the last update, even if it came right after a printed one."""
    _let_seconds_pass(monkeypatch, 6)
    console = _console(terminal=False)

    with progress.Progress("Training", 5, console=console) as shown:
        for step in range(1, 6):
            shown.update(step, loss=1 / step)
    assert "Training: 5 of 5, loss 0.2" == console.file.getvalue().splitlines()[-1]


def test_a_loop_that_fails_prints_no_last_line(monkeypatch):
    """After an error, the log ends with the last line that was due."""
    _let_seconds_pass(monkeypatch, 6)
    console = _console(terminal=False)

    inverses = (1 / number for number in [5, 4, 3, 2, 1, 0])
    with pytest.raises(ZeroDivisionError):
        list(progress.track(inverses, 6, "Dividing", console))
    assert ["Dividing: 3 of 6"] == console.file.getvalue().splitlines()


def test_a_short_loop_leaves_a_log_alone():
    """Nothing is printed about a loop that is done in a moment."""
    console = _console(terminal=False)

    assert [1, 2] == list(progress.track([1, 2], 2, "Converting", console))
    assert console.file.getvalue() == ""


def test_a_terminal_gets_a_bar():
    """The bar has the description."""
    console = _console(terminal=True)

    assert [1, 2] == list(progress.track([1, 2], 2, "Converting", console))
    assert "Converting" in console.file.getvalue()


def test_a_function_is_told_how_far_a_loop_is(monkeypatch):
    """Now and then and at the end, only while it observes."""
    _let_seconds_pass(monkeypatch, 1)
    told = []
    with progress.observing(told.append, seconds=5.0):
        assert list("abcdefgh") == list(progress.track("abcdefgh", 8, "Converting"))
    list(progress.track("ab", 2, "Converting"))
    assert [("Converting", 8)] * len(told) == [(each.activity, each.total) for each in told]
    done = [each.done for each in told]
    assert 2 < len(done) < 8
    assert (1, 8) == (done[0], done[-1])
    assert [each.seconds for each in told] == sorted(each.seconds for each in told)
    assert told[-1].seconds > 7

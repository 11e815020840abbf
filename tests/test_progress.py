"""How far a loop is."""

from __future__ import annotations

import io

from rich.console import Console

from deepmac_ablate import progress


def _console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    """Not one per item: one when some time has passed."""
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    console = _console(terminal=False)

    assert list("abcdefgh") == list(progress.track("abcdefgh", 8, "Converting", console))
    lines = console.file.getvalue().splitlines()
    assert 1 <= len(lines) <= 3
    assert all(line.startswith("Converting: ") and line.endswith(" of 8") for line in lines)


def test_a_short_loop_leaves_a_log_alone():
    """Nothing to say about what is done in a moment."""
    console = _console(terminal=False)

    assert [1, 2] == list(progress.track([1, 2], 2, "Converting", console))
    assert console.file.getvalue() == ""


def test_a_terminal_gets_a_bar():
    """With the description."""
    console = _console(terminal=True)

    assert [1, 2] == list(progress.track([1, 2], 2, "Converting", console))
    assert "Converting" in console.file.getvalue()

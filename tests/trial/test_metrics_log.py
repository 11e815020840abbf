"""Reading the lines of a file while it is written and replaced."""

from __future__ import annotations

import pytest
from etils import epath

from deepmac_ablate.trial.metrics_log import StepLog
from deepmac_ablate.trial.tracking.mirror import Tail


@pytest.fixture
def path(tmp_path):
    return epath.Path(tmp_path) / "metrics.jsonl"


def test_lines_come_once(path):
    """Each complete line is returned once; a missing file has none."""
    tail = Tail(path)
    assert [] == tail.new_lines()
    path.write_bytes(b"a\nb\n")
    assert [b"a", b"b"] == tail.new_lines()
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(b"c\n")
    assert [b"c"] == tail.new_lines()
    assert [] == tail.new_lines()


def test_an_unfinished_line_waits_for_its_end(path):
    """A line is returned only once it is complete, and then in full."""
    tail = Tail(path)
    path.write_bytes(b"a\nhal")
    assert [b"a"] == tail.new_lines()
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(b"f\n")
    assert [b"half"] == tail.new_lines()


def test_the_lines_of_a_resumed_trial_are_all_seen(path):
    """The lines of a replaced file are read again, whatever its length."""
    log, tail = StepLog(path), Tail(path)
    for step in (1, 2, 3):
        log.append(step, {})
    assert 3 == len(tail.new_lines())
    log.drop_after(1)
    for step in (2, 3, 4, 5):
        log.append(step, {})
    assert [b'{"step": %d' % step for step in (1, 2, 3, 4, 5)] == [
        line.partition(b",")[0] for line in tail.new_lines()]


def test_a_file_that_was_cut_is_read_again(path):
    """A file that became shorter is read from its beginning."""
    tail = Tail(path)
    path.write_bytes(b"a\nb\nc\n")
    tail.new_lines()
    with open(path, "r+b") as file:  # noqa: PTH123
        file.truncate(0)
        file.write(b"d\n")
    assert [b"d"] == tail.new_lines()

"""Lines of a file that is written, and replaced, while it is read."""

from __future__ import annotations

import pytest
from etils import epath

from deepmac_ablate.trial.metrics_log import StepLog
from deepmac_ablate.trial.tracking.mirror import Tail


@pytest.fixture
def path(tmp_path):
    return epath.Path(tmp_path) / "metrics.jsonl"


def test_lines_come_once(path):
    """Each whole line is returned once; a missing file has none."""
    tail = Tail(path)
    assert [] == tail.new_lines()
    path.write_bytes(b"a\nb\n")
    assert [b"a", b"b"] == tail.new_lines()
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(b"c\n")
    assert [b"c"] == tail.new_lines()
    assert [] == tail.new_lines()


def test_an_unfinished_line_waits_for_its_end(path):
    """Half a line is none, and nothing of it is missing once it is whole."""
    tail = Tail(path)
    path.write_bytes(b"a\nhal")
    assert [b"a"] == tail.new_lines()
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(b"f\n")
    assert [b"half"] == tail.new_lines()


def test_the_lines_of_a_resumed_trial_are_all_seen(path):
    """Later lines are dropped, the file is replaced, and what follows is read, however long."""
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
    """The same file, shorter than what was read of it, begins anew."""
    tail = Tail(path)
    path.write_bytes(b"a\nb\nc\n")
    tail.new_lines()
    with open(path, "r+b") as file:  # noqa: PTH123
        file.truncate(0)
        file.write(b"d\n")
    assert [b"d"] == tail.new_lines()

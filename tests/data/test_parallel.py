"""A map over processes."""

from __future__ import annotations

import itertools
import operator
import os

import pytest

from deepmac_ablate.data.parallel import ordered_map
from deepmac_ablate.errors import UserError


def _refuse_30(number):
    if number == 30:
        raise UserError("no 30")
    return number


@pytest.mark.parametrize("num_processes", [1, 2])
def test_results_come_in_the_order_of_the_tasks(num_processes):
    """Whoever computes them."""
    numbers = list(range(100))

    assert [-n for n in numbers] == list(ordered_map(operator.neg, numbers, num_processes))


def test_other_processes_compute():
    """Two processes, neither of them this one."""
    found = set(ordered_map(_process_id, range(200), 2))

    assert os.getpid() not in found
    assert 1 <= len(found) <= 2


def _process_id(_):
    return os.getpid()


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_exception_reaches_the_caller(num_processes):
    """With its message, and none of the results after it."""
    done = []
    with pytest.raises(UserError, match="no 30"):
        done.extend(ordered_map(_refuse_30, range(1000), num_processes))
    assert done == list(range(len(done)))
    assert len(done) <= 30


def test_it_does_not_run_ahead_of_its_reader():
    """Of endless tasks only a few are taken per result."""
    taken = itertools.count()
    results = ordered_map(operator.neg, (next(taken) for _ in itertools.count()), 2)

    assert 0 == next(results)
    results.close()
    assert next(taken) <= 100

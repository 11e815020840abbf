"""Trials that several tests of comparisons share."""

from __future__ import annotations

import pytest

from tests.helpers import compared_trials
from tests.helpers.compared_trials import better, objects


@pytest.fixture
def shifted(tmp_path):
    """Two arms with two seeds; on b, dogs are .1 better except on image 1, where cats are worse."""
    def instances(arm, seed):
        table = objects(seed=0)
        table = better(table, seed / 100)
        if arm == "a":
            return table
        table = better(table, 0.1, (table["category_id"] == 2) & (table["image_id"] != 1))
        return better(table, -0.25, (table["category_id"] == 1) & (table["image_id"] == 1))

    return compared_trials.arms(tmp_path, {"a": [0, 1], "b": [0, 1]}, instances)

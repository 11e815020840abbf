"""Sweeps launched into clouds on this machine: real clients, real workers, every kind of end."""

from __future__ import annotations

import json
import signal

import pytest

from deepmac_ablate.sweep import stopping
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir
from tests import launching
from tests.cloud import clouds
from tests.supervised import wait_until

pytestmark = pytest.mark.slow  # Each worker and each client takes seconds to be imported.


@pytest.fixture(params=["gke", "vertex"])
def cloud(request, tmp_path, monkeypatch):
    """A cloud that this process finds, too."""
    with clouds.serving(request.param, tmp_path) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        yield served


def test_trials_finish_or_fail_and_a_second_launch_submits_only_what_is_missing(cloud, tmp_path):
    """The workdir on gs:// says what became of each, and why."""
    mended = tmp_path / "mended"
    a_plan = launching.plan((), ("end = fail shapes (3, 4) do not fit", f"unless = {mended}"))
    job = clouds.launch(cloud.executor, a_plan)
    rows = {row.id: row for row in job.observer.rows()}
    assert ["finished", "failed"] == [rows[it].status for it in ("t0", "t1")]
    assert "ValueError: shapes (3, 4) do not fit" == rows["t1"].cause
    log = cloud.store.objects["bucket/w/trials/t1/logs/train-1.log"]
    assert b"step 2 of 3" in log and b"do not fit" in log

    assert [] == clouds.launch(cloud.executor, a_plan).missing
    mended.touch()
    clouds.launch(cloud.executor, a_plan, retry_failed=True)
    assert {"t0": "finished", "t1": "finished"} == clouds.statuses(a_plan)
    assert [1, 2] == [clouds.starts(cloud, it) for it in ("t0", "t1")]

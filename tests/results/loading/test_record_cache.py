"""The cache of finished trials saves time and does not change results."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from deepmac_ablate import results
from deepmac_ablate.results.loading import record_cache
from tests.helpers import result_workdirs

ROOT = Path(__file__).resolve().parents[3]
NAME = "groundtruth/iou/novel"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def sweep(tmp_path):
    """A workdir with three trials, two finished, one of them with an undefined metric."""
    a_plan = result_workdirs.plan({"a": {"x": "1"}}, seeds=3)
    workdir = result_workdirs.write(tmp_path / "w", a_plan)
    for seed, number in ((0, 0.5), (1, None)):
        result_workdirs.finish(
            workdir, a_plan, f"a-{seed}", {NAME: number, f"other/{seed}/all": 0.1 + 0.2})
    return workdir


def replaced_unseen(path: Path, old: str, new: str) -> None:
    """Change the content of a file without changing its size and time."""
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_finished_trials_are_not_read_again(sweep):
    """A finished trial whose files have the same stamps is not read again."""
    first = results.load(sweep.path)
    replaced_unseen(sweep.folder("a-0") / "result.json", "0.5", "0.7")
    pd.testing.assert_frame_equal(first, results.load(sweep.path))


@pytest.mark.parametrize(("change", "column", "expected"), [
    (lambda trial: trial.write_result({"step": 600, NAME: 0.7}), NAME, 0.7),
    (lambda trial: (trial.path / "sweep.json").write_text('{"arm": "b"}'), "arm", "b"),
    (lambda trial: (trial.path / "trial.json").write_text(
        '{"id": "a-0", "seed": 7, "arm": "a", "bindings": [], "gin_files": []}'), "seed", 7),
    (lambda trial: trial.append_attempt(result_workdirs.attempt()), "attempts", 2),
    (lambda trial: (trial.path / "result.json").unlink(), "status", "running"),
])
def test_a_changed_file_is_read_again(sweep, change, column, expected):
    """A change of any file of a trial is seen, and other trials stay the same."""
    # The plan would override the values of the changed files.
    (sweep.path / "plan.json").unlink()
    before = results.load(sweep.path).set_index("trial")
    change(sweep.trial("a-0"))
    for _ in range(2):
        after = results.load(sweep.path).set_index("trial")
        assert expected == after.loc["a-0", column] != before.loc["a-0", column]
        same = before.columns.drop("other/0/all")
        pd.testing.assert_series_equal(before.loc["a-1", same], after.loc["a-1", same])


def test_a_trial_that_finished_since_is_added(sweep):
    """A trial that finished since the last load is added to the cache."""
    assert 1 == (results.load(sweep.path)["status"] == "new").sum()
    result_workdirs.finish(sweep, sweep.read_plan(), "a-2", {NAME: 0.25})
    assert ["finished"] * 3 == list(results.load(sweep.path)["status"])
    assert ["a-0", "a-1", "a-2"] == list(record_cache.read_cache(str(sweep.path)))


def test_a_cached_trial_equals_the_one_that_was_read(sweep, home):
    """Cached trials have all values, including undefined metrics and metrics others lack."""
    first = results.load(sweep.path)
    assert 2 == len(record_cache.read_cache(str(sweep.path)))
    pd.testing.assert_frame_equal(first, results.load(sweep.path))
    assert 1 == len(list((home / "deepmac_ablate" / "results").iterdir()))


def test_a_broken_cache_is_ignored_and_replaced(sweep, home):
    """A cache file that was cut or changed anywhere is ignored and written again."""
    expected = results.load(sweep.path)
    [path] = (home / "deepmac_ablate" / "results").iterdir()
    whole, draw = path.read_bytes(), random.Random(0)
    contents = [b"", b"{}", bytes(200)]
    for _ in range(25):
        at = draw.randrange(len(whole))
        contents += [whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]]
    for content in contents:
        path.write_bytes(content)
        assert {} == record_cache.read_cache(str(sweep.path))
        pd.testing.assert_frame_equal(expected, results.load(sweep.path))
        assert whole == path.read_bytes()


def test_an_unusable_cache_folder_is_ignored(sweep, home):
    """Results load if the cache folder cannot be created."""
    home.write_text("")
    assert ["finished", "finished", "new"] == list(results.load(sweep.path)["status"])
    assert "" == home.read_text()


_SAVES = """
import sys
from deepmac_ablate.results.loading import record_cache
from deepmac_ablate.results.loading.source import TrialRecord
count = 0
while True:
    count = count % 50 + 1
    metrics = {f"a/{n}/all": 1 / (n + count) for n in range(300)}
    record_cache.write_cache(sys.argv[1], {
        f"t{n}": record_cache.CachedTrial([count], TrialRecord(f"t{n}", metrics=metrics))
        for n in range(count)})
    print(count, flush=True)
"""


def test_a_killed_writer_leaves_a_complete_file(tmp_path):
    """A reader always finds one complete content, even if a writer was killed."""
    where, draw = str(tmp_path / "w"), random.Random(1)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _SAVES, where], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)})
        writer.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        entries = record_cache.read_cache(where)
        [count] = {entry.stamps[0] for entry in entries.values()}
        assert [f"t{number}" for number in range(count)] == list(entries)
        metrics = {f"a/{number}/all": 1 / (number + count) for number in range(300)}
        assert (f"t{count - 1}", metrics) == (
            entries[f"t{count - 1}"].record.trial, entries[f"t{count - 1}"].record.metrics)

"""Trials kept from earlier looks: they save time and change nothing."""

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
from deepmac_ablate.results.loading import cache
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
    """The workdir of three trials, two of which are finished; one has an undefined number."""
    a_plan = result_workdirs.plan({"a": {"x": "1"}}, seeds=3)
    workdir = result_workdirs.write(tmp_path / "w", a_plan)
    for seed, number in ((0, 0.5), (1, None)):
        result_workdirs.finish(
            workdir, a_plan, f"a-{seed}", {NAME: number, f"other/{seed}/all": 0.1 + 0.2})
    return workdir


def replaced_unseen(path: Path, old: str, new: str) -> None:
    """Changes a file in a way that nothing but its content tells."""
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_finished_trials_are_not_read_again(sweep):
    """A change that leaves no trace in size and time goes unseen, which shows it."""
    first = results.load(sweep.path)
    replaced_unseen(sweep.folder("a-0") / "result.json", "0.5", "0.7")
    pd.testing.assert_frame_equal(first, results.load(sweep.path))


@pytest.mark.parametrize(("change", "column", "expected"), [
    (lambda trial: trial.write_result({"step": 600, NAME: 0.7}), NAME, 0.7),
    (lambda trial: (trial.path / "sweep.json").write_text('{"arm": "b"}'), "arm", "b"),
    (lambda trial: (trial.path / "trial.json").write_text('{"id": "a-0", "seed": 7}'), "seed", 7),
    (lambda trial: trial.append_attempt(result_workdirs.attempt()), "attempts", 2),
    (lambda trial: (trial.path / "result.json").unlink(), "status", "running"),
])
def test_what_has_changed_is_seen(sweep, change, column, expected):
    """Whichever file it was; the others are as they were."""
    # What the plan says is never kept.
    (sweep.path / "plan.json").unlink()
    before = results.load(sweep.path).set_index("trial")
    change(sweep.trial("a-0"))
    for _ in range(2):
        after = results.load(sweep.path).set_index("trial")
        assert expected == after.loc["a-0", column] != before.loc["a-0", column]
        same = before.columns.drop("other/0/all")
        pd.testing.assert_series_equal(before.loc["a-1", same], after.loc["a-1", same])


def test_a_trial_that_has_finished_since_is_kept_too(sweep):
    """Beside those that were before."""
    assert 1 == (results.load(sweep.path)["status"] == "new").sum()
    result_workdirs.finish(sweep, sweep.read_plan(), "a-2", {NAME: 0.25})
    assert ["finished"] * 3 == list(results.load(sweep.path)["status"])
    assert ["a-0", "a-1", "a-2"] == list(cache.load(str(sweep.path)))


def test_a_kept_trial_is_the_one_that_was_read(sweep, home):
    """With undefined numbers, numbers that others lack, and all else."""
    first = results.load(sweep.path)
    assert 2 == len(cache.load(str(sweep.path)))
    pd.testing.assert_frame_equal(first, results.load(sweep.path))
    assert 1 == len(list((home / "deepmac_ablate" / "results").iterdir()))


def test_a_broken_cache_is_as_good_as_none(sweep, home):
    """Cut anywhere, with any byte changed, or something else altogether."""
    expected = results.load(sweep.path)
    [path] = (home / "deepmac_ablate" / "results").iterdir()
    whole, draw = path.read_bytes(), random.Random(0)
    contents = [b"", b"{}", bytes(200)]
    for _ in range(25):
        at = draw.randrange(len(whole))
        contents += [whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]]
    for content in contents:
        path.write_bytes(content)
        assert {} == cache.load(str(sweep.path))
        pd.testing.assert_frame_equal(expected, results.load(sweep.path))
        assert whole == path.read_bytes()


def test_without_a_place_for_it_all_is_read_anew(sweep, home):
    """A file where the folder should be."""
    home.write_text("")
    assert ["finished", "finished", "new"] == list(results.load(sweep.path)["status"])
    assert "" == home.read_text()


_SAVES = """
import sys
from deepmac_ablate.results.loading import cache
from deepmac_ablate.results.loading.source import Record
count = 0
while True:
    count = count % 50 + 1
    metrics = {f"a/{n}/all": 1 / (n + count) for n in range(300)}
    cache.save(sys.argv[1], {
        f"t{n}": cache.Entry([count], Record(f"t{n}", metrics=metrics)) for n in range(count)})
    print(count, flush=True)
"""


def test_a_killed_writer_leaves_nothing_half(tmp_path):
    """What a reader meets at any time is one whole content, the last or the one before."""
    where, draw = str(tmp_path / "w"), random.Random(1)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _SAVES, where], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)})
        writer.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        entries = cache.load(where)
        [count] = {entry.stamps[0] for entry in entries.values()}
        assert [f"t{number}" for number in range(count)] == list(entries)
        metrics = {f"a/{number}/all": 1 / (number + count) for number in range(300)}
        assert (f"t{count - 1}", metrics) == (
            entries[f"t{count - 1}"].record.trial, entries[f"t{count - 1}"].record.metrics)

"""Files of lines on a disk and on ``gs://``: appended, read and merged, whoever is killed when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from etils import epath

from deepmac_ablate.storage import file_io, line_files
from deepmac_ablate.trial.metrics_log import StepLog
from tests.fakes.gcs_server import GcsServer

ROOT = Path(__file__).resolve().parents[2]
PATH = epath.Path("gs://bucket/w/metrics.jsonl")
NAME = "bucket/w/metrics.jsonl"


def parts(server: GcsServer) -> list[str]:
    """Return the names of the parts, in the order of their times."""
    return [name for name in server.objects if name.startswith(f"{NAME}.part-")]


def changes(server: GcsServer, name: str) -> int:
    """Return the number of writes to an object, which Google permits about once a second."""
    path = name.partition("/")[2]
    return sum(
        request.method == "POST" and (
            request.query.get("name") == path or request.path.endswith(f"/o/{path}/compose"))
        for request in server.requests)


def test_a_line_costs_one_small_request(object_store):
    """30 lines in a second replace the object once, and nothing is downloaded again."""
    line_files.append_line(PATH, '{"step": 0}')
    object_store.requests.clear()
    for step in range(1, 31):
        line_files.append_line(PATH, json.dumps({"step": step, "pad": "x" * 200}))
    assert 30 == len(object_store.requests)
    assert 0 == changes(object_store, NAME)
    assert b'{"step": 0}\n' == object_store.objects[NAME]
    assert list(range(31)) == [line["step"] for line in StepLog(PATH).read()]


def test_parts_are_merged_by_the_store(object_store, monkeypatch):
    """Later lines bring the earlier ones into the file, without a download."""
    monkeypatch.setattr(line_files, "_SECONDS_BETWEEN_MERGES", 0.2)
    line_files.append_line(PATH, "a")
    line_files.append_line(PATH, "b")
    assert b"a\n" == object_store.objects[NAME]
    time.sleep(0.3)
    object_store.requests.clear()
    line_files.append_line(PATH, "c")
    assert b"a\nb\nc\n" == object_store.objects[NAME]
    assert [] == parts(object_store)
    assert not [it for it in object_store.requests if it.method == "GET"]


def test_more_parts_than_the_store_takes_at_once_are_merged(object_store, monkeypatch):
    """A request takes 32 objects, the file among them."""
    monkeypatch.setattr(line_files, "_SECONDS_BETWEEN_MERGES", 1e9)
    lines = [f"line {number}" for number in range(80)]
    for line in lines:
        line_files.append_line(PATH, line)
    assert lines == [line.decode() for line in line_files.read_lines(PATH)]
    line_files._appender(os.fspath(PATH)).merge()
    assert lines == object_store.objects[NAME].decode().splitlines()
    assert [] == parts(object_store)
    sources = [it for it in object_store.requests if it.path.endswith("/compose")]
    assert 3 <= len(sources) < 10


def test_a_single_object_of_an_earlier_version_goes_on(object_store):
    """Its lines stay; an incomplete last one is dropped."""
    object_store.objects[NAME] = b"1\n2\nbro"
    assert [b"1", b"2"] == line_files.read_lines(PATH)
    line_files.append_line(PATH, "3")
    assert b"1\n2\n3\n" == object_store.objects[NAME]


_WRITER = """
import sys, time
from etils import epath
from deepmac_ablate.storage import line_files
line_files._SECONDS_BETWEEN_MERGES = 0.03
for number in range(int(sys.argv[1]), 10_000):
    line_files.append_line(epath.Path("gs://bucket/w/metrics.jsonl"), f"line {number}")
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_loses_nothing(object_store):
    """Whenever it is, all lines that were written are read, once each and in order."""
    written = -1
    for seconds in (0.05, 0.3, 0.11, 0.2):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(written + 1)], cwd=ROOT, stdout=subprocess.PIPE,
            text=True, env=os.environ | object_store.environment())
        written = int(writer.stdout.readline())
        time.sleep(seconds)
        writer.kill()
        rest = writer.communicate()[0].split()
        written = int(rest[-1]) if rest else written
        found = [int(line.split()[1]) for line in line_files.read_lines(PATH)]
        # One more line may have been stored, but not reported.
        assert found in (list(range(written + 1)), list(range(written + 2)))
        written = found[-1]
    assert written > 10
    line_files.merge_parts(PATH)
    assert list(range(written + 1)) == [
        int(line.split()[1]) for line in object_store.objects[NAME].splitlines()]
    assert [] == parts(object_store)


@pytest.mark.parametrize("how", ["mute", 503])
def test_an_answer_that_is_lost_repeats_no_line(object_store, how):
    """The store may have merged parts, although the writer did not hear of it."""
    line_files.append_line(PATH, "a")
    line_files.append_line(PATH, "b")
    object_store.fail(how, 1, containing="/compose")
    line_files._appender(os.fspath(PATH)).merge()
    line_files.append_line(PATH, "c")
    assert [b"a", b"b", b"c"] == line_files.read_lines(PATH)
    line_files.merge_parts(PATH)
    assert b"a\nb\nc\n" == object_store.objects[NAME]


def test_parts_that_were_merged_are_not_read_twice(object_store):
    """A writer may be killed after the merge, before it deletes the parts."""
    object_store.objects[NAME] = b"a\nb\n"
    object_store.objects[f"{NAME}.part-{1:020}"] = b"b\n"
    object_store.objects[f"{NAME}.part-{2:020}"] = b"c\n"
    assert [b"a", b"b", b"c"] == line_files.read_lines(PATH)
    line_files.append_line(PATH, "d")
    assert b"a\nb\nc\nd\n" == object_store.objects[NAME]


def test_steps_that_are_repeated_are_dropped_from_parts_too(object_store):
    """A trial that goes on from step 2 has each step once."""
    log = StepLog(PATH)
    for step in range(1, 6):
        log.append(step, {})
    assert parts(object_store)
    again = StepLog(PATH)
    again.drop_after(2)
    assert [1, 2] == [line["step"] for line in again.read()]
    again.append(3, {})
    assert [1, 2, 3] == [line["step"] for line in StepLog(PATH).read()]


def test_a_copy_on_a_disk_has_the_parts(tmp_path):
    """A workdir that was copied from gs:// is read and goes on with all of its lines."""
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_text('{"step": 1}\n')
    (tmp_path / f"metrics.jsonl.part-{7:020}").write_text('{"step": 2}\n')
    log = StepLog(path)
    assert [1, 2] == [line["step"] for line in log.read()]
    log.drop_after(2)
    log.append(3, {})
    assert [1, 2, 3] == [line["step"] for line in log.read()]
    assert ["metrics.jsonl"] == [each.name for each in tmp_path.iterdir()]


def test_lines_are_appended_on_a_disk(tmp_path):
    """An incomplete last line is removed before a line is appended."""
    path = epath.Path(tmp_path / "x")
    for line in ("1", "2"):
        line_files.append_line(path, line)
    assert [b"1", b"2"] == line_files.read_lines(path)
    file_io.write(path, b"1\n2\nbro")
    line_files.append_line(path, "3")
    assert b"1\n2\n3\n" == path.read_bytes()

"""Files on ``gs://``: atomic writes, fresh listings, concurrent reads and plain errors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import file_io, gcs
from tests.fakes.gcs_server import GcsServer

FOLDER = epath.Path("gs://bucket/w")

CODE = """
import sys
from etils import epath
from deepmac_ablate.storage import file_io

assert "google.cloud.storage" not in sys.modules
file_io.write(epath.Path("gs://bucket/x"), "1")
print(file_io.read("gs://bucket/x"), "tensorflow" in sys.modules)
"""


def paths(server: GcsServer) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.requests]


def test_gs_is_read_without_tensorflow(object_store):
    """TensorFlow is not imported for gs:// paths, nor the client for other paths."""
    run = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | object_store.environment(),
        capture_output=True, text=True, check=True)
    assert "b'1' False" == run.stdout.strip()


def test_a_file_is_read_and_written_by_one_request(object_store):
    """A file is written and read by a single request."""
    file_io.write(FOLDER / "a b" / "ü", b"\r\n--==0==\xff")
    assert b"\r\n--==0==\xff" == object_store.objects["bucket/w/a b/ü"]
    assert b"\r\n--==0==\xff" == file_io.read(FOLDER / "a b" / "ü")
    assert b"=\xff" == file_io.read_tail(FOLDER / "a b" / "ü", 2)
    assert 3 == len(object_store.requests)


def test_an_interrupted_answer_is_read_again_from_its_start(object_store):
    """A tail is complete even if the connection breaks, and may exceed the file."""
    content = bytes(range(256)) * 4000
    object_store.objects["bucket/w/x"] = content
    for tail in (None, 2_000_000, 600_000):
        object_store.fail("cut", 2)
        assert content[-(tail or 0):] == file_io.read_many([f"{FOLDER}/x"], tail)[f"{FOLDER}/x"]
        assert not object_store.failing


def test_readers_meet_whole_files(object_store):
    """Readers see complete files while a writer replaces them."""
    contents = {b"a" * 300_000, b"b" * 10}
    ended = threading.Event()

    def write():
        while not ended.is_set():
            for content in contents:
                file_io.write(FOLDER / "x", content)

    file_io.write(FOLDER / "x", b"b" * 10)
    writer = threading.Thread(target=write)
    writer.start()
    met = {file_io.read(FOLDER / "x") for _ in range(60)}
    ended.set()
    writer.join()
    assert met <= contents


def test_another_writers_files_are_seen_at_once(object_store):
    """Listings and contents are never cached."""
    assert (False, []) == (FOLDER.exists(), list(FOLDER.iterdir()))
    object_store.objects["bucket/w/x"] = b"1"
    assert (True, [FOLDER / "x"]) == (FOLDER.is_dir(), list(FOLDER.iterdir()))
    assert 1 == (FOLDER / "x").stat().length
    object_store.objects["bucket/w/x"] = b"12"
    assert 2 == (FOLDER / "x").stat().length
    del object_store.objects["bucket/w/x"]
    assert (False, False) == ((FOLDER / "x").exists(), FOLDER.exists())


def test_many_files_are_read_at_a_time(object_store, tmp_path):
    """Files on gs:// and on disk are read together; only missing ones are None."""
    (tmp_path / "x").write_text("disk")
    object_store.objects.update(
        {f"bucket/w/{number}": b"%d" % number for number in range(150)})
    object_store.objects["bucket/w/empty"] = b""
    wanted = [f"gs://bucket/w/{number}" for number in range(150)]
    others = ["gs://bucket/w/no", "gs://bucket/w/empty", f"{tmp_path}/x", f"{tmp_path}/no"]
    found = file_io.read_many([*wanted, *others])
    assert [*wanted, *others] == list(found)
    assert [b"%d" % number for number in range(150)] == [found[path] for path in wanted]
    assert [None, b"", b"disk", None] == [found[path] for path in others]
    tails = file_io.read_many([wanted[120], *others], 2)
    assert [b"20", None, b"", b"sk", None] == list(tails.values())


def test_a_folder_is_there_while_something_is_in_it(object_store):
    """Making a folder sends no request, and TensorFlow's folder objects are not files."""
    (FOLDER / "a" / "b").mkdir(parents=True)
    epath.Path("gs://other/a").mkdir(parents=True, exist_ok=True)
    assert [] == object_store.requests
    object_store.objects.update({
        "bucket/w/a/": b"", "bucket/w/a/x": b"1", "bucket/w/a/b/y.log": b"2",
        "bucket/w/c/b/z.log": b"3", "bucket/w/c/b/z.txt": b""})
    assert ["a", "c"] == [path.name for path in FOLDER.iterdir()]
    assert ["b", "x"] == [path.name for path in (FOLDER / "a").iterdir()]
    assert (True, False) == ((FOLDER / "a").is_dir(), (FOLDER / "a").is_file())
    assert ["gs://bucket/w/a/b/y.log", "gs://bucket/w/c/b/z.log"] == [
        os.fspath(path) for path in FOLDER.glob("*/b/*.log")]
    assert [FOLDER / "a" / "x"] == list(FOLDER.glob("*/x"))
    (FOLDER / "a").rmtree()
    assert ["bucket/w/c/b/z.log", "bucket/w/c/b/z.txt"] == list(object_store.objects)


def test_a_file_is_deleted_and_renamed(object_store):
    """Deleting a missing file is an error unless it is allowed."""
    file_io.write(FOLDER / "x", "1")
    (FOLDER / "x").replace(FOLDER / "y")
    assert {"bucket/w/y": b"1"} == dict(object_store.objects)
    (FOLDER / "y").unlink()
    (FOLDER / "y").unlink(missing_ok=True)
    for work in (FOLDER / "y").unlink, (FOLDER / "y").read_bytes, (FOLDER / "y").stat:
        with pytest.raises(FileNotFoundError, match="gs://bucket/w/y"):
            work()


@pytest.mark.parametrize("work", [
    lambda path: file_io.read(path), lambda path: file_io.write(path, "1"),
    lambda path: path.exists(), lambda path: list(path.iterdir()),
    lambda path: path.unlink(missing_ok=True), lambda path: file_io.read_many([str(path)]),
], ids=["read", "write", "exists", "list", "delete", "many"])
def test_a_bucket_that_is_not_there_is_named(object_store, work):
    """A missing bucket is an error and is not created."""
    with pytest.raises(UserError, match=r"^There is no bucket gs://buckt\.$"):
        work(epath.Path("gs://buckt/w/x"))
    assert {"bucket"} == object_store.buckets.keys()
    assert not [path for path in paths(object_store) if path == "POST /storage/v1/b"]


@pytest.mark.parametrize(("status", "message"), [
    (401, r"^Access to gs://bucket/w/x needs valid Google credentials; run `gcloud auth "
          r"application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file\.$"),
    (403, r"^Access to gs://bucket/w/x was denied: somebody@example\.com does not have "
          r"storage\.objects\.get access to .*\.$"),
    (400, r"^gs://bucket/w/x is not a valid location: Invalid bucket name: 'B'\.$"),
])
def test_refusals_are_reported_in_one_sentence(object_store, capfd, status, message):
    """A denied request raises a UserError that is an OSError, without a logged traceback."""
    file_io.write(FOLDER / "x", "1")
    for work in (
            lambda: file_io.read(FOLDER / "x"), lambda: file_io.write(FOLDER / "x", "2"),
            lambda: (FOLDER / "x").exists()):
        # A question may be several requests.
        object_store.fail(status, 5)
        with pytest.raises(UserError, match=message) as caught:
            work()
        assert isinstance(caught.value, OSError)
        object_store.heal()
    assert ("", "") == tuple(capfd.readouterr())


@pytest.mark.parametrize("how", [503, 429, "drop", "cut"])
def test_what_fails_for_a_moment_is_tried_again(object_store, how):
    """Requests are repeated after temporary failures."""
    for work in lambda: file_io.write(FOLDER / "x", "1"), lambda: file_io.read(FOLDER / "x"):
        object_store.fail(how)
        work()
    assert b"1" == file_io.read(FOLDER / "x")


def test_a_store_that_cannot_be_reached_is_named(monkeypatch):
    """An unreachable store is reported in one sentence without internal addresses."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    store = gcs.ObjectStore(gcs.TimeLimits(tries=0.1))
    with pytest.raises(UserError, match=(
            r"^Cannot reach gs://bucket/w/x: [^<>]*127\.0\.0\.1[^<>]* Connection refused$")):
        store.read("gs://bucket/w/x")


def test_stand_in_servers_need_no_credentials(object_store, monkeypatch):
    """An emulator never receives real credentials."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json")
    gcs.shared_store().write("gs://bucket/x", b"1")
    assert ["authorization" in request.headers for request in object_store.requests] == [False]


@pytest.mark.parametrize("has_scheme", [True, False])
def test_an_emulator_may_be_named_without_its_scheme(object_store, monkeypatch, has_scheme):
    """An emulator's address may omit http://."""
    url = object_store.url if has_scheme else object_store.url.removeprefix("http://")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    file_io.write(FOLDER / "x", "1")
    assert b"1" == file_io.read(FOLDER / "x")


def test_a_bad_file_of_credentials_is_named(monkeypatch, tmp_path):
    """Broken credentials are reported without a request."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no.json"))
    with pytest.raises(UserError, match=r"^The Google credentials for gs:// cannot be used \(File "
                       r".*no\.json was not found\.\); run `gcloud auth "):
        file_io.read(FOLDER / "x")

"""The stand-in for the object store, checked with Google's own clients."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys

import pytest
from google.api_core import exceptions
from google.cloud import storage

from tests.fakes.gcs_server import GcsServer

# Once a rename is over, nothing is left of a checkpoint's parts.
TENSORFLOW = """
import tensorflow as tf

gfile = tf.io.gfile
gfile.makedirs("gs://bucket/d/e")
with gfile.GFile("gs://bucket/d/x", "w") as file:
    file.write("hello" * 1000)
gfile.rename("gs://bucket/d/x", "gs://bucket/d/y")
print(gfile.exists("gs://bucket/d/x"), sorted(gfile.listdir("gs://bucket/d")))
print(gfile.GFile("gs://bucket/d/y").read() == "hello" * 1000)
gfile.remove("gs://bucket/d/y")
variable = tf.Variable([1.0, 2.0])
manager = tf.train.CheckpointManager(
    tf.train.Checkpoint(variable=variable), "gs://bucket/checkpoints", max_to_keep=1)
for value in (3.0, 4.0):
    variable.assign([value, value])
    manager.save()
variable.assign([0.0, 0.0])
manager.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
print(variable.numpy().tolist())
with tf.io.TFRecordWriter("gs://bucket/records-0") as writer:
    for number in range(100):
        writer.write(b"%d" % number)
read = tf.data.TFRecordDataset(gfile.glob("gs://bucket/records-*"))
print([int(record.numpy()) for record in read] == list(range(100)))
"""


@pytest.fixture
def server():
    with GcsServer("bucket", "other") as server:
        yield server


@pytest.fixture
def client(server, monkeypatch):
    """Google's client, which finds the server by its environment variable."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return storage.Client()


def test_objects_have_the_uploaded_content(server, client):
    """An object has the bytes that were uploaded, in one request or in parts."""
    large = random.Random(1).randbytes(700_000)
    for data, chunk_size in ((b"", None), (b"\r\n--==0==\r\n--", None), (large, 1 << 18)):
        blob = client.bucket("bucket").blob("a b/ü", chunk_size=chunk_size)
        blob.upload_from_string(data, checksum="md5")
        assert data == server.objects["bucket/a b/ü"]
        assert hashlib.md5(data).digest() == hashlib.md5(blob.download_as_bytes()).digest()
    assert large[4:7] == blob.download_as_bytes(start=4, end=6)
    blob = client.bucket("bucket").blob("a b/ü")
    assert large[-3:] == blob.download_as_bytes(start=-3)
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=len(large))


def test_conditions_on_generations_hold(server, client):
    """An object is created, replaced and deleted only in the requested generation."""
    blob = client.bucket("bucket").blob("x")
    blob.upload_from_string("1", if_generation_match=0)
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        client.bucket("bucket").blob("x").upload_from_string("2", if_generation_match=0)
    client.bucket("bucket").blob("x").upload_from_string("2", if_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        client.bucket("bucket").blob("x").delete(if_generation_match=first)
    with pytest.raises(exceptions.NotFound):
        client.bucket("bucket").blob("x", generation=first).reload()
    blob = client.bucket("bucket").get_blob("x")
    assert blob.generation > first
    blob.metadata = {"holder": "me"}
    blob.patch(if_metageneration_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_metageneration_match=1)
    blob.delete(if_generation_match=blob.generation)
    assert {} == dict(server.objects)


def test_a_listing_has_folders_and_pages(server, client):
    """A listing has folders among objects, on as many pages as needed."""
    server.page_size = 2
    for name in ("a", "b/1", "b/2", "c", "d/e/f", "d/x", "z"):
        server.objects[f"bucket/{name}"] = b""
    found = client.list_blobs("bucket", delimiter="/")
    assert ["a", "c", "z"] == [blob.name for blob in found]
    assert {"b/", "d/"} == found.prefixes
    assert ["d/e/f", "d/x"] == [blob.name for blob in client.list_blobs("bucket", prefix="d/")]


def test_objects_are_copied_and_joined(server, client):
    """Objects are copied and composed within a bucket and to another one."""
    bucket, other = client.bucket("bucket"), client.bucket("other")
    server.objects["bucket/a"], server.objects["bucket/b"] = b"1", b"2"
    bucket.copy_blob(bucket.blob("a"), other, "c")
    bucket.blob("ab").compose([bucket.blob("a"), bucket.blob("b")])
    assert (b"1", b"12") == (server.objects["other/c"], server.objects["bucket/ab"])
    bucket.rename_blob(bucket.blob("a"), "moved")
    assert ["bucket/ab", "bucket/b", "bucket/moved", "other/c"] == list(server.objects)


def test_missing_objects_have_googles_messages(client):
    """A missing object and a missing bucket are distinguished."""
    with pytest.raises(exceptions.NotFound, match="No such object: bucket/no"):
        client.bucket("bucket").blob("no").download_as_bytes()
    with pytest.raises(exceptions.NotFound, match=r"The specified bucket does not exist\."):
        client.bucket("no").blob("x").upload_from_string("")


@pytest.mark.parametrize("how", [503, 429, "drop", "mute"])
def test_failed_requests_are_retried(server, client, how):
    """The client retries requests that failed, or that were not answered."""
    server.objects["bucket/x"] = b"1"
    server.fail(how, method="GET", containing="/x")
    assert b"1" == client.bucket("bucket").blob("x").download_as_bytes()
    asked = [request.path for request in server.requests if request.path.endswith("/o/x")]
    assert 2 == len(asked)


def test_an_unanswered_request_is_carried_out(server, client):
    """The retry of a write whose answer was lost finds the object already written."""
    server.fail("mute", method="POST")
    blob = client.bucket("bucket").blob("x")
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string("1", if_generation_match=0)
    assert b"1" == server.objects["bucket/x"]


def test_the_server_has_its_own_clock(server, client):
    """Times of objects are those of the server's clock."""
    server.seconds_ahead = -86400.0
    blob = client.bucket("bucket").blob("x")
    blob.upload_from_string("1")
    assert abs((server.now() - blob.updated).total_seconds()) < 5


@pytest.mark.extended
@pytest.mark.slow
def test_tensorflow_reads_and_writes_files(server):
    """TensorFlow's file system reads and writes files, checkpoints and records."""
    run = subprocess.run(
        [sys.executable, "-c", TENSORFLOW], env=os.environ | server.tensorflow_environment(),
        capture_output=True, text=True)
    assert not run.returncode, run.stderr
    assert ["False ['e/', 'y']", "True", "[4.0, 4.0]", "True"] == run.stdout.splitlines()
    assert ["checkpoint", "ckpt-2.data-00000-of-00001", "ckpt-2.index"] == [
        name.rpartition("/")[2] for name in server.objects
        if name.startswith("bucket/checkpoints/c")]

"""The server on the hosts of a TPU slice, tested on hosts without TPUs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepmac_ablate import errors
from tests.fakes.gcs_server import GcsServer
from tests.helpers import supervised, working

ROOT = Path(__file__).resolve().parents[2]

# As `Runtime` connects to a TPU, without initialising what is not there.
_CONNECTS = """
import sys
import tensorflow as tf

resolver = tf.distribute.cluster_resolver.TPUClusterResolver(sys.argv[1])
tf.config.experimental_connect_to_cluster(resolver)
for host in range(2):
    with tf.device(f"/job:worker/task:{host}/device:CPU:0"):
        total = tf.reduce_sum(tf.range(5))
        print(total.device, int(total))
"""

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def serve(port: int, *options: str, **environment: str) -> subprocess.Popen:
    """Start a server and wait until it is there."""
    server = subprocess.Popen(
        [sys.executable, "-m", "deepmac_ablate.cli", "tpu-server", "--port", str(port), *options],
        cwd=ROOT,
        env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True)
    assert f"Serving at grpc://localhost:{port}\n" == server.stdout.readline()
    return server


@pytest.mark.extended
def test_a_coordinator_computes_on_the_hosts() -> None:
    """TF_CONFIG is ignored, and each server ends on a signal, even after a connection."""
    ports = [free_port(), free_port()]
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    servers = [serve(port, TF_CONFIG=json.dumps(cluster)) for port in ports]
    try:
        hosts = ",".join(f"grpc://127.0.0.1:{port}" for port in ports)
        run = subprocess.run(
            [sys.executable, "-c", _CONNECTS, hosts], capture_output=True, text=True, check=False,
            timeout=120)
        assert [f"/job:worker/replica:0/task:{host}/device:CPU:0 10" for host in range(2)] == (
            run.stdout.splitlines()), run.stderr
        for server in servers:
            server.send_signal(signal.SIGTERM)
        assert [errors.INTERRUPTED] * 2 == [server.wait(20) for server in servers]
    finally:
        for server in servers:
            server.kill()
            server.communicate()


# Holds a variable on a host, and on SIGTERM reads it there, as a checkpoint does.
_SAVES = """
import pathlib, signal, sys, time
import tensorflow as tf

stop = []
resolver = tf.distribute.cluster_resolver.TPUClusterResolver({address!r})
tf.config.experimental_connect_to_cluster(resolver)
signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
with tf.device("/job:worker/task:0/device:CPU:0"):
    variable = tf.Variable(0)
step = tf.function(lambda: variable.assign_add(1))
pathlib.Path("ready").write_text("yes")
while not stop:
    step()
    time.sleep(0.05)
# Saving takes a while.
time.sleep(3)
pathlib.Path("saved").write_text(str(int(variable.read_value())))
sys.exit(75)
"""


@pytest.mark.extended
def test_a_preempted_slice_saves(object_store: GcsServer, tmp_path: Path) -> None:
    """A host that is asked to end serves until the coordinator's trainer has saved and ended."""
    notice, port = "gs://bucket/w/trials/t0/.train-end.tmp", free_port()
    host = serve(port, "--end-notice", notice, "--grace", "60", **object_store.environment())
    (tmp_path / "cwd").mkdir()
    try:
        with working.running(
                _SAVES.format(address=f"grpc://127.0.0.1:{port}"), "--workdir",
                "gs://bucket/w/trials/t0", "--end-notice", notice, cwd=tmp_path / "cwd",
                environ=object_store.environment(), seconds=90) as coordinator:
            began = time.monotonic()
            host.send_signal(signal.SIGTERM)
            assert errors.INTERRUPTED == coordinator.wait(60)
        assert 0 < int((tmp_path / "cwd/saved").read_text())
        assert errors.INTERRUPTED == host.wait(20)
        # Not only once its time is up.
        assert 3 < time.monotonic() - began < 50
    finally:
        host.kill()
        host.communicate()
    state = json.loads(object_store.objects["bucket/w/trials/t0/state-train.json"])
    assert ("interrupted", "asked to end by SIGTERM") == (state["state"], state["cause"])
    assert notice.removeprefix("gs://") not in object_store.objects


def test_a_host_without_a_coordinator_ends_in_time(tmp_path: Path) -> None:
    """It serves until just before it would be killed, and takes its notice back."""
    notice = tmp_path / "notice"
    host = serve(free_port(), "--end-notice", str(notice), "--grace", "4")
    try:
        began = time.monotonic()
        host.send_signal(signal.SIGTERM)
        supervised.wait_until(notice.exists)
        assert f"The host {os.uname().nodename} was asked to end.\n" == notice.read_text()
        assert errors.INTERRUPTED == host.wait(20)
    finally:
        host.kill()
        host.communicate()
    assert 2.5 < time.monotonic() - began
    assert not notice.exists()


def test_a_port_that_is_taken_is_a_mistake() -> None:
    """The port is named in one sentence."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        run = subprocess.run(
            [sys.executable, "-m", "deepmac_ablate.cli", "tpu-server", "--port", str(port)],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert errors.USER_ERROR == run.returncode
    assert f"deepmac-ablate: Cannot serve on port {port}: " in run.stderr
    assert "Traceback" not in run.stderr

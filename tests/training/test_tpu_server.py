"""The server on the hosts of a TPU slice, tested on hosts without TPUs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate import errors

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


def serve(port: int, **environment: str) -> subprocess.Popen:
    """Start a server and wait until it is there."""
    server = subprocess.Popen(
        [sys.executable, "-m", "deepmac_ablate.cli", "tpu-server", "--port", str(port)], cwd=ROOT,
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
        # A second after the connection at most, it listens again.
        for server in servers:
            while server.poll() is None:
                server.send_signal(signal.SIGTERM)
                try:
                    server.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    continue
        assert [errors.INTERRUPTED] * 2 == [server.returncode for server in servers]
    finally:
        for server in servers:
            server.kill()
            server.communicate()


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

"""The place of a process in a cluster, without training."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.training import tf_config
from deepmac_ablate.training.multi_worker import Workers, translating_worker_loss
from deepmac_ablate.training.runtime import Runtime

TWO = json.dumps(
    {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}})


@pytest.fixture
def one_device() -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("/cpu:0")


@pytest.mark.parametrize(("cluster", "task", "expected"), [
    ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, ("worker", 0), (False, 3)),
    ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, ("chief", 0), (True, 3)),
    ({"worker": ["a:1", "b:1"]}, ("worker", 0), (True, 2)),
    ({"chief": ["a:1"], "ps": ["b:1"]}, ("chief", 0), (True, 1)),
])
def test_workers_are_counted(cluster, task, expected):
    """One worker is the chief; parameter servers do not count."""
    text = json.dumps({"cluster": cluster, "task": {"type": task[0], "index": task[1]}})
    assert expected == tf_config.read_task({"TF_CONFIG": text})


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {}, "environment": "cloud"}'])
def test_a_process_alone_is_the_chief(text):
    """An empty TF_CONFIG means the same as none."""
    assert (True, 1) == tf_config.read_task({"TF_CONFIG": text}) == tf_config.read_task({})


def test_alone_nothing_is_exchanged(one_device, monkeypatch):
    """A single process gets its own values back."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    workers = Workers(one_device)
    assert (True, False) == (workers.any_true(True), workers.any_true(False))
    assert 7 == workers.broadcast_from_chief(7)


def test_several_processes_need_a_distributed_strategy(one_device, monkeypatch):
    """With another strategy, each would train the trial alone in the same workdir."""
    monkeypatch.setenv("TF_CONFIG", TWO)
    with pytest.raises(UserError, match=r"^The variable TF_CONFIG names 2 processes, each of "):
        Workers(one_device)


def test_multi_worker_mirrored_needs_tf_config(monkeypatch):
    """The message names the variable and the strategy for a single machine."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=r"the variable TF_CONFIG, .* is not set; .* 'mirrored'\.$"):
        Runtime(strategy="multi_worker_mirrored").create_strategy()


def test_a_single_process_loses_no_worker(monkeypatch):
    """A single process keeps TensorFlow's error, such as for a bucket that does not answer."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(tf.errors.UnavailableError), translating_worker_loss():
        raise tf.errors.UnavailableError(None, None, "no bucket")

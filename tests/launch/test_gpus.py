"""Which GPUs there are, asked of a stand-in for nvidia-smi, and who gets which."""

from __future__ import annotations

import collections
import os
import random
import re

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import gpus

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 2: Tesla T4 (UUID: GPU-bbbb852c-d268-c3f3-1b07-005d5ae1dc3f)
"""


@pytest.fixture
def environ(tmp_path):
    """An environment whose PATH has a stand-in that a test writes by `stand_in`."""
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def stand_in(tmp_path, script):
    path = tmp_path / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n[ \"$*\" = -L ] || exit 1\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0,1,3", ["0", "1", "3"]),
        ("GPU-8932f937, MIG-2 ", ["GPU-8932f937", "MIG-2"]),
        ("", []),
        ("-1", []),
        ("2,-1,3", ["2"]),
        ("NoDevFiles", []),
    ],
)
def test_what_is_visible_is_what_there_is(tmp_path, environ, given, expected):
    """CUDA_VISIBLE_DEVICES is read as CUDA reads it, and nvidia-smi is not asked."""
    stand_in(tmp_path, f"touch {tmp_path}/asked; exit 1")
    assert expected == gpus.gpu_slots({**environ, "CUDA_VISIBLE_DEVICES": given})
    assert not (tmp_path / "asked").exists()


def test_nvidia_smi_is_asked(tmp_path, environ):
    """GPUs by their UUID; of one that is split, its parts."""
    stand_in(tmp_path, f"cat <<'END'\n{LISTING}END")
    assert [
        "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f",
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
        "GPU-bbbb852c-d268-c3f3-1b07-005d5ae1dc3f",
    ] == gpus.gpu_slots(environ)


@pytest.mark.parametrize("script", ["echo No devices were found; exit 6", "true"])
def test_a_machine_without_gpus_has_none(tmp_path, environ, script):
    """Though nvidia-smi is there."""
    stand_in(tmp_path, script)
    assert [] == gpus.gpu_slots(environ)


def test_a_machine_without_nvidia_smi_has_none(tmp_path):
    """Nor one without a PATH."""
    assert [] == gpus.gpu_slots({"PATH": str(tmp_path)})
    assert [] == gpus.gpu_slots({})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'NVIDIA-SMI has failed. Is the driver running?'; echo More; exit 9",
         "fails: NVIDIA-SMI has failed. Is the driver running?"),
        ("exit 12", "fails: exit status 12"),
        ("exec sleep 5", "has not answered for 0 s"),
    ],
)  # fmt: skip
def test_a_broken_driver_is_named(tmp_path, environ, monkeypatch, script, message):
    """Instead of training for days on the CPU; the sentence says how to do just that."""
    monkeypatch.setattr(gpus, "_SECONDS", 0.3)
    stand_in(tmp_path, script)
    expected = f"{tmp_path}/nvidia-smi -L {message}; set CUDA_VISIBLE_DEVICES, to nothing"
    with pytest.raises(UserError, match=f"^{re.escape(expected)}"):
        gpus.gpu_slots(environ)


def test_trials_get_the_least_used_gpu():
    """Each its own as long as there are some; then they share evenly, whoever ends first."""
    slots = gpus.Slots(["a", "b", "c"])
    assert ["a", "b", "c", "a"] == [slots.take() for _ in range(4)]
    slots.give_back("b")
    assert ["b", "b", "c"] == [slots.take() for _ in range(3)]


def test_gpus_are_shared_evenly():
    """At any time two GPUs differ by one trial at most, if trials end where most are running."""
    slots, used, draw = gpus.Slots("abcd"), collections.Counter(), random.Random(0)
    for _ in range(500):
        if draw.random() < 0.6 or not used.total():
            used[slots.take()] += 1
        else:
            device = used.most_common(1)[0][0]
            slots.give_back(device)
            used[device] -= 1
        assert max(used[d] for d in "abcd") - min(used[d] for d in "abcd") <= 1


def test_where_there_is_no_gpu_nothing_is_handed_out():
    """And the trial's environment stays as it is."""
    slots = gpus.Slots([])
    assert slots.take() is None
    slots.give_back(None)
    assert {} == gpus.environment(None)
    assert {"CUDA_VISIBLE_DEVICES": "GPU-1"} == gpus.environment("GPU-1")


def test_only_what_was_taken_comes_back():
    """A launcher that loses count is told so."""
    slots = gpus.Slots(["a"])
    with pytest.raises(ValueError, match="Nobody has taken the GPU 'a'"):
        slots.give_back("a")
    with pytest.raises(ValueError, match="Nobody has taken the GPU 'b'"):
        slots.give_back("b")

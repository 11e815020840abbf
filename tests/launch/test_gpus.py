"""The GPUs of a machine, listed by a stub of NVIDIA's library, and their assignment to trials."""

from __future__ import annotations

import collections
import random
import re
from typing import Any

import pynvml
import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.gpus import GpuPool, gpu_environment, list_gpus

# UUIDs in the order of indices, each with its MIG instances by place; None: cannot be split.
MACHINE = {
    "GPU-5c89852c": None,
    "GPU-aaaa852c": ["MIG-c6d4f1ef", None, "MIG-cba663e8"],
    "GPU-bbbb852c": [None, None],
}


class Library:
    """Stub of NVIDIA's management library on a machine with some GPUs; handles are UUIDs."""

    def __init__(self, monkeypatch, gpus: dict[str, list[str | None] | None]) -> None:
        self._gpus = gpus
        self.uses = 0
        for name, stub in {
            "nvmlInit": lambda: self._count(1),
            "nvmlShutdown": lambda: self._count(-1),
            "nvmlDeviceGetCount": lambda: len(gpus),
            "nvmlDeviceGetHandleByIndex": list(gpus).__getitem__,
            "nvmlDeviceGetUUID": str,
            "nvmlDeviceGetMigMode": self._mode,
            "nvmlDeviceGetMaxMigDeviceCount": lambda uuid: len(gpus[uuid]),
            "nvmlDeviceGetMigDeviceHandleByIndex": self._part,
        }.items():
            monkeypatch.setattr(pynvml, name, stub)

    def _count(self, change: int) -> None:
        self.uses += change

    def _mode(self, uuid: str) -> tuple[int, int]:
        if self._gpus[uuid] is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        # The second value is the mode after a restart.
        on = pynvml.NVML_DEVICE_MIG_ENABLE if self._gpus[uuid] else pynvml.NVML_DEVICE_MIG_DISABLE
        return on, pynvml.NVML_DEVICE_MIG_ENABLE

    def _part(self, uuid: str, index: int) -> str:
        if (part := self._gpus[uuid][index]) is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return part


def failing(code: int) -> Any:
    """A function of the library that raises an error."""
    def fail(*_: Any) -> None:
        raise pynvml.NVMLError(code)
    return fail


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
def test_cuda_visible_devices_overrides_the_driver(monkeypatch, given, expected):
    """CUDA_VISIBLE_DEVICES is parsed as CUDA does, and the driver is not asked."""
    monkeypatch.setattr(pynvml, "nvmlInit", failing(pynvml.NVML_ERROR_UNKNOWN))
    assert expected == list_gpus({"CUDA_VISIBLE_DEVICES": given})


def test_gpus_are_listed_by_their_uuids(monkeypatch):
    """A split GPU is listed by its MIG instances; the library is closed again."""
    library = Library(monkeypatch, MACHINE)
    assert ["GPU-5c89852c", "MIG-c6d4f1ef", "MIG-cba663e8", "GPU-bbbb852c"] == list_gpus({})
    assert 0 == library.uses


def test_a_gpu_without_active_mig_is_listed_whole(monkeypatch):
    """MIG mode that starts after a restart, and drivers without MIG, do not split a GPU."""
    Library(monkeypatch, {"GPU-1": []})
    assert ["GPU-1"] == list_gpus({})
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMigMode", failing(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND))
    assert ["GPU-1"] == list_gpus({})


def test_a_machine_without_gpus_has_none(monkeypatch):
    """The list is empty, with and without NVIDIA's library."""
    Library(monkeypatch, {})
    assert [] == list_gpus({})
    monkeypatch.setattr(pynvml, "nvmlInit", failing(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert [] == list_gpus({})


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("nvmlInit", pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"),
        ("nvmlInit", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
         "RM has detected an NVML/RM version mismatch"),
        ("nvmlDeviceGetHandleByIndex", pynvml.NVML_ERROR_GPU_IS_LOST, "GPU is lost"),
    ],
)  # fmt: skip
def test_a_broken_driver_is_an_error(monkeypatch, function, code, message):
    """Training does not fall back to the CPU silently; the message says how to choose it."""
    Library(monkeypatch, MACHINE)
    monkeypatch.setattr(pynvml, function, failing(code))
    expected = (
        f"The NVIDIA driver failed: {message}. Fix it, or set CUDA_VISIBLE_DEVICES (to an empty "
        "string to train on the CPU).")
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        list_gpus({})


def test_trials_get_the_least_used_gpu():
    """Each trial has a GPU of its own while there are enough; then they share evenly."""
    pool = GpuPool(["a", "b", "c"])
    assert [["a"], ["b"], ["c"], ["a"]] == [pool.acquire() for _ in range(4)]
    pool.release(["b"])
    assert [["b"], ["b"], ["c"]] == [pool.acquire() for _ in range(3)]


def test_a_trial_may_have_several_gpus():
    """They are the least used ones, and no trial has the same one twice."""
    pool = GpuPool("abcde", per_trial=2)
    assert [["a", "b"], ["c", "d"], ["e", "a"]] == [pool.acquire() for _ in range(3)]
    pool.release(["c", "d"])
    assert ["c", "d"] == pool.acquire()
    assert {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"} == gpu_environment(["GPU-1", "GPU-2"])


@pytest.mark.parametrize(
    ("gpus", "most", "there"), [([], 1, "0 GPUs"), (["a"], 1, "1 GPU"), (["a", "b"], 2, "2 GPUs")])
def test_more_gpus_than_the_machine_has_are_refused(gpus, most, there):
    """The message names the most that a trial can have."""
    with pytest.raises(UserError, match=(
            f"^--gpus-per-trial must be at most {most}, as this machine has {there}, got 3[.]$")):
        GpuPool(gpus, per_trial=3)


def test_gpus_are_shared_evenly():
    """The numbers of trials per GPU differ by one at most, if trials end where most run."""
    pool, used, draw = GpuPool("abcd"), collections.Counter(), random.Random(0)
    for _ in range(500):
        if draw.random() < 0.6 or not used.total():
            used[pool.acquire()[0]] += 1
        else:
            device = used.most_common(1)[0][0]
            pool.release([device])
            used[device] -= 1
        assert max(used[d] for d in "abcd") - min(used[d] for d in "abcd") <= 1


def test_without_gpus_trials_get_none():
    """The environment of the trial is not changed."""
    pool = GpuPool([])
    assert [] == pool.acquire()
    pool.release([])
    assert {} == gpu_environment([])
    assert {"CUDA_VISIBLE_DEVICES": "GPU-1"} == gpu_environment(["GPU-1"])


def test_only_gpus_in_use_can_be_released():
    """Releasing a free or unknown GPU is an error."""
    pool = GpuPool(["a"])
    with pytest.raises(ValueError, match="GPU 'a' is not in use"):
        pool.release(["a"])
    with pytest.raises(ValueError, match="GPU 'b' is not in use"):
        pool.release(["b"])

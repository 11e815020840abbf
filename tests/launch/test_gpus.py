"""The GPUs of a machine, listed by a stub of NVIDIA's library, and who gets which."""

from __future__ import annotations

import collections
import random
import re
from typing import Any

import pynvml
import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import gpus as devices

# By index, each with what is in its MIG places; None for a GPU that cannot be split.
MACHINE = {
    "GPU-5c89852c": None,
    "GPU-aaaa852c": ["MIG-c6d4f1ef", None, "MIG-cba663e8"],
    "GPU-bbbb852c": [None, None],
}


class Library:
    """NVIDIA's management library on a machine with some GPUs; a handle is a UUID."""

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
        # The second is what it will be after a restart.
        on = pynvml.NVML_DEVICE_MIG_ENABLE if self._gpus[uuid] else pynvml.NVML_DEVICE_MIG_DISABLE
        return on, pynvml.NVML_DEVICE_MIG_ENABLE

    def _part(self, uuid: str, index: int) -> str:
        if (part := self._gpus[uuid][index]) is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return part


def failing(code: int) -> Any:
    """A function of the library that answers with an error."""
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
def test_what_is_visible_is_what_there_is(monkeypatch, given, expected):
    """CUDA_VISIBLE_DEVICES is read as CUDA reads it, and the driver is not asked."""
    monkeypatch.setattr(pynvml, "nvmlInit", failing(pynvml.NVML_ERROR_UNKNOWN))
    assert expected == devices.gpu_slots({"CUDA_VISIBLE_DEVICES": given})


def test_gpus_are_listed_by_their_uuids(monkeypatch):
    """Of a GPU that is split, its parts; the library is closed again."""
    library = Library(monkeypatch, MACHINE)
    assert ["GPU-5c89852c", "MIG-c6d4f1ef", "MIG-cba663e8", "GPU-bbbb852c"] == devices.gpu_slots({})
    assert 0 == library.uses


def test_a_gpu_whose_split_is_yet_to_come_is_whole(monkeypatch):
    """As one of a driver too old to be asked."""
    Library(monkeypatch, {"GPU-1": []})
    assert ["GPU-1"] == devices.gpu_slots({})
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMigMode", failing(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND))
    assert ["GPU-1"] == devices.gpu_slots({})


def test_a_machine_without_gpus_has_none(monkeypatch):
    """With NVIDIA's library and without."""
    Library(monkeypatch, {})
    assert [] == devices.gpu_slots({})
    monkeypatch.setattr(pynvml, "nvmlInit", failing(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert [] == devices.gpu_slots({})


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("nvmlInit", pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"),
        ("nvmlInit", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
         "RM has detected an NVML/RM version mismatch"),
        ("nvmlDeviceGetHandleByIndex", pynvml.NVML_ERROR_GPU_IS_LOST, "GPU is lost"),
    ],
)  # fmt: skip
def test_a_broken_driver_is_named(monkeypatch, function, code, message):
    """Instead of training for days on the CPU; the sentence says how to do just that."""
    Library(monkeypatch, MACHINE)
    monkeypatch.setattr(pynvml, function, failing(code))
    expected = (
        f"NVIDIA's driver fails: {message}; set CUDA_VISIBLE_DEVICES, to nothing if there is no "
        "GPU.")
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        devices.gpu_slots({})


def test_trials_get_the_least_used_gpu():
    """Each its own as long as there are some; then they share evenly, whoever ends first."""
    slots = devices.Slots(["a", "b", "c"])
    assert ["a", "b", "c", "a"] == [slots.take() for _ in range(4)]
    slots.give_back("b")
    assert ["b", "b", "c"] == [slots.take() for _ in range(3)]


def test_gpus_are_shared_evenly():
    """At any time two GPUs differ by one trial at most, if trials end where most are running."""
    slots, used, draw = devices.Slots("abcd"), collections.Counter(), random.Random(0)
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
    slots = devices.Slots([])
    assert slots.take() is None
    slots.give_back(None)
    assert {} == devices.environment(None)
    assert {"CUDA_VISIBLE_DEVICES": "GPU-1"} == devices.environment("GPU-1")


def test_only_what_was_taken_comes_back():
    """A launcher that loses count is told so."""
    slots = devices.Slots(["a"])
    with pytest.raises(ValueError, match="Nobody has taken the GPU 'a'"):
        slots.give_back("a")
    with pytest.raises(ValueError, match="Nobody has taken the GPU 'b'"):
        slots.give_back("b")

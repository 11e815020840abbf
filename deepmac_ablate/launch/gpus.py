"""List the GPUs of this machine and assign them to trials.

Tested with a stub of NVIDIA's management library only. Not tested on hardware: that its UUIDs, of
GPUs and of MIG parts, are those that CUDA accepts, and how it answers if the driver is broken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from deepmac_ablate.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpu_slots(environ: Mapping[str, str]) -> list[str]:
    """Return the GPUs of this machine, each as `VISIBLE` names it.

    Args:
        environ: The environment. If it has CUDA_VISIBLE_DEVICES, that is the answer, read as CUDA
            does: what follows a -1 is ignored. Otherwise NVIDIA's management library is asked.

    Returns:
        Indices as CUDA_VISIBLE_DEVICES has them, or UUIDs, since CUDA orders GPUs differently from
        the management library; for a GPU that is split by MIG, its parts. Empty if there is no GPU
        or no management library.

    Raises:
        UserError: If the driver fails: training on the CPU instead would be noticed late.
    """
    if (given := environ.get(VISIBLE)) is not None:
        devices = [device.strip() for device in given.split(",")]
        ends = [place for place, device in enumerate(devices) if device in ("", "-1", "NoDevFiles")]
        return devices[:ends[0]] if ends else devices
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return []
    except pynvml.NVMLError as error:
        raise _driver_error(error) from error
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [uuid for handle in handles for uuid in _uuids(handle)]
    except pynvml.NVMLError as error:
        raise _driver_error(error) from error
    finally:
        pynvml.nvmlShutdown()


def environment(device: str | None) -> dict[str, str]:
    """Return what to set for a trial to use one GPU: nothing where there is none."""
    return {} if device is None else {VISIBLE: device}


class Slots:
    """Hands out GPUs to trials, the least used one first.

    Args:
        devices: What `gpu_slots` returned. With more trials than GPUs some share one.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._users = dict.fromkeys(devices, 0)

    def take(self) -> str | None:
        """Return the least used GPU, of several the first; None where there is none at all."""
        if not self._users:
            return None
        device = min(self._users, key=lambda device: self._users[device])
        self._users[device] += 1
        return device

    def give_back(self, device: str | None) -> None:
        """Take back what `take` returned.

        Raises:
            ValueError: If nobody has it.
        """
        if device is None:
            return
        if not self._users.get(device):
            raise ValueError(f"Nobody has taken the GPU {device!r}.")
        self._users[device] -= 1


def _uuids(handle: Any) -> list[str]:  # noqa: ANN401 - of pynvml
    """Return the UUIDs of a GPU's MIG parts, or of the GPU itself if it has none."""
    import pynvml

    parts = []
    # Most GPUs cannot be split, and old drivers cannot be asked.
    with contextlib.suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
        if current == pynvml.NVML_DEVICE_MIG_ENABLE:
            for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                # Not every place is taken.
                with contextlib.suppress(pynvml.NVMLError_NotFound):
                    parts.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
    return [pynvml.nvmlDeviceGetUUID(device) for device in parts or [handle]]


def _driver_error(error: Exception) -> UserError:
    return UserError(
        f"NVIDIA's driver fails: {str(error).rstrip('.')}; set {VISIBLE}, to nothing if there is "
        "no GPU.")

"""List the GPUs of this machine and assign them to trials.

Tested with a stub of NVIDIA's management library only. Not tested on hardware: whether CUDA accepts
its UUIDs of GPUs and MIG instances, and how the library reports a broken driver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from deepmac_ablate.errors import UserError, count_noun

VISIBLE = "CUDA_VISIBLE_DEVICES"


def list_gpus(environ: Mapping[str, str]) -> list[str]:
    """Return the GPUs of this machine in the notation of CUDA_VISIBLE_DEVICES.

    Args:
        environ: The environment. If it sets CUDA_VISIBLE_DEVICES, the result is its value, parsed
            as CUDA does: everything after a -1 is ignored. Otherwise NVIDIA's management library is
            asked.

    Returns:
        The entries of CUDA_VISIBLE_DEVICES, or UUIDs (CUDA numbers GPUs in another order than the
        management library); for a GPU that is split by MIG, the UUIDs of its instances. Empty if
        there is no GPU or no management library.

    Raises:
        UserError: If the driver fails. Training on the CPU instead would be noticed late.
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


def gpu_environment(gpus: Sequence[str]) -> dict[str, str]:
    """Return the variables that restrict a process to some GPUs; none without a GPU."""
    return {VISIBLE: ",".join(gpus)} if gpus else {}


class GpuPool:
    """Assigns GPUs to trials, the least used ones first.

    Args:
        gpus: GPUs as returned by `list_gpus`. More trials than GPUs share them evenly.
        per_trial: Number of GPUs of each trial.

    Raises:
        UserError: If there are fewer GPUs than a trial needs; none at all are enough for one, which
            then uses the CPU.
    """

    def __init__(self, gpus: Sequence[str], per_trial: int = 1) -> None:
        if per_trial > max(1, len(gpus)):
            raise UserError(
                f"--gpus-per-trial must be at most {max(1, len(gpus))}, as this machine has "
                f"{count_noun(len(gpus), 'GPU')}, got {per_trial}.")
        self._users = dict.fromkeys(gpus, 0)
        self._per_trial = per_trial

    def acquire(self) -> list[str]:
        """Return the least used GPUs, the first of several; none if the pool is empty."""
        gpus = sorted(self._users, key=lambda gpu: self._users[gpu])[:self._per_trial]
        for gpu in gpus:
            self._users[gpu] += 1
        return gpus

    def release(self, gpus: Sequence[str]) -> None:
        """Give back what `acquire` returned.

        Raises:
            ValueError: If a GPU is not in use.
        """
        for gpu in gpus:
            if not self._users.get(gpu):
                raise ValueError(f"GPU {gpu!r} is not in use.")
            self._users[gpu] -= 1


def _uuids(handle: Any) -> list[str]:  # noqa: ANN401 - of pynvml
    """Return the UUIDs of a GPU's MIG instances, or of the GPU itself if it has none."""
    import pynvml

    instances = []
    # Most GPUs cannot be split, and old drivers do not have this call.
    with contextlib.suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
        if current == pynvml.NVML_DEVICE_MIG_ENABLE:
            for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                # Indices without an instance are not an error.
                with contextlib.suppress(pynvml.NVMLError_NotFound):
                    instances.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
    return [pynvml.nvmlDeviceGetUUID(device) for device in instances or [handle]]


def _driver_error(error: Exception) -> UserError:
    return UserError(
        f"The NVIDIA driver failed: {str(error).rstrip('.')}. Fix it, or set {VISIBLE} (to an "
        "empty string to train on the CPU).")

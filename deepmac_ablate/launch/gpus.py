"""Which GPUs this machine has, and which of them a trial gets."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from deepmac_ablate.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"

_SECONDS = 10.0
# "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c8c...)"; below it, indented, the parts into which it is
# split: "  MIG 1g.5gb     Device  0: (UUID: MIG-c658...)".
_LISTED = re.compile(r"\s*(?:GPU|MIG) .*\(UUID: ((GPU|MIG)-[^)]+)\)\s*")


def gpu_slots(environ: Mapping[str, str]) -> list[str]:
    """Returns the GPUs of this machine, each as `VISIBLE` names it.

    Args:
        environ: The environment. Where it has CUDA_VISIBLE_DEVICES, that is what there is, read as
            CUDA does: what follows a -1 counts for nothing. Else ``nvidia-smi -L`` on its PATH is
            asked.

    Returns:
        Numbers as CUDA_VISIBLE_DEVICES has them, or UUIDs, since CUDA counts GPUs in another order
        than nvidia-smi does; of a GPU that is split into parts, the parts. Empty where there is no
        GPU or no nvidia-smi.

    Raises:
        UserError: If nvidia-smi fails or does not answer: training on the CPU instead would be
            found out late.
    """
    if (given := environ.get(VISIBLE)) is not None:
        devices = [device.strip() for device in given.split(",")]
        ends = [place for place, device in enumerate(devices) if device in ("", "-1", "NoDevFiles")]
        return devices[:ends[0]] if ends else devices
    program = shutil.which("nvidia-smi", path=environ.get("PATH", ""))
    return [] if program is None else _listed(program, environ)


def environment(device: str | None) -> dict[str, str]:
    """Returns what to set for a trial to use one GPU: nothing where there is none."""
    return {} if device is None else {VISIBLE: device}


class Slots:
    """Hands out GPUs to trials, the least used one first.

    Args:
        devices: What `gpu_slots` returned. With more trials than GPUs some share one.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._users = dict.fromkeys(devices, 0)

    def take(self) -> str | None:
        """Returns the least used GPU, of several the first; None where there is none at all."""
        if not self._users:
            return None
        device = min(self._users, key=lambda device: self._users[device])
        self._users[device] += 1
        return device

    def give_back(self, device: str | None) -> None:
        """Takes back what `take` returned.

        Raises:
            ValueError: If nobody has it.
        """
        if device is None:
            return
        if not self._users.get(device):
            raise ValueError(f"Nobody has taken the GPU {device!r}.")
        self._users[device] -= 1


def _listed(program: str, environ: Mapping[str, str]) -> list[str]:
    instead = f"set {VISIBLE}, to nothing where there is no GPU"
    try:
        listing = subprocess.run(
            [program, "-L"], env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{program} -L has not answered for {_SECONDS:.0f} s; {instead}.") from error
    except OSError as error:
        raise UserError(f"{program} cannot be run ({error}); {instead}.") from error
    said = (listing.stdout + listing.stderr).strip()
    if "No devices" in said:
        return []
    if listing.returncode:
        reason = said.splitlines()[0] if said else f"exit status {listing.returncode}"
        raise UserError(f"{program} -L fails: {reason.rstrip('.')}; {instead}.")
    devices: list[str] = []
    for line in listing.stdout.splitlines():
        if found := _LISTED.fullmatch(line):
            # Parts come below the GPU that they are parts of, which cannot be used beside them.
            if found[2] == "MIG" and devices and devices[-1].startswith("GPU-"):
                devices.pop()
            devices.append(found[1])
    return devices

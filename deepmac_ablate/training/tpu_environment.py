"""Environment that TensorFlow needs before it is imported, on a TPU host and where there is no TPU.

From v5e on, TensorFlow reaches TPUs through libtpu's stable interface (PJRT), which it finds by
variables. TPUs up to v4 do not have that interface, and fail where the variables are set (Google's
page on training with TPU VMs on Vertex AI). So they follow from one variable, ``PJRT_DEVICE=TPU``,
which is set for a container according to the generation that it runs on, and on a TPU VM according
to the chips that it has.

Where there is no TPU, tensorflow-tpu must not load libtpu: it would ask the metadata server of a
TPU host for some 16 attributes, 30 times each, before the import returns.
"""

from __future__ import annotations

import contextlib
import importlib.util
import resource
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate.cloud import generations
from deepmac_ablate.errors import UserError

_SWITCH = "PJRT_DEVICE"
_LIBRARIES = ("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", "TPU_LIBRARY_PATH")
_INTERFACE = "NEXT_PLUGGABLE_DEVICE_USE_C_API"

# GKE's device plugin sets it in every container with TPU chips (GoogleCloudPlatform,
# container-engine-accelerators).
_GKE_TYPE = "TPU_ACCELERATOR_TYPE"
# Chips on the PCI bus, by the ids in jax/_src/hardware_utils.py.
_PCI_VENDOR = "0x1ae0"
_PCI_DEVICES = {
    "0x0027": "v3", "0x005e": "v4", "0x0062": "v5p", "0x0063": "v5e", "0x006f": "v6e",
    "0x0076": "v7"}

# Bytes that a process on a TPU host must be allowed to lock, so that the chips reach its memory:
# the value on Vertex AI's page on TPUs for inference, which refers to GKE's on privileged mode.
MEMORY_LOCK = 68_719_476_736_000

# Port of the host that leads a slice's mesh.
_MESH_PORT = 8476


class MemoryLock(NamedTuple):
    """Limit of the memory that this process may lock.

    Attributes:
        limit: Bytes; infinity if there is no limit.
        is_enough: Whether a TPU can be used.
    """

    limit: float
    is_enough: bool


def find_tpu(environment: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """Return the generation of this machine's TPU, such as "v5e"; None if it has none.

    The generation is "unknown" if only its presence is known.

    Args:
        environment: The environment of this process.
        root: Root of the file system.
    """
    if _GKE_TYPE in environment:
        generation = environment[_GKE_TYPE].partition("-")[0]
        return "v5e" if generation == "v5litepod" else generation
    for vendor in root.glob("sys/bus/pci/devices/*/vendor"):
        if _read(vendor) == _PCI_VENDOR:
            generation = _PCI_DEVICES.get(_read(vendor.with_name("device")))
            if generation is not None:
                return generation
    if environment.get(_SWITCH) == "TPU" or any(root.glob("dev/accel[0-9]*")):
        return "unknown"
    return None


def set_platform_variables(
    environment: MutableMapping[str, str], root: Path = Path("/")
) -> None:
    """Set the variables that any command needs; those that are set stay as they are.

    Args:
        environment: The environment of this process, before TensorFlow is imported.
        root: Root of the file system.
    """
    # Takes a millisecond. Only tensorflow-tpu needs libtpu, and the variables.
    if importlib.util.find_spec("libtpu") is None:
        return
    generation = find_tpu(environment, root)
    if generation is None:
        for name, value in generations.NO_TPU.items():
            environment.setdefault(name, value)
    elif generation in generations.PJRT:
        environment.setdefault(_SWITCH, "TPU")


def prepare_for_tpu(environment: MutableMapping[str, str]) -> None:
    """Set the variables that are missing for this machine's TPU, and let it reach memory.

    Prints a warning on stderr if the memory that may be locked does not suffice. Nothing happens
    where there is no TPU.

    Args:
        environment: The environment of this process, before TensorFlow is imported.

    Raises:
        UserError: If a TPU is requested, but its library is not installed.
    """
    if environment.get(_SWITCH) == "TPU":
        _set_pjrt_variables(environment)
    if find_tpu(environment) is not None and (warning := raise_memory_lock()):
        print(f"deepmac-ablate: {warning}", file=sys.stderr)


def _set_pjrt_variables(environment: MutableMapping[str, str]) -> None:
    for name, value in {_INTERFACE: "true", **generations.XLA_FLAGS}.items():
        environment.setdefault(name, value)
    if all(environment.get(name) for name in _LIBRARIES):
        return
    found = importlib.util.find_spec("libtpu")
    if found is None or not found.origin:
        raise UserError(
            "PJRT_DEVICE = 'TPU', but the package libtpu is not installed; install tensorflow-tpu "
            "in place of tensorflow, or unset PJRT_DEVICE.")
    for name in _LIBRARIES:
        environment.setdefault(name, str(Path(found.origin).parent / "libtpu.so"))


def set_slice_variables(environment: MutableMapping[str, str], hosts: Sequence[str]) -> None:
    """Set the variables by which libtpu finds the other hosts of a slice.

    They are those of TensorFlow's own worker for Cloud TPUs (tensorflow/python/tools/
    grpc_tpu_worker.py), with the host names in place of addresses, as in the published scripts for
    GKE (SinaChavoshi/GKESamples, tpu_tfjob_worker.sh). Variables that are set stay as they are:
    GKE's webhook sets the number and the names of the hosts.

    Args:
        environment: The environment of this process, before TensorFlow is imported.
        hosts: Host names of the slice in the order of their numbers; empty or one for a slice of
            one host, which needs no variables.

    Raises:
        UserError: If there are several hosts, but the number of this one is unknown.
    """
    names = environment.get("TPU_WORKER_HOSTNAMES", "").split(",")
    if len(names) < 2:
        names = list(hosts)
    if len(names) < 2:
        return
    number = environment.get("TPU_WORKER_ID") or environment.get("JOB_COMPLETION_INDEX", "")
    if not (number.isdigit() and int(number) < len(names)):
        raise UserError(
            f"TPU_WORKER_ID or JOB_COMPLETION_INDEX must be a number from 0 to {len(names) - 1}, "
            f"as the slice has {len(names)} hosts; got {number!r}.")
    values = {
        "TPU_WORKER_ID": number, "TPU_WORKER_HOSTNAMES": ",".join(names),
        "CLOUD_TPU_TASK_ID": number, "TPU_HOSTNAME_OVERRIDE": names[int(number)],
        "TPU_MESH_CONTROLLER_ADDRESS": f"{names[0]}:{_MESH_PORT}",
        "TPU_MESH_CONTROLLER_PORT": str(_MESH_PORT),
        "TPU_LOCK_DEVICE": "true", "TPU_STDERR_LOG_LEVEL": "0"}
    for name, value in values.items():
        environment.setdefault(name, value)


def read_memory_lock() -> MemoryLock:
    """Return the limit of the memory that this process may lock."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    limit = float("inf") if soft == resource.RLIM_INFINITY else soft
    return MemoryLock(limit, limit >= MEMORY_LOCK or _may_lock_anything())


def raise_memory_lock() -> str:
    """Raise the limit of the memory that this process may lock as far as a TPU needs.

    Returns:
        A sentence if that is not possible; else an empty text.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and soft < MEMORY_LOCK:
        wanted = [(hard, hard)]
        if hard != resource.RLIM_INFINITY and hard < MEMORY_LOCK:
            # Only a privileged process may raise the hard limit.
            wanted.insert(0, (MEMORY_LOCK, MEMORY_LOCK))
        for limits in wanted:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)
                break
    found = read_memory_lock()
    return "" if found.is_enough else (
        f"This process may lock only {found.limit / 2**20:,.2f} MiB of memory, but a TPU reaches "
        "only memory that is locked. If the TPU cannot be used, run `ulimit -l 68719476736` as "
        "root first, or start the container with --privileged.")


def _may_lock_anything() -> bool:
    """Return whether this process is not subject to the limit (CAP_IPC_LOCK, bit 14)."""
    for line in _read(Path("/proc/self/status")).splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> 14 & 1)
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""

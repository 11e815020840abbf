"""Cloud devices by their common names, such as ``v5e-16`` and ``a100-8``."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator
from typing import Literal

from deepmac_ablate.cloud import generations
from deepmac_ablate.cloud.generations import Cpu, Gpu, Tpu
from deepmac_ablate.errors import UserError, did_you_mean

Executor = Literal["vertex", "gke"]


@dataclasses.dataclass(frozen=True)
class VertexMachine:
    """Host of a device in terms of Vertex AI's `MachineSpec`.

    Attributes:
        machine_type: Machine type, such as "ct5lp-hightpu-4t".
        accelerator_type: Member of the enumeration `AcceleratorType`; None if the machine type
            implies it.
        accelerator_count: Number of accelerators; None if the machine type implies it.
        tpu_topology: Topology, such as "2x2", of TPUs from v5e on; else None.
        replicas: Number of such machines of the job.
    """

    machine_type: str
    accelerator_type: str | None = None
    accelerator_count: int | None = None
    tpu_topology: str | None = None
    replicas: int = 1


@dataclasses.dataclass(frozen=True)
class Device:
    """Device that one trial trains on.

    Attributes:
        name: Common name, such as "v5e-16"; v2, v3, v4 and v5p count cores, v5e and GPUs count
            chips, and cpu counts virtual CPUs.
        kind: "tpu", "gpu" or "cpu".
        generation: Part of the name before the number, such as "v5e" or "a100".
        chips: Number of chips in total; for a CPU, of hosts.
        replicas: Number of parts that a batch is divided into: TPU cores as TensorFlow counts them,
            GPUs, or 1.
        hosts: Number of virtual machines.
        topology: Topology of a TPU slice in chips, such as "4x4" or "2x2x2"; else None.
        memory_gib: High-bandwidth memory of a chip in GiB; for a CPU, memory of the host.
        teraflops: Peak of a chip in 10^12 operations per second, dense, in bfloat16 (TPU) or with
            tensor cores (GPU); for a CPU a rough figure.
        gke_accelerator: Value of GKE's node label; None if GKE does not offer the device.
        machine_type: Machine type of Compute Engine and GKE; for v2, which they lack, Vertex AI's.
        vertex: Host in terms of Vertex AI; None if Vertex AI does not train on the device.
        host_cpus: Number of virtual CPUs of a host; None for a TPU.
        host_memory_gib: Memory of a host in GiB; None for a TPU.
        vertex_flex_start: Whether Vertex AI provides the device with flex start.
        warnings: Unverified facts about the device, one sentence each.
    """

    name: str
    kind: Literal["tpu", "gpu", "cpu"]
    generation: str
    chips: int
    replicas: int
    hosts: int
    topology: str | None
    memory_gib: float
    teraflops: float
    gke_accelerator: str | None
    machine_type: str
    vertex: VertexMachine | None
    host_cpus: int | None = None
    host_memory_gib: float | None = None
    vertex_flex_start: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def chips_per_host(self) -> int:
        """Number of chips of each virtual machine."""
        return self.chips // self.hosts

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of containers on its machines, see `tpu_environment`."""
        if self.generation in generations.PJRT:
            return {"PJRT_DEVICE": "TPU", **generations.XLA_FLAGS}
        return {} if self.kind == "tpu" else dict(generations.NO_TPU)

    @property
    def coordinator_variables(self) -> dict[str, str]:
        """Environment variables of the coordinator of a TPU slice, which itself has no TPU."""
        flags = generations.XLA_FLAGS if self.generation in generations.PJRT else {}
        return {**generations.NO_TPU, **flags}


def get_device(name: str) -> Device:
    """Return a device by its name.

    Args:
        name: Name such as "v5e-16" or "a100-8", in any case; "v5litepod-16" means "v5e-16".

    Raises:
        UserError: If there is no such device, or TensorFlow does not run on it.
    """
    asked = name.strip().lower()
    known = _devices()
    for generation, spelling in _spellings():
        if asked == spelling or asked.startswith(f"{spelling}-"):
            exact = f"{generation}{asked.removeprefix(spelling)}"
            if exact in known:
                return known[exact]
            size = asked.removeprefix(f"{spelling}-")
            raise UserError(_unknown_size_message(name, generation, size))
    for generation, reason in generations.REFUSED.items():
        if asked.partition("-")[0] == generation:
            raise UserError(f"Trials cannot run on {name!r}: {reason}")
    raise UserError(
        f"There is no device {name!r}; a device must be a generation and a number, such as "
        f"'v5e-16', with one of the generations {', '.join(_by_generation())}."
        f"{did_you_mean(asked, known)}")


def device_names() -> list[str]:
    """Return the names of all devices: TPUs, GPUs, then CPUs, each generation by size."""
    return list(_devices())


def availability_problems(rented: Device, executor: Executor, spot: bool) -> list[str]:
    """Return the reasons why a cloud does not offer a device; empty if it does.

    Args:
        rented: Requested device.
        executor: Cloud that should provide it.
        spot: Whether spot machines are requested.
    """
    problems = []
    if not _offers(executor, rented):
        problems.append(_unavailable_message(rented, executor))
    if executor == "vertex" and rented.kind == "tpu" and spot:
        problems.append(
            "Vertex AI has no spot machines with TPUs; drop --spot, or use --executor gke.")
    return problems


def _offers(executor: Executor, rented: Device) -> bool:
    if executor == "vertex":
        return rented.vertex is not None
    return rented.kind == "cpu" or rented.gke_accelerator is not None


def _unavailable_message(rented: Device, executor: Executor) -> str:
    alike = [device for device in _devices().values() if device.kind == rented.kind]
    offered = _format_names(device.name for device in alike if _offers(executor, device))
    cloud, other = {"vertex": ("Vertex AI", "gke"), "gke": ("GKE", "vertex")}[executor]
    elsewhere = f"; --executor {other} has it" if _offers(other, rented) else ""
    return f"{cloud} has no {rented.name} to train on; it has {offered}{elsewhere}."


def _format_names(names: Iterable[str]) -> str:
    """Return names in one line by generation, such as "v2-8 to v2-512, v5e-1 to v5e-8"."""
    ends: dict[str, list[str]] = {}
    for name in names:
        ends.setdefault(_devices()[name].generation, []).append(name)
    return ", ".join(
        sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" for sizes in ends.values())


def _unknown_size_message(name: str, generation: str, size: str) -> str:
    sizes = [device.name for device in _by_generation()[generation]]
    hint = ""
    if size.isdecimal():
        larger = (known for known in sizes if int(known.rpartition("-")[2]) >= int(size))
        hint = f" Did you mean {next(larger, sizes[-1])!r}?"
    return f"There is no device {name!r}; {generation} is available as {', '.join(sizes)}.{hint}"


def _spellings() -> Iterator[tuple[str, str]]:
    """Yield generations and their spellings, longer ones first: "a100-80gb" before "a100"."""
    pairs = [
        (known.generation, spelling)
        for known in (*generations.TPUS, *generations.GPUS)
        for spelling in (known.generation, *known.spellings)]
    pairs.append((generations.CPU.generation, generations.CPU.generation))
    yield from sorted(pairs, key=lambda pair: len(pair[1]), reverse=True)


def _by_generation() -> dict[str, list[Device]]:
    found: dict[str, list[Device]] = {}
    for device in _devices().values():
        found.setdefault(device.generation, []).append(device)
    return found


@functools.cache
def _devices() -> dict[str, Device]:
    every = [
        *(_make_slice(tpu, topology) for tpu in generations.TPUS for topology in tpu.topologies),
        *(device for gpu in generations.GPUS for device in _make_gpus(gpu)),
        *(_make_cpu(generations.CPU, size) for size in generations.CPU.sizes)]
    return {device.name: device for device in every}


def _make_slice(tpu: Tpu, topology: str) -> Device:
    chips = math.prod(map(int, topology.split("x")))
    whole = chips in tpu.whole
    machine_type = tpu.machine_type.format(chips) if whole else tpu.slice_machine_type
    warnings = [generations.TPU_WARNING, *tpu.warnings]
    if not whole:
        warnings.append(generations.SLICE_WARNING)
    vertex = None
    if tpu.vertex == "cores":
        cores = tpu.counted * chips
        vertex = VertexMachine("cloud-tpu", f"TPU_{tpu.generation.upper()}", cores)
        if not whole:
            warnings.append(generations.VERTEX_POD_WARNING)
    elif tpu.vertex == "topology" and whole:
        # For larger slices it is undocumented whether Vertex AI counts machines or uses topologies.
        vertex = VertexMachine(machine_type, tpu_topology=topology)
    return Device(
        name=f"{tpu.generation}-{tpu.counted * chips}", kind="tpu", generation=tpu.generation,
        chips=chips, replicas=tpu.replicas * chips, hosts=1 if whole else chips // 4,
        topology=topology, memory_gib=tpu.memory_gib, teraflops=tpu.teraflops,
        gke_accelerator=tpu.gke if whole else tpu.gke_slice, machine_type=machine_type,
        vertex=vertex, warnings=tuple(warnings))


def _make_gpus(gpu: Gpu) -> Iterator[Device]:
    most = max(gpu.machines)
    for on_host, machine in gpu.machines.items():
        for hosts in gpu.hosts if on_host == most else (1,):
            warnings = [gpu.warnings[on_host]] if on_host in gpu.warnings else []
            if hosts > 1:
                warnings.append(generations.GPU_HOSTS_WARNING)
            yield Device(
                name=f"{gpu.generation}-{on_host * hosts}", kind="gpu", generation=gpu.generation,
                chips=on_host * hosts, replicas=on_host * hosts, hosts=hosts, topology=None,
                memory_gib=gpu.memory_gib, teraflops=gpu.teraflops, gke_accelerator=gpu.gke,
                machine_type=machine.name,
                vertex=VertexMachine(machine.name, gpu.vertex, on_host, replicas=hosts),
                host_cpus=machine.cpus, host_memory_gib=machine.memory_gib,
                vertex_flex_start=gpu.flex_start, warnings=tuple(warnings))


def _make_cpu(cpu: Cpu, size: int) -> Device:
    machine_type = cpu.machine_type.format(size)
    return Device(
        name=f"{cpu.generation}-{size}", kind="cpu", generation=cpu.generation, chips=1, replicas=1,
        hosts=1, topology=None, memory_gib=cpu.memory_gib * size, teraflops=cpu.teraflops * size,
        gke_accelerator=None, machine_type=machine_type, vertex=VertexMachine(machine_type),
        host_cpus=size, host_memory_gib=cpu.memory_gib * size)

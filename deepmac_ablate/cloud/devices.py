"""Accelerators that can be rented, by the names that people use: ``v5e-16``, ``a100-8``."""

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
    """What Vertex AI's `MachineSpec` says of a host.

    Attributes:
        machine_type: such as "ct5lp-hightpu-4t".
        accelerator_type: of the enumeration `AcceleratorType`; None where the machine type says it.
        accelerator_count: as the enumeration's type counts; None as above.
        tpu_topology: such as "2x2"; None for all but TPUs from v5e on.
        replicas: how many such machines the job has.
    """

    machine_type: str
    accelerator_type: str | None = None
    accelerator_count: int | None = None
    tpu_topology: str | None = None
    replicas: int = 1


@dataclasses.dataclass(frozen=True)
class Device:
    """What one trial trains on.

    Attributes:
        name: such as "v5e-16", as the field says it: v2, v3, v4 and v5p count cores, v5e and GPUs
            chips, and cpu virtual CPUs.
        kind: "tpu", "gpu" or "cpu".
        generation: the part before the number, such as "v5e" or "a100".
        chips: how many there are in all; of a CPU, hosts.
        replicas: parts into which a batch is divided: TPU cores as TensorFlow counts them, GPUs, or
            1.
        hosts: virtual machines.
        topology: of a TPU slice, in chips, such as "4x4" or "2x2x2"; else None.
        memory_gib: high-bandwidth memory of a chip in GiB; of a CPU, of the host.
        teraflops: peak of a chip in bfloat16 (TPU) or with its tensor cores, dense, in 10^12 per
            second; of a CPU a rough figure.
        gke_accelerator: the value of GKE's node label for it; None where GKE has none.
        machine_type: of Compute Engine and GKE; of v2, which neither has, Vertex AI's.
        vertex: None where Vertex AI does not train on it.
        warnings: what nobody has confirmed about it, one sentence each.
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
    warnings: tuple[str, ...] = ()

    @property
    def chips_per_host(self) -> int:
        """How many chips each virtual machine has."""
        return self.chips // self.hosts

    @property
    def variables(self) -> dict[str, str]:
        """What containers on its machines find in their environment, see `tpu_environment`."""
        return {"PJRT_DEVICE": "TPU"} if self.generation in generations.PJRT else {}


def device(name: str) -> Device:
    """Return the device of a name.

    Args:
        name: Such as "v5e-16" or "a100-8", in capitals or not; "v5litepod-16" is "v5e-16".

    Raises:
        UserError: If there is none, or TensorFlow does not run on it.
    """
    asked = name.strip().lower()
    known = _devices()
    for generation, spelling in _spellings():
        if asked == spelling or asked.startswith(f"{spelling}-"):
            exact = f"{generation}{asked.removeprefix(spelling)}"
            if exact in known:
                return known[exact]
            raise UserError(_no_such_size(name, generation, asked.removeprefix(f"{spelling}-")))
    for generation, reason in generations.REFUSED.items():
        if asked.partition("-")[0] == generation:
            raise UserError(f"Trials cannot run on {name!r}: {reason}")
    raise UserError(
        f"There is no device {name!r}; a device is a generation and a number, such as 'v5e-16', "
        f"and the generations are {', '.join(_by_generation())}.{did_you_mean(asked, known)}")


def names() -> list[str]:
    """Return the names of all devices: TPUs, GPUs, then CPUs, each generation by size."""
    return list(_devices())


def refusals(rented: Device, executor: Executor, spot: bool) -> list[str]:
    """Say why an executor cannot give a device; nothing where it can.

    Args:
        rented: The device.
        executor: Whom it is asked of.
        spot: Whether the machines may be taken away.
    """
    problems = []
    if not _has(executor, rented):
        problems.append(_not_there(rented, executor))
    if executor == "vertex" and rented.kind == "tpu" and spot:
        problems.append(
            "Vertex AI gives no TPUs as spot machines; leave --spot out, or take --executor gke.")
    return problems


def _has(executor: Executor, rented: Device) -> bool:
    if executor == "vertex":
        return rented.vertex is not None
    return rented.kind == "cpu" or rented.gke_accelerator is not None


def _not_there(rented: Device, executor: Executor) -> str:
    alike = [it for it in _devices().values() if it.kind == rented.kind]
    here = _listed(it.name for it in alike if _has(executor, it))
    cloud, other = {"vertex": ("Vertex AI", "gke"), "gke": ("GKE", "vertex")}[executor]
    elsewhere = f"; --executor {other} has it" if _has(other, rented) else ""
    return f"{cloud} has no {rented.name} to train on; it has {here}{elsewhere}."


def _listed(found: Iterable[str]) -> str:
    """Return names in one line, generation by generation: "v2-8 to v2-512, v5e-1 to v5e-8"."""
    ends: dict[str, list[str]] = {}
    for name in found:
        ends.setdefault(_devices()[name].generation, []).append(name)
    return ", ".join(it[0] if len(it) == 1 else f"{it[0]} to {it[-1]}" for it in ends.values())


def _no_such_size(name: str, generation: str, size: str) -> str:
    sizes = [it.name for it in _by_generation()[generation]]
    hint = ""
    if size.isdecimal():
        larger = (it for it in sizes if int(it.rpartition("-")[2]) >= int(size))
        hint = f" Did you mean {next(larger, sizes[-1])!r}?"
    return f"There is no device {name!r}; {generation} comes as {', '.join(sizes)}.{hint}"


def _spellings() -> Iterator[tuple[str, str]]:
    """Yield generations and how they are written; "a100-80gb" before "a100", which begins it."""
    pairs = [
        (it.generation, spelling)
        for it in (*generations.TPUS, *generations.GPUS)
        for spelling in (it.generation, *it.spellings)]
    pairs.append((generations.CPU.generation, generations.CPU.generation))
    yield from sorted(pairs, key=lambda pair: len(pair[1]), reverse=True)


def _by_generation() -> dict[str, list[Device]]:
    found: dict[str, list[Device]] = {}
    for it in _devices().values():
        found.setdefault(it.generation, []).append(it)
    return found


@functools.cache
def _devices() -> dict[str, Device]:
    every = [
        *(_slice(tpu, topology) for tpu in generations.TPUS for topology in tpu.topologies),
        *(made for gpu in generations.GPUS for made in _gpus(gpu)),
        *(_cpu(generations.CPU, size) for size in generations.CPU.sizes)]
    return {it.name: it for it in every}


def _slice(tpu: Tpu, topology: str) -> Device:
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
        # Of larger slices nobody knows whether Vertex AI counts machines or takes the topology.
        vertex = VertexMachine(machine_type, tpu_topology=topology)
    return Device(
        name=f"{tpu.generation}-{tpu.counted * chips}", kind="tpu", generation=tpu.generation,
        chips=chips, replicas=tpu.replicas * chips, hosts=1 if whole else chips // 4,
        topology=topology, memory_gib=tpu.memory_gib, teraflops=tpu.teraflops,
        gke_accelerator=tpu.gke if whole else tpu.gke_slice, machine_type=machine_type,
        vertex=vertex, warnings=tuple(warnings))


def _gpus(gpu: Gpu) -> Iterator[Device]:
    most = max(gpu.machine_types)
    for on_host, machine_type in gpu.machine_types.items():
        for hosts in gpu.hosts if on_host == most else (1,):
            warning = gpu.warnings.get(on_host)
            yield Device(
                name=f"{gpu.generation}-{on_host * hosts}", kind="gpu", generation=gpu.generation,
                chips=on_host * hosts, replicas=on_host * hosts, hosts=hosts, topology=None,
                memory_gib=gpu.memory_gib, teraflops=gpu.teraflops, gke_accelerator=gpu.gke,
                machine_type=machine_type,
                vertex=VertexMachine(machine_type, gpu.vertex, on_host, replicas=hosts),
                warnings=() if warning is None else (warning,))


def _cpu(cpu: Cpu, size: int) -> Device:
    machine_type = cpu.machine_type.format(size)
    return Device(
        name=f"{cpu.generation}-{size}", kind="cpu", generation=cpu.generation, chips=1, replicas=1,
        hosts=1, topology=None, memory_gib=cpu.memory_gib * size, teraflops=cpu.teraflops * size,
        gke_accelerator=None, machine_type=machine_type, vertex=VertexMachine(machine_type))

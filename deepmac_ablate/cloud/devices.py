"""Accelerators that can be rented, by the names that people use: ``v5e-16``, ``a100-8``."""

from __future__ import annotations

import dataclasses
from typing import Literal


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
        replicas: parts into which a batch is divided: TPU cores, GPUs, or 1.
        hosts: virtual machines.
        topology: of a TPU slice, in chips, such as "4x4" or "2x2x2"; else None.
        memory_gib: high-bandwidth memory of a chip in GiB; of a CPU, of the host.
        teraflops: peak of a chip in bfloat16 (TPU) or with its tensor cores, dense, in 10^12 per
            second; of a CPU a rough figure.
        gke_accelerator: the value of GKE's node label for it; None where GKE has none.
        machine_type: of Compute Engine and GKE.
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

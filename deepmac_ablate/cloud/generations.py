"""What is documented of each generation of accelerators; `devices` makes the single sizes of it.

Of TPUs, names, topologies, memory and peaks are those of Google's pages on Cloud TPU v2 to v5p;
labels and machine types those of its pages on TPUs in GKE, of gcloud and of xpk. Of GPUs and CPUs,
machine types are those of Compute Engine's pages on accelerator-optimised and N1 machines, labels
those of GKE's page on GPUs. They were read in November 2026 unless a comment says otherwise. Peaks
of GPUs are NVIDIA's for dense 16-bit products with tensor cores; these, their memory, and all
figures of CPUs are from memory, and only estimates depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

# TPUs that are reached through PJRT, see `tpu_environment`.
PJRT = frozenset({"v5e", "v5p"})


class Tpu(NamedTuple):
    """A generation of TPUs.

    Attributes:
        generation: as it is called.
        spellings: other names of it.
        counted: what the number in a name counts of each chip: 2 where it counts cores.
        replicas: parts of a batch that each chip computes.
        memory_gib: of a chip.
        teraflops: of a chip.
        topologies: of its slices in chips, from small to large.
        whole: slices of so many chips are one virtual machine; of larger ones each has 4 chips.
        machine_type: of a slice that is one machine; "{}" stands for its chips.
        slice_machine_type: of each machine of a larger one.
        gke: the value of GKE's label for a slice that is one machine; None where it has none.
        gke_slice: the same for a larger one.
        vertex: how Vertex AI names it: by the accelerator type `TPU_<generation>` and a number of
            cores, or by machine type and topology; None where it does not train on it.
        warnings: of all sizes.
    """

    generation: str
    counted: int
    replicas: int
    memory_gib: float
    teraflops: float
    topologies: tuple[str, ...]
    machine_type: str
    slice_machine_type: str
    gke: str | None
    gke_slice: str | None
    vertex: Literal["cores", "topology"] | None = None
    spellings: tuple[str, ...] = ()
    whole: tuple[int, ...] = (4,)
    warnings: tuple[str, ...] = ()


class Gpu(NamedTuple):
    """A kind of GPU.

    Attributes:
        generation: as it is called.
        spellings: other names of it.
        memory_gib: of a GPU.
        teraflops: of a GPU.
        machine_types: by the number of GPUs in a machine.
        hosts: numbers of machines with the most GPUs that a trial may have.
        gke: the value of GKE's label.
        vertex: the accelerator type of Vertex AI.
        warnings: by the number of GPUs in a machine.
    """

    generation: str
    memory_gib: float
    teraflops: float
    machine_types: Mapping[int, str]
    gke: str
    vertex: str
    spellings: tuple[str, ...] = ()
    hosts: tuple[int, ...] = (1, 2, 4, 8)
    warnings: Mapping[int, str] = {}


class Cpu(NamedTuple):
    """Machines without an accelerator.

    Attributes:
        generation: as it is called.
        sizes: numbers of virtual CPUs.
        machine_type: "{}" stands for that number.
        memory_gib: for each virtual CPU.
        teraflops: for each virtual CPU, roughly.
    """

    generation: str
    sizes: tuple[int, ...]
    machine_type: str
    memory_gib: float
    teraflops: float


_FLAT = ("2x2", "4x4", "8x8", "8x16", "16x16")
_CUBIC = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")

_LOGICAL_CORE = (
    "The two cores of a chip are taken to be one replica, as Google's price page says of v4; with "
    "TensorFlow 2.20 nobody has confirmed it.")

TPUS = (
    Tpu(
        "v5e", counted=1, replicas=1, memory_gib=16.0, teraflops=197.0,
        topologies=("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"), whole=(1, 4, 8),
        machine_type="ct5lp-hightpu-{}t", slice_machine_type="ct5lp-hightpu-4t",
        gke="tpu-v5-lite-podslice", gke_slice="tpu-v5-lite-podslice", vertex="topology",
        spellings=("v5litepod",)),
    Tpu(
        "v5p", counted=2, replicas=1, memory_gib=95.0, teraflops=459.0,
        topologies=(*_CUBIC, "8x8x16", "8x16x16", "16x16x16", "16x16x24"),
        machine_type="ct5p-hightpu-{}t", slice_machine_type="ct5p-hightpu-4t",
        gke="tpu-v5p-slice", gke_slice="tpu-v5p-slice", warnings=(_LOGICAL_CORE,)),
    Tpu(
        "v4", counted=2, replicas=1, memory_gib=32.0, teraflops=275.0,
        topologies=(*_CUBIC, "8x8x12", "8x8x16", "8x16x16"),
        machine_type="ct4p-hightpu-{}t", slice_machine_type="ct4p-hightpu-4t",
        gke="tpu-v4-podslice", gke_slice="tpu-v4-podslice", warnings=(_LOGICAL_CORE,)),
    Tpu(
        "v3", counted=2, replicas=2, memory_gib=32.0, teraflops=123.0,
        topologies=("2x2", "4x4", "4x8", "8x8", "8x16", "16x16", "16x32", "32x32"),
        machine_type="ct3-hightpu-{}t", slice_machine_type="ct3p-hightpu-4t",
        gke="tpu-v3-device", gke_slice="tpu-v3-slice", vertex="cores"),
    Tpu(
        # GKE never had it. Memory and peak are from memory.
        "v2", counted=2, replicas=2, memory_gib=16.0, teraflops=45.0, topologies=_FLAT,
        machine_type="cloud-tpu", slice_machine_type="cloud-tpu", gke=None, gke_slice=None,
        vertex="cores"),
)

# A host of 4 virtual CPUs could not decode images fast enough: 8 for each GPU where one may choose.
_N1 = {1: "n1-standard-8", 2: "n1-standard-16", 4: "n1-standard-32"}

_SMALL_H100 = (
    "Machines with fewer than 8 H100 are only given as spot machines, or when they happen to be "
    "free (flex-start).")

GPUS = (
    Gpu("t4", 16.0, 65.0, _N1, "nvidia-tesla-t4", "NVIDIA_TESLA_T4"),
    Gpu("v100", 16.0, 125.0, {**_N1, 8: "n1-standard-64"},
        "nvidia-tesla-v100", "NVIDIA_TESLA_V100"),
    Gpu("l4", 24.0, 121.0,
        {1: "g2-standard-8", 2: "g2-standard-24", 4: "g2-standard-48", 8: "g2-standard-96"},
        "nvidia-l4", "NVIDIA_L4"),
    Gpu("a100", 40.0, 312.0, {n: f"a2-highgpu-{n}g" for n in (1, 2, 4, 8)},
        "nvidia-tesla-a100", "NVIDIA_TESLA_A100", ("a100-40gb",)),
    Gpu("a100-80gb", 80.0, 312.0, {n: f"a2-ultragpu-{n}g" for n in (1, 2, 4, 8)},
        "nvidia-a100-80gb", "NVIDIA_A100_80GB"),
    Gpu("h100", 80.0, 989.0, {n: f"a3-highgpu-{n}g" for n in (1, 2, 4, 8)},
        "nvidia-h100-80gb", "NVIDIA_H100_80GB", ("h100-80gb",),
        warnings=dict.fromkeys((1, 2, 4), _SMALL_H100)),
    Gpu("h200", 141.0, 989.0, {8: "a3-ultragpu-8g"},
        "nvidia-h200-141gb", "NVIDIA_H200_141GB", ("h200-141gb",)),
)

# 16 single-precision products and sums an instruction, two of them a cycle, at 2.5 GHz: 160 10^9 a
# second for a core, which is two virtual CPUs.
CPU = Cpu("cpu", (4, 8, 16, 32), "n2-standard-{}", memory_gib=4.0, teraflops=0.08)

_NO_V7 = (
    "TPU v7 (tpu7x) does not support TensorFlow, as Google's page on it says; take v5e or v5p.")

# What people may ask for, and why they do not get it.
REFUSED = {
    "v6e": (
        "from TPU v6e on, Vertex AI does not support TensorFlow, and elsewhere TensorFlow 2.16 to "
        "2.19 were seen to fail on it; take v5e or v5p."),
    "v7": _NO_V7,
    "v7x": _NO_V7,
    "tpu7x": _NO_V7,
}

# True of every TPU, until somebody has run it.
TPU_WARNING = (
    "What is said of TPUs is from documents: nobody has run a trial on one with TensorFlow 2.20.")
SLICE_WARNING = (
    "Training on several TPU hosts is tested on simulated ones only; try a slice of one host.")
VERTEX_POD_WARNING = (
    "That Vertex AI counts the cores of a pod as those of a single TPU is not confirmed.")

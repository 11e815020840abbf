"""Documented properties of each device generation, from which `devices` makes the single sizes.

Sources for TPUs are Google's pages on Cloud TPU v2 to v5p (names, topologies, memory and peaks) and
its pages on TPUs in GKE, gcloud and xpk (labels and machine types). Sources for GPUs and CPUs are
Compute Engine's pages on accelerator-optimized and N1 machines (machine types) and GKE's page on
GPUs (labels). They were read in November 2026 unless a comment says otherwise. Peaks of GPUs are
NVIDIA's for dense 16-bit products with tensor cores; these, the memory of GPUs, and all figures for
CPUs are unverified, and only estimates depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

# TPUs that TensorFlow uses through PJRT, see `tpu_environment`.
PJRT = frozenset({"v5e", "v5p", "v6e"})

# Variables for TensorFlow on such TPUs, and on the coordinator of a slice, which compiles for them.
# Keras' example for tensorflow-tpu 2.19.1 (keras-io, keras_rs/distributed_embedding_tf) and the
# published scripts for slices on GKE (SinaChavoshi/GKESamples, tpu_tfjob_worker.sh) set these
# flags; the others that the scripts set concern embeddings only.
XLA_FLAGS = {"TF_XLA_FLAGS": (
    "--tf_mlir_enable_mlir_bridge=true "
    "--tf_mlir_enable_convert_control_to_data_outputs_pass=true "
    "--tf_mlir_enable_merge_control_flow_pass=true")}

# Variables for TensorFlow where there is no TPU. Otherwise tensorflow-tpu, which some images have,
# loads libtpu when it is imported, and libtpu asks the metadata server of a TPU host for minutes.
NO_TPU = {"TPU_LOAD_LIBRARY": "0"}


class Tpu(NamedTuple):
    """Generation of TPUs.

    Attributes:
        generation: Name of the generation.
        counted: Units per chip that the number in a device's name counts: 2 if it counts cores.
        replicas: Parts of a batch that each chip computes.
        memory_gib: Memory of a chip in GiB.
        teraflops: Peak of a chip in 10^12 operations per second.
        topologies: Topologies of its slices in chips, from small to large.
        machine_type: Machine type of a slice on one host; "{}" stands for the number of chips.
        slice_machine_type: Machine type of each host of a larger slice.
        gke: Value of GKE's label for a slice on one host; None if GKE does not offer it.
        gke_slice: Value of GKE's label for a larger slice; None if GKE does not offer it.
        vertex: Naming scheme of Vertex AI: the accelerator type `TPU_<generation>` with a number of
            cores, or machine type and topology; None if Vertex AI does not train on it.
        spellings: Other names of the generation.
        whole: Numbers of chips with which a slice is one host; hosts of larger ones have 4 chips.
        warnings: Warnings for all sizes.
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


class Machine(NamedTuple):
    """Machine type with GPUs.

    Attributes:
        name: Name of the machine type.
        cpus: Number of virtual CPUs.
        memory_gib: Memory in GiB.
    """

    name: str
    cpus: int
    memory_gib: float


class Gpu(NamedTuple):
    """Generation of GPUs.

    Attributes:
        generation: Name of the generation.
        memory_gib: Memory of a GPU in GiB.
        teraflops: Peak of a GPU in 10^12 operations per second.
        machines: Machine types by number of GPUs per host.
        gke: Value of GKE's label.
        vertex: Accelerator type of Vertex AI.
        spellings: Other names of the generation.
        hosts: Numbers of hosts, each with the maximum number of GPUs, that a trial may have.
        warnings: Warnings by number of GPUs per host.
        flex_start: Whether Vertex AI provides them with flex start, according to its page on
            scheduling by the availability of resources.
    """

    generation: str
    memory_gib: float
    teraflops: float
    machines: Mapping[int, Machine]
    gke: str
    vertex: str
    spellings: tuple[str, ...] = ()
    hosts: tuple[int, ...] = (1, 2, 4, 8)
    warnings: Mapping[int, str] = {}
    flex_start: bool = True


class Cpu(NamedTuple):
    """Machines without an accelerator.

    Attributes:
        generation: Name of the generation.
        sizes: Numbers of virtual CPUs.
        machine_type: Machine type; "{}" stands for the number of virtual CPUs.
        memory_gib: Memory per virtual CPU in GiB.
        teraflops: Rough peak per virtual CPU in 10^12 operations per second.
    """

    generation: str
    sizes: tuple[int, ...]
    machine_type: str
    memory_gib: float
    teraflops: float


_FLAT = ("2x2", "4x4", "8x8", "8x16", "16x16")
_CUBIC = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")

_LOGICAL_CORE = (
    "The two cores of a chip are assumed to be one replica, as Google's price page says of v4; "
    "that is unverified with TensorFlow 2.20.")

# The field test is Prz00124/tpu-vm-examples-2025, Keras' tests are those of keras-team/keras-rs.
_V6E_WARNING = (
    "TensorFlow on v6e is unproven: a field test of June 2025 could not start it there, but Keras "
    "tests tensorflow-tpu 2.19.1 on a v6e chip; prefer v5e.")

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
        # Not on Vertex AI, which excludes TensorFlow from v6e on. Topologies, label and machine
        # types are those of xpk.
        "v6e", counted=1, replicas=1, memory_gib=32.0, teraflops=918.0,
        topologies=("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"), whole=(1, 4, 8),
        machine_type="ct6e-standard-{}t", slice_machine_type="ct6e-standard-4t",
        gke="tpu-v6e-slice", gke_slice="tpu-v6e-slice", spellings=("trillium",),
        warnings=(_V6E_WARNING,)),
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
        # GKE never offered it. Memory and peak are unverified.
        "v2", counted=2, replicas=2, memory_gib=16.0, teraflops=45.0, topologies=_FLAT,
        machine_type="cloud-tpu", slice_machine_type="cloud-tpu", gke=None, gke_slice=None,
        vertex="cores"),
)

# 4 virtual CPUs per GPU are too few to decode images fast enough, so these have 8.
_N1 = {n: Machine(f"n1-standard-{8 * n}", 8 * n, 30.0 * n) for n in (1, 2, 4)}
_N1_8 = Machine("n1-standard-64", 64, 240.0)
_G2 = {
    1: Machine("g2-standard-8", 8, 32.0), 2: Machine("g2-standard-24", 24, 96.0),
    4: Machine("g2-standard-48", 48, 192.0), 8: Machine("g2-standard-96", 96, 384.0)}

_SMALL_H100 = (
    "Machines with fewer than 8 H100 are only available as spot machines or with flex start.")


def _machines(name: str, cpus: int, memory_gib: float) -> dict[int, Machine]:
    """Return machine types with 1 to 8 GPUs from the virtual CPUs and memory per GPU."""
    return {n: Machine(name.format(n), n * cpus, n * memory_gib) for n in (1, 2, 4, 8)}


GPUS = (
    Gpu("t4", 16.0, 65.0, _N1, "nvidia-tesla-t4", "NVIDIA_TESLA_T4", flex_start=False),
    Gpu("v100", 16.0, 125.0, {**_N1, 8: _N1_8}, "nvidia-tesla-v100", "NVIDIA_TESLA_V100",
        flex_start=False),
    Gpu("l4", 24.0, 121.0, _G2, "nvidia-l4", "NVIDIA_L4"),
    Gpu("a100", 40.0, 312.0, _machines("a2-highgpu-{}g", 12, 85.0),
        "nvidia-tesla-a100", "NVIDIA_TESLA_A100", ("a100-40gb",)),
    Gpu("a100-80gb", 80.0, 312.0, _machines("a2-ultragpu-{}g", 12, 170.0),
        "nvidia-a100-80gb", "NVIDIA_A100_80GB"),
    Gpu("h100", 80.0, 989.0, _machines("a3-highgpu-{}g", 26, 234.0),
        "nvidia-h100-80gb", "NVIDIA_H100_80GB", ("h100-80gb",),
        warnings=dict.fromkeys((1, 2, 4), _SMALL_H100)),
    Gpu("h200", 141.0, 989.0, {8: Machine("a3-ultragpu-8g", 224, 2952.0)},
        "nvidia-h200-141gb", "NVIDIA_H200_141GB", ("h200-141gb",)),
)

# 16 single-precision multiply-adds per instruction, two of them per cycle, at 2.5 GHz: 160 10^9
# operations per second of a core, which is two virtual CPUs.
CPU = Cpu("cpu", (4, 8, 16, 32), "n2-standard-{}", memory_gib=4.0, teraflops=0.08)

_NO_V7 = (
    "TPU v7 (tpu7x) does not support TensorFlow, according to Google's page on it; use v5e or v5p.")

# Devices that are refused, with the reason.
REFUSED = {
    "v7": _NO_V7,
    "v7x": _NO_V7,
    "tpu7x": _NO_V7,
}

TPU_WARNING = (
    "TPU support is based on documentation: trials on TPUs with TensorFlow 2.20 are untested.")
SLICE_WARNING = (
    "Training on several TPU hosts is tested on simulated hosts only; prefer a slice of one host.")
# The figures are those of NVIDIA's AI Cluster Runtime, "GKE TCPXO Networking Prerequisites", for
# a3-megagpu-8g; see `pricing`, which counts them.
GPU_HOSTS_WARNING = (
    "Hosts exchange gradients over plain TCP, as GPUDirect (TCPX, TCPXO, RDMA) is not set up: at "
    "about 4 GB/s, where NVIDIA measures 340 GB/s with it on H100. Hours and prices include that; "
    "prefer one host.")
VERTEX_POD_WARNING = (
    "It is unverified that Vertex AI counts the cores of a pod like those of a single TPU.")

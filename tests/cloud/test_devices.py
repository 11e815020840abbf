"""Devices by name, against tables copied from the documentation of the clouds."""

from __future__ import annotations

import itertools
import json
import math
import re

import pytest

from deepmac_ablate.cloud import devices
from deepmac_ablate.cloud.devices import (
    VertexMachine,
    availability_problems,
    device_names,
    get_device,
)
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.errors import UserError

# TPU docs and GKE docs: chips, replicas, hosts, topology, machine type, label.
TPUS = {
    "v5e-1": (1, 1, 1, "1x1", "ct5lp-hightpu-1t", "tpu-v5-lite-podslice"),
    "v5e-4": (4, 4, 1, "2x2", "ct5lp-hightpu-4t", "tpu-v5-lite-podslice"),
    "v5e-8": (8, 8, 1, "2x4", "ct5lp-hightpu-8t", "tpu-v5-lite-podslice"),
    "v5e-16": (16, 16, 4, "4x4", "ct5lp-hightpu-4t", "tpu-v5-lite-podslice"),
    "v5e-32": (32, 32, 8, "4x8", "ct5lp-hightpu-4t", "tpu-v5-lite-podslice"),
    "v5e-64": (64, 64, 16, "8x8", "ct5lp-hightpu-4t", "tpu-v5-lite-podslice"),
    "v5e-128": (128, 128, 32, "8x16", "ct5lp-hightpu-4t", "tpu-v5-lite-podslice"),
    "v5e-256": (256, 256, 64, "16x16", "ct5lp-hightpu-4t", "tpu-v5-lite-podslice"),
    "v5p-8": (4, 4, 1, "2x2x1", "ct5p-hightpu-4t", "tpu-v5p-slice"),
    "v5p-16": (8, 8, 2, "2x2x2", "ct5p-hightpu-4t", "tpu-v5p-slice"),
    "v5p-32": (16, 16, 4, "2x2x4", "ct5p-hightpu-4t", "tpu-v5p-slice"),
    "v5p-128": (64, 64, 16, "4x4x4", "ct5p-hightpu-4t", "tpu-v5p-slice"),
    "v5p-12288": (6144, 6144, 1536, "16x16x24", "ct5p-hightpu-4t", "tpu-v5p-slice"),
    "v6e-1": (1, 1, 1, "1x1", "ct6e-standard-1t", "tpu-v6e-slice"),
    "v6e-8": (8, 8, 1, "2x4", "ct6e-standard-8t", "tpu-v6e-slice"),
    "v6e-16": (16, 16, 4, "4x4", "ct6e-standard-4t", "tpu-v6e-slice"),
    "v6e-256": (256, 256, 64, "16x16", "ct6e-standard-4t", "tpu-v6e-slice"),
    "v4-8": (4, 4, 1, "2x2x1", "ct4p-hightpu-4t", "tpu-v4-podslice"),
    "v4-64": (32, 32, 8, "2x4x4", "ct4p-hightpu-4t", "tpu-v4-podslice"),
    "v4-1536": (768, 768, 192, "8x8x12", "ct4p-hightpu-4t", "tpu-v4-podslice"),
    "v3-8": (4, 8, 1, "2x2", "ct3-hightpu-4t", "tpu-v3-device"),
    "v3-32": (16, 32, 4, "4x4", "ct3p-hightpu-4t", "tpu-v3-slice"),
    "v3-2048": (1024, 2048, 256, "32x32", "ct3p-hightpu-4t", "tpu-v3-slice"),
    "v2-8": (4, 8, 1, "2x2", "cloud-tpu", None),
    "v2-512": (256, 512, 64, "16x16", "cloud-tpu", None),
}

# Compute Engine docs: chips, hosts, machine type, label.
GPUS = {
    "t4-1": (1, 1, "n1-standard-8", "nvidia-tesla-t4"),
    "t4-4": (4, 1, "n1-standard-32", "nvidia-tesla-t4"),
    "v100-8": (8, 1, "n1-standard-64", "nvidia-tesla-v100"),
    "l4-1": (1, 1, "g2-standard-8", "nvidia-l4"),
    "l4-2": (2, 1, "g2-standard-24", "nvidia-l4"),
    "l4-4": (4, 1, "g2-standard-48", "nvidia-l4"),
    "l4-8": (8, 1, "g2-standard-96", "nvidia-l4"),
    "a100-1": (1, 1, "a2-highgpu-1g", "nvidia-tesla-a100"),
    "a100-8": (8, 1, "a2-highgpu-8g", "nvidia-tesla-a100"),
    "a100-16": (16, 2, "a2-highgpu-8g", "nvidia-tesla-a100"),
    "a100-80gb-2": (2, 1, "a2-ultragpu-2g", "nvidia-a100-80gb"),
    "a100-80gb-64": (64, 8, "a2-ultragpu-8g", "nvidia-a100-80gb"),
    "h100-1": (1, 1, "a3-highgpu-1g", "nvidia-h100-80gb"),
    "h100-8": (8, 1, "a3-highgpu-8g", "nvidia-h100-80gb"),
    "h200-8": (8, 1, "a3-ultragpu-8g", "nvidia-h200-141gb"),
}


@pytest.mark.parametrize("name", TPUS)
def test_tpus_agree_with_the_documentation(name):
    """A TPU has the documented chips, replicas, hosts, topology and GKE label."""
    it = get_device(name)
    found = (it.chips, it.replicas, it.hosts, it.topology, it.machine_type, it.gke_accelerator)
    assert ("tpu", TPUS[name]) == (it.kind, found)


@pytest.mark.parametrize("name", GPUS)
def test_gpus_agree_with_the_documentation(name):
    """A GPU device has the documented GPUs, hosts and GKE label."""
    it = get_device(name)
    assert GPUS[name] == (it.chips, it.hosts, it.machine_type, it.gke_accelerator)
    assert ("gpu", it.chips, None) == (it.kind, it.replicas, it.topology)


def test_a_cpu_is_a_machine():
    """A CPU device is one machine with that many virtual CPUs and 4 GiB each."""
    it = get_device("cpu-16")
    assert ("cpu", 1, 1, 1, 64.0) == (it.kind, it.chips, it.replicas, it.hosts, it.memory_gib)
    assert "n2-standard-16" == it.machine_type == it.vertex.machine_type
    assert ["cpu-4", "cpu-8", "cpu-16", "cpu-32"] == device_names()[-4:]


@pytest.mark.parametrize("name", device_names())
def test_the_numbers_of_a_device_agree(name):
    """The name, the topology and the machines of a device have the same number of chips."""
    it = get_device(name)
    assert name == it.name
    assert it.chips == it.hosts * it.chips_per_host
    number = int(name.rpartition("-")[2])
    cores = {"v5p": 2, "v4": 2, "v3": 2, "v2": 2}.get(it.generation, 1)
    if it.kind != "cpu":
        assert number == cores * it.chips
    if it.topology is not None:
        assert it.chips == math.prod(map(int, it.topology.split("x")))
    suffix = re.search(r"-(\d+)[tg]$", it.machine_type)
    if suffix is not None:
        assert it.chips_per_host == int(suffix[1])


def test_names_are_in_order():
    """Names are sorted by kind, generation and size."""
    listed = [get_device(name) for name in device_names()]
    assert len(set(device_names())) == len(listed)
    kinds = [kind for kind, _ in itertools.groupby(it.kind for it in listed)]
    assert ["tpu", "gpu", "cpu"] == kinds
    pieces = itertools.groupby(listed, key=lambda it: it.generation)
    sizes = [(name, [it.memory_gib * it.chips for it in piece]) for name, piece in pieces]
    assert len({name for name, _ in sizes}) == len(sizes)
    assert all(sorted(piece) == piece for _, piece in sizes)


@pytest.mark.parametrize(("spelling", "name"), [
    ("v5litepod-16", "v5e-16"), ("V5E-16", "v5e-16"), (" A100-80GB-8 ", "a100-80gb-8"),
    ("a100-40gb-8", "a100-8"), ("h100-80gb-8", "h100-8"), ("h200-141gb-8", "h200-8"),
    ("trillium-8", "v6e-8"),
])
def test_a_device_has_several_spellings(spelling, name):
    """Google's own names, and names in capitals, select the same devices."""
    assert get_device(name) is get_device(spelling)


@pytest.mark.parametrize(("name", "message"), [
    ("v5e-12", "There is no device 'v5e-12'; v5e is available as v5e-1, v5e-4, v5e-8, v5e-16, "
     "v5e-32, v5e-64, v5e-128, v5e-256. Did you mean 'v5e-16'?"),
    ("v5litepod-512", "There is no device 'v5litepod-512'; v5e is available as"),
    ("v5litepod-512", "Did you mean 'v5e-256'?"),
    ("v3-4", "Did you mean 'v3-8'?"),
    ("a100", "There is no device 'a100'; a100 is available as a100-1, a100-2,"),
    ("a100-80gb", "There is no device 'a100-80gb'; a100-80gb is available as a100-80gb-1,"),
    ("h200-1", "There is no device 'h200-1'; h200 is available as h200-8, h200-16,"),
    ("v5e-2x2", "There is no device 'v5e-2x2'; v5e is available as"),
    ("v5e-²", "There is no device 'v5e-²'; v5e is available as"),
    ("h10-8", "There is no device 'h10-8'; a device must be a generation and a number, such as "
     "'v5e-16', with one of the generations v5e, v5p, v6e, v4, v3, v2, t4, v100, l4, a100, "
     "a100-80gb, h100, h200, cpu. Did you mean 'h100-8'?"),
    ("", "There is no device ''; a device must be a generation and a number"),
    ("v7-8", "Trials cannot run on 'v7-8': TPU v7 (tpu7x) does not support TensorFlow"),
    ("tpu7x-8", "Trials cannot run on 'tpu7x-8': TPU v7 (tpu7x) does not support TensorFlow"),
])
def test_an_unknown_device_is_reported(name, message):
    """An unknown device is reported with the alternatives or the reason."""
    with pytest.raises(UserError, match=re.escape(message)):
        get_device(name)


@pytest.mark.parametrize(("name", "machine"), [
    ("v2-8", VertexMachine("cloud-tpu", "TPU_V2", 8)),
    ("v3-8", VertexMachine("cloud-tpu", "TPU_V3", 8)),
    ("v3-32", VertexMachine("cloud-tpu", "TPU_V3", 32)),
    ("v5e-4", VertexMachine("ct5lp-hightpu-4t", tpu_topology="2x2")),
    ("v5e-8", VertexMachine("ct5lp-hightpu-8t", tpu_topology="2x4")),
    ("v5e-16", None),
    ("v4-8", None),
    ("v5p-8", None),
    ("v6e-8", None),
    ("a100-16", VertexMachine("a2-highgpu-8g", "NVIDIA_TESLA_A100", 8, replicas=2)),
    ("cpu-8", VertexMachine("n2-standard-8")),
])
def test_devices_have_names_of_vertex_ai(name, machine):
    """Vertex AI counts TPU cores up to v3, v5e by topology, and GPUs per host."""
    assert machine == get_device(name).vertex


def test_vertex_ai_accepts_every_machine():
    """Vertex AI's enumeration and limits accept a job on every device."""
    from google.cloud.aiplatform_v1 import AcceleratorType

    from deepmac_ablate.cloud.vertex.client import Vertex
    from tests.fakes import vertex_rules

    vertex = Vertex("p", "us-central1")
    here = [it for it in map(get_device, device_names()) if it.vertex is not None]
    assert {"tpu", "gpu", "cpu"} == {it.kind for it in here}
    for it in here:
        job = vertex_rules.parse(json.dumps(vertex.render(JobRequest(
            name="a-job", image="us-docker.pkg.dev/p/r/ablate:1", args=("worker",), device=it))))
        assert [] == vertex_rules.broken(job), it.name
        machine = job.job_spec.worker_pool_specs[0].machine_spec
        expected = it.vertex.accelerator_type or "ACCELERATOR_TYPE_UNSPECIFIED"
        assert expected == AcceleratorType(machine.accelerator_type).name


def test_a_cluster_accepts_every_device():
    """Kubernetes' and JobSet's schemas and rules accept a job on every device."""
    from deepmac_ablate.cloud.gke import manifests
    from deepmac_ablate.cloud.gke.pod import Placement
    from tests.fakes import kubernetes_schemas

    here = [
        it for it in map(get_device, device_names())
        if not availability_problems(it, "gke", spot=False)]
    assert {"tpu", "gpu", "cpu"} == {it.kind for it in here}
    for it in here:
        manifest = manifests.render(JobRequest(
            name="a-job", image="us-docker.pkg.dev/p/r/ablate:1", args=("worker",), device=it),
            Placement())
        assert [] == kubernetes_schemas.errors(manifest), it.name


@pytest.mark.parametrize(("name", "executor", "spot", "expected"), [
    ("v4-8", "vertex", False, [
        "Vertex AI has no v4-8 to train on; it has v5e-1 to v5e-8, v3-8 to v3-2048, v2-8 to "
        "v2-512; --executor gke has it."]),
    ("v6e-8", "vertex", False, [
        "Vertex AI has no v6e-8 to train on; it has v5e-1 to v5e-8, v3-8 to v3-2048, v2-8 to "
        "v2-512; --executor gke has it."]),
    ("v2-8", "gke", False, [
        "GKE has no v2-8 to train on; it has v5e-1 to v5e-256, v5p-8 to v5p-12288, v6e-1 to "
        "v6e-256, v4-8 to v4-4096, v3-8 to v3-2048; --executor vertex has it."]),
    ("v5e-4", "vertex", True, [
        "Vertex AI has no spot machines with TPUs; drop --spot, or use --executor gke."]),
    ("v5e-4", "vertex", False, []),
    ("v5e-4", "gke", True, []),
    ("a100-8", "vertex", True, []),
    ("cpu-8", "gke", True, []),
])
def test_a_device_that_a_cloud_lacks_is_reported(name, executor, spot, expected):
    """A device that a cloud lacks is reported with alternatives and the cloud that has it."""
    assert expected == availability_problems(get_device(name), executor, spot)


@pytest.mark.parametrize("name", device_names())
def test_every_device_is_available_somewhere(name):
    """Every device is available from at least one cloud."""
    assert [] in [
        availability_problems(get_device(name), executor, spot=False)
        for executor in ("vertex", "gke")]


def test_untested_devices_have_warnings():
    """Untested devices have warnings: TPUs, v6e, hosts that share a trial, pods on Vertex AI."""
    assert all(get_device(name).warnings for name in TPUS)
    single, several = (set(get_device(name).warnings) for name in ("v5e-8", "v5e-16"))
    assert single < several
    assert any("Vertex AI" in it for it in get_device("v3-32").warnings)
    assert not any("Vertex AI" in it for it in get_device("v3-8").warnings)
    assert any("v6e is unproven" in it for it in get_device("v6e-1").warnings)
    assert get_device("h100-4").warnings
    assert not get_device("h100-8").warnings
    for name in ("h100-16", "a100-32", "l4-16"):
        assert any("about 4 GB/s" in it and "GPUDirect" in it for it in get_device(name).warnings)
    sentences = {it for name in device_names() for it in devices.get_device(name).warnings}
    assert all(it.endswith(".") for it in sentences)

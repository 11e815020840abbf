"""Rules by which Vertex AI refuses a `CustomJob`, from its published reference and limits.

They are independent of this project: tests check requests against them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import json_format

_LABEL = re.compile(r"[a-z0-9_-]{0,64}")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9.:/_-]*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?")
_STRATEGIES = {"STANDARD", "SPOT", "FLEX_START", "STRATEGY_UNSPECIFIED"}

# Machines whose accelerators are fixed: how many there are is the last number of "-4g".
_FIXED_GPUS = {
    "a2-highgpu": "NVIDIA_TESLA_A100", "a2-megagpu": "NVIDIA_TESLA_A100",
    "a2-ultragpu": "NVIDIA_A100_80GB", "a3-highgpu": "NVIDIA_H100_80GB",
    "a3-megagpu": "NVIDIA_H100_MEGA_80GB", "a3-ultragpu": "NVIDIA_H200_141GB",
    "a4-highgpu": "NVIDIA_B200",
}
_L4_MACHINES = {"g2-standard-4": 1, "g2-standard-8": 1, "g2-standard-12": 1, "g2-standard-16": 1,
                "g2-standard-24": 2, "g2-standard-32": 1, "g2-standard-48": 4, "g2-standard-96": 8}
_N1_GPUS = {"NVIDIA_TESLA_T4": {1, 2, 4}, "NVIDIA_TESLA_V100": {1, 2, 4, 8},
            "NVIDIA_TESLA_P100": {1, 2, 4}, "NVIDIA_TESLA_P4": {1, 2, 4}}
_TPU_HOSTS = {"1t": {"1x1"}, "4t": {"2x2"}, "8t": {"2x4"}}
_FLEX_START_GPUS = {
    "NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB", "NVIDIA_H100_80GB",
    "NVIDIA_H100_MEGA_80GB", "NVIDIA_H200_141GB", "NVIDIA_B200"}
_RESERVATION = re.compile(r"projects/[\w-]+/zones/[\w-]+/reservations/[\w-]+")
_TPU_MACHINE = re.compile(r"(ct5lp-hightpu|ct6e-standard)-(?P<chips>[148]t)")


def parse(text: str) -> Any:
    """Return a `CustomJob` from JSON; unknown fields and enumerations are errors.

    Raises:
        json_format.ParseError: As Google's servers refuse it.
    """
    return json_format.Parse(text, aiplatform_v1.CustomJob.pb(aiplatform_v1.CustomJob()))


def broken(job: Any) -> list[str]:
    """Return the problems of a parsed job; empty if Vertex AI would accept it."""
    return list(_broken(job))


def _broken(job: Any) -> Iterator[str]:
    if not 1 <= len(job.display_name) <= 128:
        yield "display_name must have 1 to 128 characters"
    if len(job.labels) > 64:
        yield "a job has at most 64 labels"
    for key, value in job.labels.items():
        if not (key and _LABEL.fullmatch(key) and _LABEL.fullmatch(value)):
            yield f"label {key}={value} is malformed"
    if job.name or job.state or job.HasField("create_time"):
        yield "name, state and create_time are output only"
    spec = job.job_spec
    pools = spec.worker_pool_specs
    if not 1 <= len(pools) <= 4:
        yield "a job has 1 to 4 worker pools"
    if pools and pools[0].replica_count != 1:
        yield "the first worker pool has exactly one replica"
    for pool in pools:
        yield from _broken_pool(pool)
    scheduling = spec.scheduling
    strategy = aiplatform_v1.Scheduling.Strategy(scheduling.strategy).name
    tpus = [pool for pool in pools if _is_tpu(pool.machine_spec)]
    if strategy not in _STRATEGIES:
        yield f"strategy {strategy} is deprecated"
    if tpus and strategy != "STANDARD":
        yield f"TPUs are not offered with the strategy {strategy}"
    if tpus and (len(pools) > 1 or pools[0].replica_count > 1):
        yield "a job with TPUs has one worker pool of one replica"
    if scheduling.HasField("timeout") and scheduling.timeout.ToSeconds() <= 0:
        yield "timeout must be positive"
    if scheduling.HasField("max_wait_duration") and strategy != "FLEX_START":
        yield "max_wait_duration is for FLEX_START"
    if strategy == "FLEX_START":
        # The page on scheduling training jobs by the availability of resources.
        names = {aiplatform_v1.AcceleratorType(pool.machine_spec.accelerator_type).name
                 for pool in pools}
        if not names <= _FLEX_START_GPUS:
            yield f"flex start does not have {' and '.join(sorted(names - _FLEX_START_GPUS))}"
        if scheduling.timeout.ToSeconds() > 7 * 24 * 3600:
            yield "flex start takes a timeout of seven days at most"
        if len({str(pool.machine_spec) for pool in pools}) > 1:
            yield "flex start takes the same machines in all pools"
    if spec.service_account and not re.fullmatch(
            r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com", spec.service_account):
        yield f"service account {spec.service_account} is malformed"


def _broken_pool(pool: Any) -> Iterator[str]:
    if pool.replica_count < 1:
        yield "replica_count must be at least 1"
    container = pool.container_spec
    if not _IMAGE.fullmatch(container.image_uri):
        yield f"image_uri {container.image_uri!r} is malformed"
    names = [variable.name for variable in container.env]
    if len(names) > 100:
        yield "a container has at most 100 environment variables"
    if len(set(names)) < len(names) or "" in names:
        yield "environment variables have distinct names"
    yield from _broken_machine(pool.machine_spec)


def _broken_machine(machine: Any) -> Iterator[str]:
    affinity = machine.reservation_affinity
    if machine.HasField("reservation_affinity") and (
            affinity.key != "compute.googleapis.com/reservation-name"
            or not all(map(_RESERVATION.fullmatch, affinity.values)) or not affinity.values):
        yield f"{list(affinity.values)} are not full names of reservations"
    name = machine.machine_type
    gpu = aiplatform_v1.AcceleratorType(machine.accelerator_type).name
    count = machine.accelerator_count
    if not name:
        yield "machine_type is required"
    elif name == "cloud-tpu":
        if gpu not in {"TPU_V2", "TPU_V3"} or count < 8 or count % 8 or machine.tpu_topology:
            yield "cloud-tpu takes TPU_V2 or TPU_V3 by cores, 8 at least, and no topology"
    elif tpu := _TPU_MACHINE.fullmatch(name):
        if machine.accelerator_type or count:
            yield f"{name} takes no accelerator_type and no accelerator_count"
        if machine.tpu_topology not in _TPU_HOSTS[tpu["chips"]]:
            yield f"{name} has no topology {machine.tpu_topology!r}"
    elif machine.tpu_topology:
        yield f"{name} has no TPUs"
    elif name.startswith(tuple(_FIXED_GPUS)):
        family, chips = re.fullmatch(r"(.+)-([0-9]+)g", name).groups()
        if (gpu, count) != (_FIXED_GPUS[family], int(chips)):
            yield f"{name} has {chips} of {_FIXED_GPUS[family]}, not {count} of {gpu}"
    elif name.startswith("g2-"):
        if (gpu, count) != ("NVIDIA_L4", _L4_MACHINES.get(name)):
            yield f"{name} does not have {count} of {gpu}"
    elif (machine.accelerator_type or count) and not (
            name.startswith("n1-") and count in _N1_GPUS.get(gpu, ())):
        yield f"{name} does not take {count} of {gpu}"


def _is_tpu(machine: Any) -> bool:
    return machine.machine_type == "cloud-tpu" or bool(_TPU_MACHINE.match(machine.machine_type))

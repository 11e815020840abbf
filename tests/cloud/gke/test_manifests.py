"""Manifests for GKE, against published schemas and GKE's documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from deepmac_ablate.cloud import devices
from deepmac_ablate.cloud.gke import manifests
from deepmac_ablate.cloud.gke.pod import Placement
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.errors import UserError
from tests.fakes import kubernetes_schemas

LONGEST = "a" + "b" * 39


def request(device: str, **changes: Any) -> JobRequest:
    fields = {"name": "trial-1", "image": "region-docker.pkg.dev/p/r/i:1",
              "args": ("worker", "--workdir", "gs://b/x"), "device": devices.get_device(device)}
    return JobRequest(**{**fields, **changes})


def render(device: str, placement: Placement | None = None, **changes: Any) -> dict[str, Any]:
    return manifests.render(request(device, **changes), placement or Placement())


def parts(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the specs of a JobSet's Jobs by role."""
    return {it["name"]: it["template"]["spec"] for it in manifest["spec"]["replicatedJobs"]}


def pod(job: dict[str, Any]) -> dict[str, Any]:
    return job["template"]["spec"]


def container(job: dict[str, Any]) -> dict[str, Any]:
    it, = pod(job)["containers"]
    return it


@pytest.mark.parametrize("device", [
    "cpu-8", "v3-8", "v3-32", "v4-8", "v4-16", "v5e-1", "v5e-8", "v5e-256", "v5p-8", "v6e-4",
    "v6e-16", "t4-1", "l4-4", "a100-8", "a100-16", "h100-8"])
@pytest.mark.parametrize("spot", [False, True])
def test_manifests_are_valid(device, spot):
    """The API server's schemas accept manifests of all kinds of devices, with every setting."""
    everything = {
        "spot": spot, "env": {"A": "1"}, "secrets": {"KEY": "wandb/key"}, "name": LONGEST,
        "labels": {"sweep": "mask_heads-", "seed": "1"}, "service_account": "trainer"}
    placement = Placement("team", queue="q", pull_secrets=("docker",),
                          reservation=None if spot else "r")
    manifest = render(device, placement, **everything)
    assert [] == kubernetes_schemas.errors(manifest)


@pytest.mark.parametrize("device", ["cpu-8", "a100-8", "a100-16", "v5e-16"])
def test_manifests_can_be_written_and_read(device):
    """A manifest survives being written as YAML and read again, and the YAML has no anchors."""
    manifest = render(device, Placement(queue="q"), spot=True, secrets={"KEY": "wandb/key"})
    text = yaml.safe_dump(manifest)
    assert manifest == yaml.safe_load(text)
    assert not re.search(r"[&*]id\d", text)


@pytest.mark.parametrize(("change", "complaint"), [
    (lambda job: job["spec"]["template"]["spec"].update(nodeselector={}), "nodeselector"),
    (lambda job: job["spec"].update(backoffLimit="6"), "backoffLimit"),
    (lambda job: job["spec"]["template"]["spec"].update(restartPolicy="OnFailure"), "only Never"),
    (lambda job: job["spec"]["podFailurePolicy"]["rules"][0].update(action="FailIndex"),
     "requires backoffLimitPerIndex"),
    (lambda job: job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"].update(values=[3, 2]),
     "ordered"),
    (lambda job: job["metadata"].update(name=LONGEST + "c" * 24), "63 characters"),
])
def test_the_stand_in_refuses_what_kubernetes_refuses(change, complaint):
    """Each kind of invalid Job is refused by the schema, or by the rules beyond it."""
    job = render("cpu-8")
    change(job)
    assert complaint in "; ".join(kubernetes_schemas.errors(job))


@pytest.mark.parametrize(("change", "complaint"), [
    (lambda spec: spec["failurePolicy"]["rules"][0].update(action="Restart"), "Restart"),
    (lambda spec: spec["failurePolicy"]["rules"][0].update(onJobFailureReasons=["ExitCode"]),
     "invalid job failure reason"),
    (lambda spec: spec["successPolicy"].update(targetReplicatedJobs=["chief"]), "chief"),
    (lambda spec: spec.update(replicas=2), "replicas"),
])
def test_the_stand_in_refuses_what_jobset_refuses(change, complaint):
    """Each kind of invalid JobSet is refused by its schema, or by the rules of its webhook."""
    jobset = render("v5e-16")
    change(jobset["spec"])
    assert complaint in "; ".join(kubernetes_schemas.errors(jobset))


def test_one_tpu_machine_is_a_job():
    """A 2x4 slice of v5e is one machine with 8 chips, and a Job with GKE's two labels."""
    job = render("v5e-8")
    assert ("batch/v1", "Job", 1, 1) == (
        job["apiVersion"], job["kind"], job["spec"]["completions"], job["spec"]["parallelism"])
    assert {"cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
            "cloud.google.com/gke-tpu-topology": "2x4"} == pod(job["spec"])["nodeSelector"]
    resources = container(job["spec"])["resources"]
    assert "8" == resources["limits"]["google.com/tpu"] == resources["requests"]["google.com/tpu"]
    assert ["worker", "--workdir", "gs://b/x"] == container(job["spec"])["args"]


def test_a_slice_of_several_hosts_is_a_jobset():
    """A 4x4 slice of v5e has 4 hosts that serve 4 chips each, and a coordinator without any."""
    jobset = render("v5e-16")
    host, coordinator = parts(jobset)["host"], parts(jobset)["coordinator"]
    assert (4, 4, "Indexed") == (
        host["completions"], host["parallelism"], host["completionMode"])
    assert {"cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
            "cloud.google.com/gke-tpu-topology": "4x4"} == pod(host)["nodeSelector"]
    assert "4" == container(host)["resources"]["limits"]["google.com/tpu"]
    names = [f"trial-1-host-0-{i}.trial-1" for i in range(4)]
    assert ["tpu-server", "--hosts", ",".join(names), "--grace", "30"] == container(host)["args"]
    # As in the wheel's grpc_tpu_worker.py, and libtpu's own.
    assert {8470, 8471, 8476} == {it["containerPort"] for it in container(host)["ports"]}
    addresses = ",".join(f"grpc://{name}:8470" for name in names)
    assert ["worker", "--workdir", "gs://b/x", "--runtime", f"Runtime.tpu = '{addresses}'"] == (
        container(coordinator)["args"])
    assert "nodeSelector" not in pod(coordinator)
    assert "limits" not in container(coordinator)["resources"]
    assert {"operator": "All", "targetReplicatedJobs": ["coordinator"]} == (
        jobset["spec"]["successPolicy"])


def test_hosts_tell_the_coordinator_that_they_are_asked_to_end():
    """Both get the same file and the same grace period, as that of the coordinator's pod."""
    notice = "gs://b/x/.train-end.tmp"
    jobs = parts(render("v5e-16", spot=True, grace=15.0, end_notice=notice))
    for role in ("host", "coordinator"):
        args = container(jobs[role])["args"]
        assert notice == args[args.index("--end-notice") + 1]
        assert 15 == pod(jobs[role])["terminationGracePeriodSeconds"]
    args = container(jobs["host"])["args"]
    assert "15" == args[args.index("--grace") + 1]
    assert "--end-notice" not in container(render("v5e-8", end_notice=notice)["spec"])["args"]


def variables(job: dict[str, Any]) -> dict[str, str]:
    return {it["name"]: it["value"] for it in container(job)["env"]}


@pytest.mark.parametrize(("device", "pjrt"), [
    ("v3-8", False), ("v3-32", False), ("v4-16", False), ("v5e-8", True), ("v5e-16", True),
    ("v5p-16", True), ("v6e-16", True)])
def test_tensorflow_loads_the_tpus_library_only_where_there_is_a_tpu(device, pjrt):
    """The coordinator compiles for PJRT with the flags of the hosts, but has no TPU itself."""
    manifest = render(device)
    jobs = parts(manifest) if manifest["kind"] == "JobSet" else {"host": manifest["spec"]}
    host = variables(jobs["host"])
    assert ("TPU" == host.get("PJRT_DEVICE")) == ("TF_XLA_FLAGS" in host) == pjrt
    assert "TPU_LOAD_LIBRARY" not in host
    if "coordinator" in jobs:
        found = variables(jobs["coordinator"])
        assert "0" == found.pop("TPU_LOAD_LIBRARY")
        assert found == {name: host[name] for name in host if name == "TF_XLA_FLAGS"}


@pytest.mark.parametrize("device", ["cpu-8", "l4-1", "a100-16"])
def test_jobs_without_a_tpu_do_not_load_its_library(device):
    """An image for TPUs would otherwise ask a metadata server for minutes."""
    manifest = render(device)
    job = parts(manifest)["worker"] if manifest["kind"] == "JobSet" else manifest["spec"]
    assert {"TPU_LOAD_LIBRARY": "0"} == variables(job)


@pytest.mark.parametrize("device", ["v4-8", "v5e-8", "v5e-16", "v6e-1"])
def test_tpu_containers_are_privileged_unless_the_cluster_refuses_that(device):
    """As xpk runs them; other pods have no privilege."""
    for placement, expected in (
            (Placement(), {"privileged": True}), (Placement(privileged=False), None)):
        manifest = render(device, placement)
        jobs = parts(manifest) if manifest["kind"] == "JobSet" else {"host": manifest["spec"]}
        assert expected == container(jobs["host"]).get("securityContext")
        if "coordinator" in jobs:
            assert "securityContext" not in container(jobs["coordinator"])
    assert "securityContext" not in str(render("a100-8"))


def test_only_hosts_request_an_exclusive_node_pool():
    """Only the Job of the hosts has the annotation for an exclusive node pool."""
    jobset = render("v5e-16")
    key = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    host, coordinator = jobset["spec"]["replicatedJobs"]
    assert {key: "cloud.google.com/gke-nodepool"} == host["template"]["metadata"]["annotations"]
    assert key not in str(coordinator)
    assert key not in str(jobset["metadata"])


def test_a_pod_with_gpus_takes_a_whole_machine():
    """A pod with GPUs selects their kind, requests all of a machine, and has shared memory."""
    job = render("a100-8")
    assert {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"} == (
        pod(job["spec"])["nodeSelector"])
    assert {"nvidia.com/gpu": "8"} == container(job["spec"])["resources"]["limits"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container(job["spec"])["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod(job["spec"])["volumes"]


def test_machines_with_gpus_know_each_other():
    """All machines run the same command, which has the names of all machines."""
    worker = parts(render("a100-16"))["worker"]
    assert (2, 2) == (worker["completions"], worker["parallelism"])
    assert ["worker", "--workdir", "gs://b/x", "--hosts",
            "trial-1-worker-0-0.trial-1,trial-1-worker-0-1.trial-1"] == container(worker)["args"]


def test_spot_jobs_select_spot_machines():
    """A spot job selects spot machines and tolerates their taint; a coordinator avoids them."""
    taint = {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true",
             "effect": "NoSchedule"}
    for job in (render("v5e-8", spot=True)["spec"], parts(render("v5e-16", spot=True))["host"]):
        assert "true" == pod(job)["nodeSelector"]["cloud.google.com/gke-spot"]
        assert taint in pod(job)["tolerations"]
    assert "gke-spot" not in str(parts(render("v5e-16", spot=True))["coordinator"])
    assert "gke-spot" not in str(render("v5e-8"))


@pytest.mark.parametrize(("placement", "selector"), [
    (Placement(reservation="ours"), {"cloud.google.com/reservation-affinity": "specific",
                                     "cloud.google.com/reservation-name": "ours"}),
    (Placement(flex_start=True), {"cloud.google.com/gke-flex-start": "true"}),
])
def test_reservations_and_flex_start_select_machines(placement, selector):
    """A reservation and flex start select machines by their labels."""
    assert selector.items() <= pod(render("v5e-4", placement)["spec"])["nodeSelector"].items()


def test_contradicting_ways_to_get_machines_are_refused():
    """Spot machines of a reservation are refused, and flex start without accelerators."""
    with pytest.raises(UserError, match="one of spot machines and a reservation"):
        render("v5e-4", Placement(reservation="ours"), spot=True)
    with pytest.raises(UserError, match="cpu-8 has none"):
        render("cpu-8", Placement(flex_start=True))


def test_the_queue_is_a_label():
    """The queue is a label of the Job or JobSet, as Kueue requires, and not of its pods."""
    for device in ("v5e-4", "v5e-16"):
        manifest = render(device, Placement(queue="team-a"))
        assert "team-a" == manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        assert "kueue" not in str(manifest["spec"])


def test_secrets_are_references():
    """Manifests contain only references to secrets, and TPU servers get none."""
    secrets = {"WANDB_API_KEY": "wandb/api-key"}
    reference = {"name": "WANDB_API_KEY", "valueFrom": {
        "secretKeyRef": {"name": "wandb", "key": "api-key"}}}
    assert [{"name": "TPU_LOAD_LIBRARY", "value": "0"}, {"name": "A", "value": "1"}, reference] == (
        container(render("cpu-8", env={"A": "1"}, secrets=secrets)["spec"])["env"])
    jobs = parts(render("v5e-16", env={"A": "1"}, secrets=secrets))
    assert reference in container(jobs["coordinator"])["env"]
    assert ["PJRT_DEVICE", "TF_XLA_FLAGS", "A"] == [
        variable["name"] for variable in container(jobs["host"])["env"]]


def test_a_key_in_place_of_a_reference_is_refused():
    """A key in place of a reference is refused, and the message does not contain it."""
    with pytest.raises(UserError, match=r"WANDB_API_KEY .* SECRET/KEY") as refused:
        render("cpu-8", secrets={"WANDB_API_KEY": "0123456789abcdef"})
    assert "0123456789abcdef" not in str(refused.value)


def test_dollars_are_escaped():
    """Arguments and variables with dollars arrive as written, though Kubernetes expands them."""
    job = render("cpu-8", args=("worker", "$(HOME)", "a$$b"), env={"A": "$(B)"})["spec"]
    assert ["worker", "$$(HOME)", "a$$$$b"] == container(job)["args"]
    assert {"name": "A", "value": "$$(B)"} in container(job)["env"]


@pytest.mark.parametrize(
    "name", [it for it in devices.device_names() if devices.get_device(it).kind != "tpu"])
def test_a_pod_fits_its_machine(name):
    """A pod requests less than the allocatable share of a machine in GKE's documentation."""
    device = devices.get_device(name)
    size, memory = device.host_cpus, device.host_memory_gib
    shares = [(4, 0.25), (4, 0.20), (8, 0.10), (112, 0.06), (float("inf"), 0.02)]
    taken, left = 100 / 1024, memory
    for width, share in shares:
        taken += share * min(width, left)
        left -= min(width, left)
    cpus_taken = 0.06 + 0.01 + min(size - 2, 2) * 0.005 + max(size - 4, 0) * 0.0025
    cpus, gib = requested(name)
    assert 0.5 * size < cpus < size - cpus_taken - 0.2
    assert 0.5 * memory < gib < memory - taken - 0.3


def requested(name: str) -> tuple[float, float]:
    """The virtual CPUs and GiB that a pod on a device requests."""
    manifest = render(name)
    job = parts(manifest)["worker"] if manifest["kind"] == "JobSet" else manifest["spec"]
    asked = container(job)["resources"]["requests"]
    return (int(asked["cpu"].removesuffix("m")) / 1000,
            int(asked["memory"].removesuffix("Mi")) / 1024)


@pytest.mark.parametrize(("name", "cpus", "memory"), [
    ("t4-1", 8, 30), ("v100-1", 8, 30), ("l4-1", 8, 32), ("a100-1", 12, 85),
    ("a100-80gb-1", 12, 170), ("h100-1", 26, 234), ("h100-8", 208, 1872), ("h200-8", 224, 2952)])
def test_pods_with_gpus_do_not_crowd_a_larger_machine(name, cpus, memory):
    """Each asks for most of the machine of Compute Engine's page that its device names."""
    found = requested(name)
    assert 0.7 * cpus <= found[0] <= cpus
    assert 0.6 * memory <= found[1] <= memory


def test_hours_become_the_deadline():
    """The hours become the deadline, and the grace period is that of the worker."""
    job = render("cpu-8", hours=1.5, grace=25.0)["spec"]
    assert 5400 == job["activeDeadlineSeconds"]
    assert 25 == pod(job)["terminationGracePeriodSeconds"]
    jobs = parts(render("v5e-16", hours=1.5))
    assert 5400 == jobs["coordinator"]["activeDeadlineSeconds"]
    assert "activeDeadlineSeconds" not in jobs["host"]


@pytest.mark.parametrize("name", [LONGEST + "c", "Trial", "1-trial", "trial-", "tri_al", ""])
def test_names_that_are_invalid_for_pods_are_refused(name):
    """A name that is invalid, or too long for the names of pods, is refused with the rule."""
    with pytest.raises(UserError, match="at most 40 of a-z, 0-9"):
        render("cpu-8", name=name)


def test_a_device_that_gke_lacks_is_refused():
    """A v2 device is refused, which GKE does not offer."""
    with pytest.raises(UserError, match="GKE has no machines with v2-8"):
        render("v2-8")


def test_rendering_needs_no_client():
    """A dry run does not import the client of Kubernetes."""
    code = ("import sys; from tests.cloud.gke.test_manifests import request; "
            "from deepmac_ablate.cloud.gke.client import Gke; "
            "print(Gke().render(request('v5e-16'))['kind'], 'kubernetes' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "JobSet False" == run.stdout.strip()

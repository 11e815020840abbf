"""Jobs on GKE from submission to end, with the real client and a simulated cluster.

The policies in the manifests decide what happens to failed pods, as in a real cluster.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepmac_ablate.cloud import devices
from deepmac_ablate.cloud.gke import client
from deepmac_ablate.cloud.gke.client import Gke
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.errors import UserError
from tests.fakes import kubernetes_schemas, kubernetes_server

NAME = "trial-1"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A simulated cluster; the kubeconfig points to it."""
    with kubernetes_server.serving() as serving:
        monkeypatch.setenv("KUBECONFIG", str(serving.write_kubeconfig(tmp_path)))
        yield serving


@pytest.fixture
def cluster(server):
    return server.cluster


@pytest.fixture
def gke(server):
    return Gke(patience=5.0)


def request(device: str, **changes: Any) -> JobRequest:
    fields = {
        "name": NAME, "image": "i:1", "args": ("worker",), "device": devices.get_device(device)}
    return JobRequest(**{**fields, **changes})


def of_kind(cluster, kind: str) -> list[str]:
    return [name for its, name in cluster.objects if its == kind]


# Single machines.


@pytest.mark.slow
def test_a_job_waits_runs_and_succeeds(gke, cluster):
    """A job waits with a reason, runs and succeeds."""
    job = gke.submit(request("v5e-8"))
    assert "default/job/trial-1" == job
    assert ("queued", "") == gke.status(job)
    cluster.set_state(NAME, "unschedulable", message="0/3 nodes are available:\n3 Insufficient.")
    assert ("queued", "Unschedulable: 0/3 nodes are available: 3 Insufficient.") == gke.status(job)
    cluster.set_state(NAME, "running")
    assert ("running", "") == gke.status(job)
    cluster.set_state(NAME, "succeeded")
    assert ("succeeded", "") == gke.status(job)


def test_an_image_that_cannot_be_pulled_is_seen(gke, cluster):
    """An image that cannot be pulled is reported, and that its machine is billed."""
    job = gke.submit(request("v5e-8"))
    cluster.set_state(NAME, "image", message='Back-off pulling image "i:1"')
    assert ("queued", 'ImagePullBackOff: Back-off pulling image "i:1" '
                      "(its machine is reserved and billed in the meantime)") == gke.status(job)


def test_a_suspended_job_is_queued(gke, cluster):
    """A job that Kueue holds back is queued."""
    for device in ("v5e-8", "v5e-16"):
        job = gke.submit(request(device, name=device))
        cluster.set_state(device, "suspended")
        assert "queued" == gke.status(job).state
        assert "uspended" in gke.status(job).message


def test_preemptions_are_not_limited(gke, cluster):
    """Preemptions do not count as retries."""
    job = gke.submit(request("v5e-8", spot=True))
    for code in (75, 137, 143, 1) * 3:
        cluster.set_state(NAME, "running")
        assert "running" == gke.status(job).state
        cluster.exits(NAME, code, disrupted=True)
        look = gke.status(job)
        assert "preempted" == look.state
        assert "imminent node shutdown" in look.message
    cluster.set_state(NAME, "running")
    cluster.set_state(NAME, "succeeded")
    assert "succeeded" == gke.status(job).state


@pytest.mark.parametrize("code", [1, 2, 3, 134, 137])
def test_a_failed_trainer_is_not_started_again(gke, cluster, code):
    """User errors, divergence and crashes fail the job at once, with the exit status."""
    job = gke.submit(request("v5e-8"))
    cluster.set_state(NAME, "running")
    cluster.set_state(NAME, "failed", code=code)
    look = gke.status(job)
    assert "failed" == look.state
    assert f"PodFailurePolicy: Container worker for pod default/{NAME}" in look.message
    assert f"exit code {code}" in look.message


@pytest.mark.parametrize("code", [2, 3])
def test_a_user_error_during_a_preemption_ends_the_job(gke, cluster, code):
    """A user error during a preemption is not repeated on the next machine."""
    job = gke.submit(request("v5e-8"))
    cluster.exits(NAME, code, disrupted=True)
    assert "failed" == gke.status(job).state


def test_a_deleted_pod_is_replaced(gke, cluster):
    """A deleted pod is replaced, as often as that happens."""
    job = gke.submit(request("v5e-8"))
    for _ in range(10):
        cluster.exits(NAME, 75)
        assert "queued" == gke.status(job).state
    assert 1 == len(cluster.pods(NAME))


def test_a_trial_that_another_worker_holds_is_retried_a_few_times(gke, cluster):
    """A worker waits for another's lock to expire, but only for a few tries."""
    job = gke.submit(request("v5e-8"))
    for _ in range(6):
        cluster.exits(NAME, 69)
        look = gke.status(job)
        assert ("queued", "its container exited with status 69 and will be restarted") == look
    cluster.exits(NAME, 69)
    assert ("failed", "BackoffLimitExceeded: Job has reached the specified backoff limit; "
                      "its container exited with status 69") == gke.status(job)


def test_a_job_that_takes_too_long_has_expired(gke, cluster):
    """An exceeded deadline is reported as "expired" for Jobs and JobSets."""
    for device in ("v5e-8", "v5e-16"):
        job = gke.submit(request(device, name=device))
        cluster.set_state(device, "running")
        cluster.set_state(device, "expired")
        assert "expired" == gke.status(job).state
        assert "DeadlineExceeded" in gke.status(job).message


# Slices of several hosts.


def test_a_slice_of_several_hosts_runs_and_succeeds(gke, cluster):
    """The coordinator starts once all hosts are there, and its end is the end of all."""
    job = gke.submit(request("v5e-16"))
    assert "default/jobset/trial-1" == job
    hosts = [pod["metadata"]["name"] for pod in cluster.pods("trial-1-host-0")]
    assert 4 == len(hosts)
    for host in hosts:
        assert ["trial-1-host-0"] == of_kind(cluster, "Job")
        assert "queued" == gke.status(job).state
        cluster.pod_runs(host)
    assert ["trial-1-host-0", "trial-1-coordinator-0"] == of_kind(cluster, "Job")
    assert "queued" == gke.status(job).state
    cluster.set_state(NAME, "running")
    assert ("running", "") == gke.status(job)
    cluster.exits(NAME, 0)
    assert "succeeded" == gke.status(job).state
    assert [] == cluster.pods("trial-1-host-0")


@pytest.mark.parametrize(("code", "disrupted"), [(75, False), (75, True), (1, True), (137, True)])
def test_a_slice_that_loses_a_host_restarts(gke, cluster, code, disrupted):
    """If the machine of any host is preempted, all pods are recreated, however often."""
    job = gke.submit(request("v5e-16", spot=True))
    for time in range(8):
        cluster.set_state(NAME, "running")
        assert "running" == gke.status(job).state
        before = set(of_kind(cluster, "Pod"))
        cluster.exits(NAME, code, role="host", index=time % 4, disrupted=disrupted)
        assert "preempted" == gke.status(job).state
        assert not before & set(of_kind(cluster, "Pod"))
    cluster.set_state(NAME, "running")
    cluster.set_state(NAME, "succeeded")
    assert "succeeded" == gke.status(job).state


def test_a_coordinator_that_misses_its_hosts_first_does_not_fail_the_trial(gke, cluster):
    """A trainer that fails because of a lost host, before the cluster notices, is restarted."""
    job = gke.submit(request("v5e-16", spot=True))
    cluster.set_state(NAME, "running")
    cluster.exits(NAME, 1)
    assert "queued" == gke.status(job).state
    cluster.exits(NAME, 143, role="host", index=2, disrupted=True)
    cluster.set_state(NAME, "running")
    assert "running" == gke.status(job).state


@pytest.mark.parametrize(("device", "role"), [
    ("v5e-16", "coordinator"), ("v5e-16", "host"), ("a100-16", "worker")])
@pytest.mark.parametrize("code", [2, 3])
def test_a_user_error_ends_all_pods_at_once(gke, cluster, device, role, code):
    """A user error fails a JobSet, whereas a lost machine restarts it."""
    job = gke.submit(request(device))
    cluster.set_state(NAME, "running")
    cluster.exits(NAME, code, role=role)
    look = gke.status(job)
    assert "failed" == look.state
    assert f"first failed job: {NAME}-{role}-0" in look.message
    assert f"container exited with status {code}" in look.message
    assert "\n" not in look.message
    assert not any(pod["status"]["phase"] == "Running" for pod in cluster.find("Pod", {}))


@pytest.mark.parametrize(("device", "role"), [("v5e-16", "coordinator"), ("a100-16", "worker")])
@pytest.mark.parametrize("code", [1, 69, 137])
def test_repeated_failures_of_a_slice_are_limited(gke, cluster, device, role, code):
    """A trainer that always fails is restarted only a few times."""
    job = gke.submit(request(device))
    cluster.set_state(NAME, "running")
    for _ in range(5):
        cluster.exits(NAME, code, role=role)
        assert "queued" == gke.status(job).state
    cluster.exits(NAME, code, role=role)
    assert "failed" == gke.status(job).state
    assert "MaxFailedIndexesExceeded" in gke.status(job).message


def test_machines_with_gpus_restart_together(gke, cluster):
    """A lost machine restarts all machines; the job succeeds once all have succeeded."""
    job = gke.submit(request("a100-16", spot=True))
    assert 2 == len(cluster.pods("trial-1-worker-0"))
    cluster.set_state(NAME, "running")
    # The other one's trainer fails for want of its peer.
    cluster.exits(NAME, 1, index=1)
    cluster.exits(NAME, 75, index=0, disrupted=True)
    assert "preempted" == gke.status(job).state
    cluster.set_state(NAME, "running")
    cluster.exits(NAME, 0, index=0)
    assert "running" == gke.status(job).state
    cluster.exits(NAME, 0)
    assert "succeeded" == gke.status(job).state


def test_the_indexes_of_pods_are_those_of_their_hosts(cluster, gke):
    """Each pod receives its index, which selects its own name from the list of hosts."""
    gke.submit(request("a100-16"))
    pods = cluster.pods("trial-1-worker-0")
    numbers = [{it["name"]: it.get("value") for it in pod["spec"]["containers"][0]["env"]}
               ["JOB_COMPLETION_INDEX"] for pod in pods]
    assert ["0", "1"] == numbers
    hosts = pods[0]["spec"]["containers"][0]["args"][-1].split(",")
    assert [f"trial-1-worker-0-{number}.trial-1" for number in numbers] == hosts


# Asking.


def test_submitting_twice_is_submitting_once(gke, server):
    """Submitting an existing name returns its job, even if it has ended."""
    for device in ("v5e-8", "v5e-16"):
        first = gke.submit(request(device, name=device))
        server.cluster.set_state(device, "running")
        server.cluster.set_state(device, "succeeded")
        assert first == gke.submit(request(device, name=device))
        assert "succeeded" == gke.status(first).state


def test_a_lost_answer_does_not_start_a_job_twice(gke, server):
    """A job is found if the connection broke just after its creation."""
    server.refuse(0, method="POST", done=True)
    job = gke.submit(request("v5e-8"))
    assert 2 == len([it for it in server.requests if it[0] == "POST"])
    assert [NAME] == of_kind(server.cluster, "Job")
    assert "queued" == gke.status(job).state


def test_a_job_is_found_by_its_name(gke, server):
    """Its resource is found whether it is a Job or a JobSet, also where JobSet is missing."""
    assert gke.submit(request("v5e-8", name="one")) == gke.find_job("one")
    assert gke.submit(request("v5e-16", name="many")) == gke.find_job("many")
    assert gke.find_job("none") is None
    server.has_jobset = False
    assert gke.find_job("none") is None


def test_requests_to_a_busy_cluster_are_retried(gke, server):
    """Transient errors are retried."""
    job = gke.submit(request("v5e-8"))
    for status in (503, 429, 0):
        server.refuse(status, "try later")
        assert "queued" == gke.status(job).state


def test_a_deleted_job_is_gone(gke, cluster):
    """An unknown job is "gone", and cancelling it does nothing."""
    job = gke.submit(request("v5e-16"))
    cluster.set_state(NAME, "deleted")
    assert "gone" == gke.status(job).state
    gke.cancel(job)


@pytest.mark.parametrize("device", ["v5e-8", "v5e-16"])
def test_cancelled_containers_have_time_to_end(gke, cluster, device):
    """Cancelled containers receive SIGTERM, and the job exists until they have ended."""
    asked = []
    cluster.on_delete = lambda kind, body: asked.append((kind, body["metadata"]["name"]))
    job = gke.submit(request(device))
    cluster.set_state(NAME, "running")
    running = {("Pod", pod["metadata"]["name"]) for pod in cluster.find("Pod", {})}
    gke.cancel(job)
    assert running <= set(asked)
    assert ("running", "being deleted") == gke.status(job)
    for _, pod in running:
        cluster.pod_exits(pod, 75)
    assert "gone" == gke.status(job).state
    assert {} == cluster.objects


def test_an_ended_job_is_not_cancelled(gke, cluster):
    """The outcome of an ended job is kept if it is cancelled too late."""
    job = gke.submit(request("v5e-8"))
    cluster.set_state(NAME, "failed", code=2)
    before = gke.status(job)
    gke.cancel(job)
    assert before == gke.status(job)


def test_containers_run_the_command_of_the_request(gke, cluster, tmp_path):
    """A pod that is run as a process is preempted by a signal and its successor goes on."""
    cluster.on_create = lambda kind, body: started.append(body) if kind == "Pod" else None
    started = []
    code = ("import os, signal, sys; "
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print(os.environ['MESSAGE'], "
            "flush=True); signal.pause() if sys.argv[1] == 'wait' else None")
    job = gke.submit(request("cpu-8", args=("-c", code, "wait"), env={"MESSAGE": "hello $(A)"}))

    def run(pod: dict[str, Any], *args: str) -> subprocess.Popen:
        container, = pod["spec"]["containers"]
        # As the kubelet does it.
        env = {it["name"]: it["value"].replace("$$", "$") for it in container["env"]}
        process = subprocess.Popen(
            [sys.executable, *(args or container["args"])], env={**os.environ, **env},
            stdout=subprocess.PIPE, text=True)
        cluster.pod_runs(pod["metadata"]["name"])
        return process

    with run(started[0]) as first:
        assert "hello $(A)\n" == first.stdout.readline()
        first.send_signal(signal.SIGTERM)
        assert 75 == first.wait()
    cluster.pod_exits(started[0]["metadata"]["name"], first.returncode, disrupted=True)
    assert "preempted" == gke.status(job).state
    with run(started[1], "-c", code, "go on") as second:
        assert 0 == second.wait()
    cluster.pod_exits(started[1]["metadata"]["name"], second.returncode)
    assert "succeeded" == gke.status(job).state


def test_the_stand_in_plays_scripted_states(gke, cluster):
    """The stand-in plays a script of states, one per query."""
    job = gke.submit(request("v5e-8"))
    cluster.play(NAME, ["pending", "running", "preempted", "running", ("failed", {"code": 3})])
    assert ["queued", "running", "preempted", "running", "failed", "failed"] == [
        gke.status(job).state for _ in range(6)]


@pytest.mark.parametrize("device", ["v5e-8", "v5e-16"])
@pytest.mark.parametrize("state", [
    "pending", "unschedulable", "image", "suspended", "running", "preempted", "succeeded", "failed",
    "expired"])
def test_objects_of_the_stand_in_are_valid(gke, cluster, device, state):
    """All objects, in every state, are valid by the published schemas."""
    gke.submit(request(device, spot=True, secrets={"KEY": "a/b"}))
    if state in ("preempted", "succeeded", "failed", "expired"):
        cluster.set_state(NAME, "running")
    cluster.set_state(NAME, state)
    assert {} == {key: errors for key, it in cluster.objects.items()
                  if (errors := [e for e in kubernetes_schemas.errors(it)
                                 if "DNS-1035" not in e])}


# Refusals.


def test_a_missing_permission_is_named(gke, server):
    """A permission error names the verb, the resource, the namespace and a suitable role."""
    server.refuse(403, 'jobs.batch is forbidden: User "me" cannot create resource "jobs"')
    with pytest.raises(UserError, match=r"do not have permission to create jobs in the namespace "
                       r"'default' "
                       r'.*User "me" cannot create resource "jobs".*roles/container\.developer'):
        gke.submit(request("v5e-8"))


def test_missing_credentials_are_reported(gke, server):
    """Unknown or missing credentials are distinguished from missing rights."""
    for status, message in ((401, "Unauthorized"),
                            (403, 'User "system:anonymous" cannot create resource "jobs"')):
        server.refuse(status, message)
        with pytest.raises(UserError, match=r"gcloud auth login.*gke-gcloud-auth-plugin"):
            gke.submit(request("v5e-8"))


def test_a_missing_jobset_and_a_missing_namespace_are_distinguished(gke, server):
    """A missing JobSet is reported with its installation, a missing namespace by name."""
    server.has_jobset = False
    with pytest.raises(UserError, match=r"does not have JobSet.*kubectl apply --server-side -f https://"):
        gke.submit(request("v5e-16"))
    assert "default/job/trial-1" == gke.submit(request("v5e-8"))
    server.has_jobset = True
    for device in ("v5e-8", "v5e-16"):
        with pytest.raises(UserError, match='namespaces "teem" not found'):
            Gke("teem").submit(request(device))


def test_a_complaint_of_the_api_server_is_passed_on(gke, server):
    """The API server's own complaint reaches the user in one line."""
    with pytest.raises(UserError, match=r"status 422: Job is invalid: metadata.labels.*'a b'"):
        gke.submit(request("v5e-8", labels={"sweep": "a b"}))
    assert [] == of_kind(server.cluster, "Job")


def test_a_cluster_without_an_answer_is_reported(server):
    """A cluster that does not answer is reported once patience ends."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    server.url = f"http://127.0.0.1:{port}"
    server.write_kubeconfig(Path(os.environ["KUBECONFIG"]).parent)
    with pytest.raises(UserError, match=r"did not answer a request to create jobs in the "
                       r"namespace 'default' .*refused.*kubectl cluster-info"):
        Gke(patience=0.3).submit(request("v5e-8"))


def test_a_persistent_server_error_is_reported(server):
    """A persistent server error is reported with its status."""
    server.refuse(503, "etcd is away", times=50)
    with pytest.raises(UserError, match=r"did not create jobs .* 503: etcd is away"):
        Gke(patience=0.3).submit(request("v5e-8"))


def test_a_missing_kubeconfig_is_reported(monkeypatch, tmp_path):
    """A missing kubeconfig is reported with the command to get one; a dry run needs none."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"There is no kubeconfig at .*/\.kube/config.*gcloud "
                       "container clusters get-credentials.*--dry-run"):
        Gke().submit(request("v5e-8"))
    assert "Job" == Gke().render(request("v5e-8"))["kind"]


def test_an_unknown_context_is_reported(server):
    """An unknown context is reported with the existing ones."""
    with pytest.raises(UserError, match=r"no context 'hear'; it has here\. .* 'here'\?"):
        Gke(context="hear").submit(request("v5e-8"))
    assert "default/job/trial-1" == Gke(context="here").submit(request("v5e-8"))


@pytest.mark.parametrize("text", ["", "{", "kind: Config\n", "clusters: []\ncontexts: []\n"])
def test_a_broken_kubeconfig_is_named(monkeypatch, tmp_path, text):
    """A broken kubeconfig is named in one line."""
    path = tmp_path / "config"
    path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(UserError, match=f"kubeconfig {re.escape(str(path))} cannot be used") as it:
        Gke().submit(request("v5e-8"))
    assert "\n" not in str(it.value)


def test_the_current_context_is_returned_by_name(tmp_path, monkeypatch):
    """The current context is returned by name, or None if there is none."""
    with kubernetes_server.serving() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_kubeconfig(tmp_path)))
        assert "here" == client.current_context()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert client.current_context() is None
    (tmp_path / "none").write_text("no: kubeconfig")
    assert client.current_context() is None

"""Jobs on Vertex AI, with Google's own client and protobuf, and a local stand-in server."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from deepmac_ablate.cloud import devices
from deepmac_ablate.cloud.devices import VertexMachine
from deepmac_ablate.cloud.provider import ENDED, JobRequest, JobStatus
from deepmac_ablate.cloud.vertex import client
from deepmac_ablate.cloud.vertex.client import Vertex
from deepmac_ablate.errors import UserError
from tests.fakes import vertex_rules, vertex_server

# Of Keras' example for tensorflow-tpu.
XLA_FLAGS = (
    "--tf_mlir_enable_mlir_bridge=true --tf_mlir_enable_convert_control_to_data_outputs_pass=true "
    "--tf_mlir_enable_merge_control_flow_pass=true")
RESERVATION = "projects/p/zones/us-central1-a/reservations/ours"
RESOURCE = "projects/424242/locations/us-central1/customJobs/1001"


V5E, V3, A100_32 = (devices.get_device(name) for name in ["v5e-4", "v3-8", "a100-32"])
DEVICES = [
    device for device in map(devices.get_device, devices.device_names())
    if device.vertex is not None]


def request(**changes):
    given = JobRequest(
        name="m40-hourglass-s0-1", image="us-docker.pkg.dev/p/r/ablate@sha256:" + "a" * 64,
        args=("worker", "--workdir", "gs://b/x/trials/1f", "--runtime", "Runtime.strategy = 'tpu'"),
        device=V5E)
    return dataclasses.replace(given, **changes)


@pytest.fixture
def server(monkeypatch):
    with vertex_server.serving() as running:
        monkeypatch.setenv(vertex_server.VARIABLE, running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


@pytest.fixture
def vertex(server):
    return Vertex("my-project", "us-central1")


def test_the_request_is_written_out():
    """The fields of a request are those of the REST reference of `CustomJob`."""
    asked = request(
        env={"TF_CPP_MIN_LOG_LEVEL": "1"}, labels={"sweep": "heads"}, hours=1.5,
        service_account="trainer@my-project.iam.gserviceaccount.com")
    container = {
        "imageUri": asked.image, "args": [*asked.args],
        "env": [
            {"name": "PJRT_DEVICE", "value": "TPU"},
            {"name": "TF_XLA_FLAGS", "value": XLA_FLAGS},
            {"name": "TF_CPP_MIN_LOG_LEVEL", "value": "1"}]}
    machine = {"machineType": "ct5lp-hightpu-4t", "tpuTopology": "2x2"}
    assert {
        "displayName": "m40-hourglass-s0-1",
        "labels": {"sweep": "heads", "deepmac-ablate-job": "m40-hourglass-s0-1"},
        "jobSpec": {
            "workerPoolSpecs": [
                {"machineSpec": machine, "replicaCount": "1", "containerSpec": container}],
            "scheduling": {"timeout": "5400s", "strategy": "STANDARD", "disableRetries": True},
            "serviceAccount": "trainer@my-project.iam.gserviceaccount.com",
        },
    } == Vertex("my-project", "us-central1").render(asked)


@pytest.mark.parametrize("on", DEVICES, ids=lambda it: it.name)
def test_requests_are_valid_for_the_protobuf(on):
    """For every device, the protobuf keeps all fields, and published rules hold."""
    spot = on.kind != "tpu"
    rendered = Vertex("p", "us-central1").render(request(device=on, spot=spot))
    job = vertex_rules.parse(json.dumps(rendered))
    assert [] == vertex_rules.broken(job)
    assert rendered == json_format.MessageToDict(job)
    assert job.job_spec.scheduling.timeout.ToSeconds() == 7 * 24 * 3600
    strategy = aiplatform_v1.Scheduling.Strategy(job.job_spec.scheduling.strategy)
    assert ("SPOT" if spot else "STANDARD") == strategy.name


def test_several_hosts_are_a_chief_and_workers():
    """The first pool has one machine, the second the others, and all run the same command."""
    spec = Vertex("p", "us-central1").render(request(device=A100_32))["jobSpec"]
    chief, workers = spec["workerPoolSpecs"]
    assert ("1", "3") == (chief.pop("replicaCount"), workers.pop("replicaCount"))
    assert chief == workers


def test_secrets_are_references_in_the_arguments():
    """Arguments name the secret and its version; a bare name is one of the project."""
    asked = request(secrets={
        "WANDB_API_KEY": "wandb", "HF_TOKEN": "projects/other/secrets/hf/versions/3"})
    pool, = Vertex("my-project", "us-central1").render(asked)["jobSpec"]["workerPoolSpecs"]
    assert [
        *asked.args,
        "--secret", "WANDB_API_KEY=projects/my-project/secrets/wandb/versions/latest",
        "--secret", "HF_TOKEN=projects/other/secrets/hf/versions/3",
    ] == pool["containerSpec"]["args"]
    assert ["PJRT_DEVICE", "TF_XLA_FLAGS"] == [it["name"] for it in pool["containerSpec"]["env"]]


@pytest.mark.parametrize("name", ["l4-1", "a100-8", "a100-32", "a100-80gb-1", "h100-8", "h200-8"])
def test_flex_start_waits_without_a_limit(name):
    """The protobuf and the published rules accept it, for several machines, too."""
    vertex = Vertex("p", "us-central1", flex_start=True)
    rendered = vertex.render(request(device=devices.get_device(name)))
    scheduling = rendered["jobSpec"]["scheduling"]
    assert ("FLEX_START", "0s") == (scheduling["strategy"], scheduling["maxWaitDuration"])
    job = vertex_rules.parse(json.dumps(rendered))
    assert [] == vertex_rules.broken(job)
    assert rendered == json_format.MessageToDict(job)


@pytest.mark.parametrize("on", DEVICES, ids=lambda it: it.name)
def test_a_reservation_is_named_for_all_machines(on):
    """Every pool names it, and the published rules accept that."""
    rendered = Vertex("p", "us-central1", reservation=RESERVATION).render(request(device=on))
    job = vertex_rules.parse(json.dumps(rendered))
    assert [] == vertex_rules.broken(job)
    affinity = {
        "reservationAffinityType": "SPECIFIC_RESERVATION",
        "key": "compute.googleapis.com/reservation-name", "values": [RESERVATION]}
    pools = rendered["jobSpec"]["workerPoolSpecs"]
    assert [affinity] * len(pools) == [it["machineSpec"]["reservationAffinity"] for it in pools]


@pytest.mark.parametrize(("place", "changes", "says"), [
    ({"flex_start": True}, {}, "L4, A100, H100 and H200 only, not for v5e-4; drop --flex-start"),
    ({"flex_start": True}, {"device": devices.get_device("t4-1")}, "only, not for t4-1"),
    ({"flex_start": True}, {"device": devices.get_device("cpu-4")}, "only, not for cpu-4"),
    ({"flex_start": True}, {"device": A100_32, "hours": 200.0}, "at most 168 with --flex-start"),
    ({"flex_start": True}, {"device": A100_32, "spot": True}, "one of spot machines and flex"),
    ({"flex_start": True, "reservation": RESERVATION}, {"device": A100_32},
     "one of a reservation and flex start"),
    ({"reservation": "ours"}, {}, "projects/PROJECT/zones/ZONE/reservations/NAME .*got 'ours'"),
])
def test_capacity_that_vertex_ai_lacks_is_refused(place, changes, says):
    """Before sending, with the option to change."""
    with pytest.raises(UserError, match=says):
        Vertex("p", "us-central1", **place).render(request(**changes))


@pytest.mark.parametrize(("changes", "says"), [
    ({"device": devices.get_device("v5p-8")}, "does not train on v5p-8; use --executor gke"),
    ({"spot": True}, "no spot machines with TPUs.*v5e-4.*drop --spot"),
    ({"device": dataclasses.replace(
        devices.get_device("v5e-16"), vertex=VertexMachine("m", tpu_topology="4x4", replicas=4))},
     "one TPU host per job, but v5e-16 has 4"),
    ({"device": V3, "service_account": "a@p.iam.gserviceaccount.com"},
     "does not start v3-8 under a service account.*drop --service-account"),
    ({"env": {f"V{n}": "" for n in range(101)}}, "101 variables.*at most 100"),
    ({"labels": {f"l{n}": "" for n in range(64)}}, "64 labels.*at most 63"),
    ({"labels": {"Sweep": "heads"}}, "label Sweep=heads"),
    ({"labels": {"sweep": "a" * 64}}, "at most 63 of"),
    ({"hours": 0.0}, "--hours must be .*got 0 "),
    ({"env": {"WANDB_API_KEY": "x"}}, "--secret WANDB_API_KEY=REFERENCE"),
])
def test_unsupported_requests_are_refused(changes, says):
    """Unsupported requests are refused before sending, with an alternative."""
    with pytest.raises(UserError, match=says):
        Vertex("p", "us-central1").render(request(**changes))


def test_rendering_needs_neither_google_nor_credentials():
    """A dry run imports no client of Google's and opens no connection."""
    code = f"""
import socket, sys
from deepmac_ablate.cloud.devices import Device, VertexMachine
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.cloud.vertex.client import Vertex
socket.socket.connect = None
assert Vertex("p", "us-central1").render({request()!r})["displayName"]
print([name for name in sys.modules if name.startswith(("google.cloud.", "google.auth"))])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == run.stdout.strip()


@pytest.mark.parametrize(("region", "says"), [
    ("us-central1-a", "such as us-central1, got the zone us-central1-a"),
    ("US", "must be a region such as us-central1, got 'US'"),
])
def test_regions_are_checked(region, says):
    """A zone or another text in place of a region is refused."""
    with pytest.raises(UserError, match=says):
        Vertex("p", region)


def test_a_job_waits_runs_and_succeeds(server, vertex):
    """A job waits, runs and succeeds, and the body sent equals the rendered one."""
    asked = request(labels={"sweep": "heads"})
    server.play(asked.name, ["queued", "pending", "running", "succeeded"])
    resource = vertex.submit(asked)
    assert RESOURCE == resource
    assert vertex_rules.parse(json.dumps(vertex.render(asked))) == vertex_rules.parse(
        server.bodies[0])
    assert ["queued", "queued", "running", "succeeded", "succeeded"] == [
        vertex.status(resource).state for _ in range(5)]


def test_all_machines_are_requested(server, vertex):
    """The client sends the second worker pool unchanged."""
    asked = request(device=A100_32, spot=True)
    assert "queued" == server.state(vertex.submit(asked))
    sent, = server.bodies
    assert vertex_rules.parse(json.dumps(vertex.render(asked))) == vertex_rules.parse(sent)


@pytest.mark.parametrize(("state", "seen"), [
    ("unspecified", "queued"), ("queued", "queued"), ("pending", "queued"), ("paused", "queued"),
    ("running", "running"), ("updating", "running"), ("cancelling", "running"),
    ("succeeded", "succeeded"), ("failed", "failed"), ("partially_succeeded", "failed"),
    ("cancelled", "cancelled"), ("expired", "expired"),
])
def test_every_state_of_vertex_is_known(server, vertex, state, seen):
    """Every state of Vertex AI maps to one of ours, final states to final ones."""
    resource = vertex.submit(request())
    server.set_state(resource, state)
    assert seen == vertex.status(resource).state
    ended = {"succeeded", "failed", "partially_succeeded", "cancelled", "expired"}
    assert (state in ended) == (seen in ENDED)


def test_the_table_of_states_is_complete():
    """The installed client has no state that would be unknown."""
    names = {state.name for state in aiplatform_v1.JobState}
    assert names == client._STATES.keys()


def test_unknown_states_do_not_end_a_job():
    """An unknown state counts as running and is shown."""
    job = aiplatform_v1.CustomJob.from_json('{"state": 99}')
    with pytest.warns(UserWarning, match="Unrecognized"):
        assert JobStatus("running", "in state 99") == client.read_job_status(job)


def test_a_job_that_waits_after_it_ran_was_preempted(server, vertex):
    """A pending job that has run before is preempted, not ended."""
    server.play("m40-hourglass-s0-1", ["running", "pending", "running"])
    resource = vertex.submit(request())
    seen = [vertex.status(resource).state for _ in range(3)]
    assert ["running", "preempted", "running"] == seen


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled"])
def test_messages_of_the_cloud_are_passed_on(server, vertex, state):
    """The cloud's error message is passed on in one line."""
    server.play("m40-hourglass-s0-1", [state], error="The replica workerpool0-0 exited\nwith 137.")
    resource = vertex.submit(request())
    assert JobStatus(state, "The replica workerpool0-0 exited with 137") == vertex.status(resource)


def test_a_deleted_job_is_gone(server, vertex):
    """A deleted job is "gone", and cancelling it is no error."""
    resource = vertex.submit(request())
    server.forget(resource)
    assert JobStatus("gone") == vertex.status(resource)
    vertex.cancel(resource)


def test_a_job_is_cancelled_once(server, vertex):
    """A job is cancelled once; one that is being cancelled, or has ended, stays as it is."""
    resource = vertex.submit(request())
    server.on_cancel = lambda job: None
    vertex.cancel(resource)
    assert JobStatus("running", "being cancelled") == vertex.status(resource)
    vertex.cancel(resource)
    server.set_state(resource, "cancelled")
    vertex.cancel(resource)
    assert "cancelled" == vertex.status(resource).state
    server.set_state(resource, "succeeded")
    vertex.cancel(resource)
    assert "succeeded" == vertex.status(resource).state


def test_a_running_job_that_cannot_be_cancelled_is_an_error(server, vertex):
    """A refused cancellation of a running job is an error."""
    resource = vertex.submit(request())
    server.set_state(resource, "running")
    server.refuse("cancel", 400, message="No.")
    with pytest.raises(UserError, match=f"did not cancel {resource}: No"):
        vertex.cancel(resource)


def test_a_name_is_submitted_once(server, vertex):
    """Submitting a name again returns the same job, even a failed one or from another process."""
    for other in ["a", "b", "c", "d"]:
        vertex.submit(request(name=other))
    first = vertex.submit(request())
    server.set_state(first, "failed")
    assert first == Vertex("my-project", "us-central1").submit(request())
    assert 5 == server.asked.count("create")


def test_a_job_is_found_by_its_name(server, vertex):
    """A job is found by its exact name without submitting anything."""
    resource = vertex.submit(request(name="a-1"))
    assert resource == vertex.find_job("a-1")
    assert vertex.find_job("a") is None
    assert 1 == len(server.resources())


def test_the_first_of_two_jobs_with_one_name_counts(server, vertex):
    """Two launchers that submit at the same moment agree on the first job."""
    body = json.dumps(vertex.render(request()))
    for _ in range(3):
        server.answer("POST", "/v1/projects/p/locations/us-central1/customJobs", {}, body)
    assert 3 == len(server.resources())
    assert server.resources()[0] == vertex.submit(request())


def test_a_lost_answer_does_not_start_a_job_twice(server, vertex):
    """The job had been created when the connection broke: it is found, not created again."""
    server.hangups = 1
    resource = vertex.submit(request())
    assert [resource] == server.resources()
    assert ["list", "create", "list"] == server.asked


def test_a_launcher_that_was_killed_finds_its_job(server):
    """A launcher that never received the answer finds its job."""
    server.hangups = 1
    with pytest.raises(UserError, match="does not answer"):
        Vertex("my-project", "us-central1", patience=0).submit(request())
    resource = Vertex("my-project", "us-central1").submit(request())
    assert [resource] == server.resources()
    assert 1 == len(server.bodies)


@pytest.mark.parametrize("statuses", [[503, 503], [429], [500]])
def test_transient_failures_are_retried(server, vertex, statuses):
    """Requests to create, query and cancel are retried."""
    for method in ["list", "create", "get", "cancel"]:
        server.refuse(method, *statuses)
    resource = vertex.submit(request())
    assert "queued" == vertex.status(resource).state
    vertex.cancel(resource)
    assert "cancelled" == server.state(resource)
    assert 1 == len(server.resources())


@pytest.mark.parametrize(("status", "message", "says"), [
    (403, "Permission 'aiplatform.customJobs.create' denied.",
     "customJobs.create' denied .*PERMISSION_DENIED.*roles/aiplatform.user"),
    (404, "Project my-project is unknown.", "Project my-project is unknown .*NOT_FOUND"),
    (400, "Machine type is not supported.", "start the job m40-hourglass-s0-1: Machine type"),
    (401, "Invalid credentials.", "gcloud auth application-default login"),
    (429, "Quota exceeded for TPUs.", "Quota exceeded for TPUs .*RESOURCE_EXHAUSTED.*more quota"),
    (503, "Try later.", r"it does not answer \(Try later\)"),
])
def test_refusals_are_one_sentence(server, status, message, says):
    """A refusal names project, region, the service's message and the remedy."""
    server.refuse("create", *[status] * 9, message=message)
    with pytest.raises(UserError, match=says) as refused:
        Vertex("my-project", "us-central1", patience=0).submit(request())
    text = str(refused.value)
    assert text.startswith("Vertex AI (project my-project, region us-central1) did not start")
    assert "\n" not in text
    assert "http" not in text
    assert refused.value.__cause__ is not None


def test_a_server_that_is_not_there(monkeypatch):
    """A service that does not answer is reported for every request."""
    with vertex_server.serving() as gone:
        monkeypatch.setenv(vertex_server.VARIABLE, gone.url)
    nobody = Vertex("my-project", "us-central1", patience=0)
    for ask in [lambda: nobody.submit(request()), lambda: nobody.status(RESOURCE),
                lambda: nobody.cancel(RESOURCE), lambda: nobody.find_job("a")]:
        with pytest.raises(UserError, match=r"my-project, region us-central1.*does not answer"):
            ask()


def test_the_server_runs_what_was_created(server, vertex):
    """The stand-in hands the container's command to a test, which says what became of it."""
    ran = []

    def run(job):
        container = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
        ran.append(container["args"])
        server.set_state(job["name"], "running")

    server.on_create = run
    resource = vertex.submit(request())
    assert [[*request().args]] == ran
    assert "running" == vertex.status(resource).state


@pytest.mark.parametrize(("change", "says"), [
    (lambda job: job.update(colour="red"), "colour"),
    (lambda job: job["jobSpec"]["scheduling"].update(strategy="CHEAP"), "CHEAP"),
    (lambda job: job["jobSpec"]["scheduling"].update(strategy="SPOT"), "TPUs are not offered"),
    (lambda job: job["jobSpec"]["scheduling"].update(strategy="LOW_COST"), "deprecated"),
    (lambda job: job["jobSpec"]["workerPoolSpecs"][0].update(replicaCount=2), "exactly one"),
    (lambda job: job["jobSpec"].update(workerPoolSpecs=[]), "1 to 4 worker pools"),
    (lambda job: job.update(displayName="a" * 129), "1 to 128"),
    (lambda job: job["labels"].update(A="b"), "label A=b"),
    (lambda job: job["jobSpec"]["workerPoolSpecs"][0]["machineSpec"].update(acceleratorCount=4),
     "takes no accelerator_type"),
    (lambda job: job["jobSpec"]["workerPoolSpecs"][0]["machineSpec"].update(tpuTopology="3x3"),
     "no topology '3x3'"),
])
def test_the_server_refuses_what_vertex_refuses(server, change, says):
    """A wrong request is answered as Vertex AI does, so a wrong renderer fails these tests."""
    job = Vertex("p", "us-central1").render(request())
    change(job)
    with pytest.raises(Exception, match=says) as refused:
        server.answer("POST", "/v1/projects/p/locations/us-central1/customJobs", {},
                      json.dumps(job))
    assert 400 == refused.value.status

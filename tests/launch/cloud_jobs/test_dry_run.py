"""The requests that a launch would send, from the options of the command line."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from deepmac_ablate import cli
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission, read_submission
from deepmac_ablate.storage import file_io, gcs_access
from deepmac_ablate.storage.disk import StorageError
from deepmac_ablate.sweep import checked_plan
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.validation_result import DataRequirements, ValidationResult

COST = Cost(
    parameters=46, trainable_parameters=45, backbone_gmacs=50.0, box_gmacs=30.0, mask_gmacs=0.2,
    mask_boxes=100, checkpoint_bytes=364, checkpoints=2, steps=90, batch_size=64)
NEEDS = DataRequirements("gs://bucket/train", "gs://bucket/val", None, 91)
SWEEP = '''"""Does it fit?"""

from deepmac_ablate.sweep import Sweep, values

SWEEP = Sweep("Training.steps = 90", arms=values("Training.seen_classes", "voc"))
'''


@pytest.fixture
def dry_run(tmp_path, monkeypatch, capsys):
    """Make dry runs, with a validation result for each arm; return the only request of each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checked_plan, "validating", lambda configs: contextlib.nullcontext(
        [ValidationResult(config.label, cost=COST, data=NEEDS) for config in configs]))
    (tmp_path / "fits.py").write_text(SWEEP)

    def run(*options):
        status = cli.main([
            "launch", "fits.py", "--workdir", "gs://bucket/w", "--image", "x/y:1", "--dry-run",
            "--json", *options])
        printed = capsys.readouterr()
        assert 0 == status, printed.err
        [request] = json.loads(printed.out)["requests"]
        return request["body"], printed.err

    return run


def on_gke(body):
    """The specs of a job's pods by role."""
    if body["kind"] == "Job":
        return {"worker": body["spec"]["template"]["spec"]}
    return {part["name"]: part["template"]["spec"]["template"]["spec"]
            for part in body["spec"]["replicatedJobs"]}


def option(pod, name):
    args = pod["containers"][0]["args"]
    return args[args.index(name) + 1]


@pytest.mark.parametrize(("options", "seconds"), [
    (["--spot"], 15), ([], 30), (["--spot", "--grace", "60"], 60), (["--grace", "20"], 20)])
@pytest.mark.parametrize("device", ["v5e-8", "v5e-16"])
def test_the_grace_period_is_that_of_the_platform(
    dry_run, object_store, device, options, seconds
):
    """15 s in all on spot pods of GKE; worker, hosts and pods know the same time."""
    body, _ = dry_run("--executor", "gke", "--context", "c", "--device", device, *options)
    pods = on_gke(body)
    for pod in pods.values():
        assert seconds == pod["terminationGracePeriodSeconds"]
        assert str(seconds) == option(pod, "--grace")
    if "host" in pods:
        notices = {option(pod, "--end-notice") for pod in pods.values()}
        [folder] = {option(pods["coordinator"], "--workdir")}
        assert {f"{folder}/.train-end.tmp"} == notices


def test_on_vertex_ai_the_worker_has_its_usual_time(dry_run, object_store):
    """Vertex AI documents no time of its own."""
    body, _ = dry_run("--executor", "vertex", "--project", "p", "--device", "a100-8", "--spot")
    [pool] = body["jobSpec"]["workerPoolSpecs"]
    args = pool["containerSpec"]["args"]
    assert "30" == args[args.index("--grace") + 1]


def test_an_autopilot_cluster_gets_no_privileged_pods(dry_run, object_store):
    """Its admission refuses them."""
    place = ["--executor", "gke", "--context", "c", "--device", "v5e-8"]
    body, _ = dry_run(*place)
    assert {"privileged": True} == on_gke(body)["worker"]["containers"][0]["securityContext"]
    body, _ = dry_run(*place, "--unprivileged")
    assert "securityContext" not in on_gke(body)["worker"]["containers"][0]


def test_capacity_of_vertex_ai_is_requested(dry_run, object_store):
    """Flex start and reservations are options of both clouds."""
    place = ["--executor", "vertex", "--project", "p", "--device", "a100-8"]
    body, _ = dry_run(*place, "--flex-start")
    assert "FLEX_START" == body["jobSpec"]["scheduling"]["strategy"]
    name = "projects/p/zones/z/reservations/ours"
    body, _ = dry_run(*place, "--reservation", name)
    [pool] = body["jobSpec"]["workerPoolSpecs"]
    assert [name] == pool["machineSpec"]["reservationAffinity"]["values"]


def test_a_submission_with_such_a_place_is_read_again(tmp_path):
    """Settings that are true or false are among those of a place."""
    submission = Submission(
        "train", 1, "gke", {"context": "c", "flex_start": True, "privileged": False}, "name", None,
        "v5e-4", "x/y:1", time.time())
    submission.write(tmp_path)
    assert submission == read_submission(tmp_path, "train")


@pytest.fixture(params=["refused", "silent"])
def no_network(request, monkeypatch) -> Iterator[None]:
    """Every connection is refused, or is never answered, as behind a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if request.param == "refused":
            server.close()
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        monkeypatch.setenv("NO_GCE_CHECK", "")
        monkeypatch.setattr(gcs_access, "_unreachable", "")
        yield


def test_without_a_network_it_prints_at_once(dry_run, no_network):
    """The requests of all trials come with a note, and later accesses do not wait either."""
    began = time.monotonic()
    body, note = dry_run("--executor", "gke", "--context", "c", "--device", "v5e-8")
    assert time.monotonic() - began < 5
    assert "Job" == body["kind"]
    assert note.startswith("The workdir cannot be read, so these are the requests of all trials. ")
    assert "did not answer within 2 s" in note
    began = time.monotonic()
    with pytest.raises(StorageError, match="did not answer"):
        file_io.read("gs://bucket/train-info.json")
    assert time.monotonic() - began < 0.5

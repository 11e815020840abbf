"""The forecast of a plan for a rented device, and the devices that it refuses."""

from __future__ import annotations

import contextlib
import json
import re

import pytest

from deepmac_ablate import cli
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.sweep import checked_plan
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.validation_result import DataRequirements, ValidationResult

COST = Cost(
    parameters=46_000_000, trainable_parameters=45_000_000, backbone_gmacs=50.0, box_gmacs=30.0,
    mask_gmacs=0.2, mask_boxes=100, checkpoint_bytes=364, checkpoints=2, steps=90_000,
    batch_size=64)
NEEDS = DataRequirements("gs://bucket/train", "gs://bucket/val", None, 91)

SWEEP = """\
\"\"\"Does it fit?\"\"\"

from deepmac_ablate.sweep import Sweep, values

SWEEP = Sweep("Training.steps = 90000", "Training.precision = 'bfloat16'",
              "Training.init_checkpoint = 'gs://bucket/ckpt-1'",
              arms=values("Training.seen_classes", "voc", "nonvoc"), seeds=2)
"""


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys, object_store):
    """Plans a sweep of two arms, each with a validation result, as a user does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fits.py").write_text(SWEEP)

    def run(*arguments, data=NEEDS, broken=None):
        monkeypatch.setattr(checked_plan, "validating", lambda configs: contextlib.nullcontext([
            ValidationResult(config.label, (broken[config.label],))
            if config.label in (broken or {})
            else ValidationResult(config.label, cost=COST, data=data) for config in configs]))
        status = cli.main(["plan", "fits.py", "--workdir", "w", *arguments])
        printed = capsys.readouterr()
        return status, printed.err if status else printed.out

    return run


def trial_ids(plan):
    """Ids of the planned trials by arm."""
    found = {}
    for trial in json.loads(plan("--json")[1])["trials"]:
        found.setdefault(trial["arm"], []).append(trial["id"])
    return found


def leave(workdir, trial_id, *, step=90_000, finished=True, device="v5e-16", pace=5.0):
    """Leave what a trial of a device leaves."""
    folder = workdir / "trials" / trial_id
    folder.mkdir(parents=True)
    line = {"step": step, "train/total_loss": 1.0, "train/steps_per_second": pace}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    state = {
        "role": "train", "number": 1, "state": "finished" if finished else "interrupted",
        "host": "elsewhere", "pid": 1, "pid_started": None, "started": 1.0, "heartbeat": 2.0}
    (folder / "state-train.json").write_text(json.dumps(state))
    if finished:
        (folder / "result.json").write_text('{"step": 1}')
    Submission(
        role="train", number=1, executor="gke", place={}, name=f"m-{trial_id}",
        resource=None, device=device, image="an/image:1", submitted=1.0).write(folder)


def test_a_plan_says_what_a_device_takes(plan):
    """A plan prints four trials of 3.0457 hours, 48.73 chip-hours and 58.48 USD (by hand)."""
    status, printed = plan("--executor", "gke", "--device", "v5e-16")
    assert 0 == status
    head, *rows = [line for line in printed.splitlines() if re.search(r" (disk|MB) ", line)]
    assert ["hours", "USD"] == head.split()[-2:]
    assert [["3", "58"]] * 2 == [row.split()[-2:] for row in rows]
    assert (
        "v5e-16 on gke: 16 chips (4x4, 16 GiB each) on 4 hosts of ct5lp-hightpu-4t; 16 replicas."
    ) in printed
    assert (
        "4 unfinished trials: about 12 hours in sequence, 195 chip-hours, 234 USD on "
        "demand or 48 USD on spot machines (prices of 2026-11-25 in us-central1).") in printed
    assert (
        "Training only, at an assumed 10 % of the device's peak and at least 0.05 s per step."
    ) in printed
    assert "Note: Training on several TPU hosts is tested on simulated hosts only" in printed


def test_the_same_as_json(plan):
    """The JSON plan has hours and price of each trial and of all, the device and the notes."""
    status, printed = plan("--executor", "gke", "--device", "V5litepod-16", "--json")
    content = json.loads(printed)
    assert 0 == status
    for trial in content["trials"]:
        assert 3.0457 == pytest.approx(trial["estimate"]["hours"], rel=1e-4)
        assert trial["estimate"]["measured"] is False
    device = content["device"]
    assert ("v5e-16", "gke", False, 16, 4, 16, "4x4", "ct5lp-hightpu-4t") == tuple(
        device[name] for name in (
            "name", "executor", "spot", "chips", "hosts", "replicas", "topology", "machine_type"))
    assert 4 == device["trials_left"]
    assert 4 * 58.477 == pytest.approx(device["left"]["usd"], rel=1e-4)
    assert "us-central1" == device["price"]["region"]
    assert device["notes"]


def test_a_plan_for_this_machine_is_as_before(plan):
    """A plan for this machine mentions no device, hours or price."""
    assert "device" not in json.loads(plan("--json")[1])
    assert "USD" not in plan()[1]


def test_spot_machines_come_first_where_they_are_wanted(plan):
    """With --spot, spot prices come first and are in the table: 12.18 USD per trial (by hand)."""
    _, printed = plan("--executor", "gke", "--device", "v5e-16", "--spot")
    rows = [line for line in printed.splitlines() if " MB " in line]
    assert [["3", "12"]] * 2 == [row.split()[-2:] for row in rows]
    assert "48 USD on spot machines or 234 USD on demand" in printed


def test_unknown_prices_are_stated(plan):
    """An unknown spot price is called unknown beside the known one."""
    _, printed = plan("--executor", "vertex", "--device", "l4-8", "--spot")
    assert "an unknown price on spot machines or " in printed
    assert [line.split()[-1] for line in printed.splitlines() if " MB " in line] == ["?", "?"]
    assert "Note: Part of this price is unverified" in printed
    assert "Note: Vertex AI charges a management fee" in printed


def test_the_pace_of_a_finished_trial_counts(plan, tmp_path):
    """The pace of a finished trial applies to its arm: 90,000 steps at 5 per second are 5 hours."""
    one, other = trial_ids(plan).values()
    leave(tmp_path / "w", one[0])
    leave(tmp_path / "w", other[0], device="v5e-8", pace=50.0)
    content = json.loads(plan("--executor", "gke", "--device", "v5e-16", "--json")[1])
    found = {trial["id"]: trial["estimate"] for trial in content["trials"]}
    for trial_id in one:
        assert (5.0, True) == (found[trial_id]["hours"], found[trial_id]["measured"])
    for trial_id in other:
        assert 3.0457 == pytest.approx(found[trial_id]["hours"], rel=1e-4)
    # One trial of each arm is left.
    assert 2 == content["device"]["trials_left"]
    assert 5 + 3.0457 == pytest.approx(content["device"]["left"]["hours"], rel=1e-4)
    _, printed = plan("--executor", "gke", "--device", "v5e-16")
    assert "or at the pace of a finished trial of the same arm on this device." in printed


def test_steps_that_are_done_are_not_paid_again(plan, tmp_path):
    """An interrupted trial that did a third of its steps has two thirds left."""
    ids = [trial_id for ids in trial_ids(plan).values() for trial_id in ids]
    leave(tmp_path / "w", ids[0], step=30_000, finished=False)
    content = json.loads(plan("--executor", "gke", "--device", "v5e-16", "--json")[1])
    assert 4 == content["device"]["trials_left"]
    left = content["device"]["left"]["hours"]
    assert (3 + 2 / 3) * 3.0457 == pytest.approx(left, rel=1e-4)


def test_float32_on_a_tpu_is_noted(plan):
    """float32 is noted for TPUs only, and is not an error."""
    float32 = ("--gin_bindings", "Training.precision = 'float32'")
    note = "bind 'bfloat16' for speed, which makes a different trial."
    status, printed = plan("--executor", "gke", "--device", "v5e-16", *float32)
    assert 0 == status
    assert note in printed
    assert note not in plan("--executor", "gke", "--device", "v5e-16")[1]
    assert note not in plan("--executor", "gke", "--device", "a100-16", *float32)[1]


def test_all_unsuitable_arms_are_reported_together(plan):
    """All problems with device, batch, data and checkpoint are reported at once with status 2."""
    status, printed = plan(
        "--executor", "vertex", "--device", "v4-256", "--spot",
        "--gin_bindings", "MINE = '/data/ckpt-1'",
        "--gin_bindings", "Training.init_checkpoint = %MINE",
        data=DataRequirements("data/train", "gs://bucket/val", None, 91))
    assert 2 == status
    assert [
        "deepmac-ablate: Sweep fits has 5 problems:",
        "  --device v4-256: Vertex AI has no v4-256 to train on; it has v5e-1 to v5e-8, v3-8 to "
        "v3-2048, v2-8 to v2-512; --executor gke has it.",
        "  --device v4-256: Vertex AI has no spot machines with TPUs; drop --spot, or use "
        "--executor gke.",
        "  voc: TrainingData.batch_size = 64 is not a multiple of the 128 replicas of v4-256; bind "
        "a multiple of 128, which makes a different trial, or use a smaller device.",
        "  voc: TrainingData.prefix = 'data/train' cannot be read by jobs on Vertex AI; copy it to "
        "a bucket and bind its gs:// path.",
        "  voc: Training.init_checkpoint = '/data/ckpt-1' cannot be read by jobs on Vertex AI; "
        "copy it to a bucket and bind its gs:// path.",
    ] == printed.splitlines()


def test_other_problems_are_reported_with_those_of_the_device(plan):
    """Device problems are reported together with arms that cannot be built."""
    status, printed = plan(
        "--executor", "gke", "--device", "v3-128", broken={"voc": "It is broken."})
    assert 2 == status
    assert "Sweep fits has 2 problems:" in printed
    assert "  voc: It is broken." in printed
    assert "  nonvoc: TrainingData.batch_size = 64 is not a multiple" in printed


def test_a_batch_that_cannot_be_shared(plan):
    """A batch of 64 images does not fit 128 replicas, but does fit 64."""
    status, printed = plan("--executor", "gke", "--device", "v3-128")
    assert 2 == status
    assert (
        "TrainingData.batch_size = 64 is not a multiple of the 128 replicas of v3-128; bind a "
        "multiple of 128, which makes a different trial, or use a smaller device.") in printed
    assert 0 == plan("--executor", "gke", "--device", "v3-64")[0]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--executor", "gke"], "--executor gke needs --device, such as --device v5e-8"),
    (["--device", "v5e-4"], "--device v5e-4 has no effect with --executor local; it"),
    (["--spot"], "--spot has no effect with --executor local; it applies only to"),
    (["--executor", "gke", "--device", "v5e-12"], "Did you mean 'v5e-16'?"),
    (["--executor", "gke", "--device", "v7-8"], "use v5e or v5p."),
])
def test_options_that_make_no_sense(plan, arguments, message):
    """Contradictory options exit with status 2 and one sentence."""
    status, printed = plan(*arguments)
    assert 2 == status
    assert message in printed
    assert 1 == len(printed.splitlines())


@pytest.mark.extended
@pytest.mark.slow
def test_a_plan_of_a_real_sweep(tmp_path, monkeypatch, capsys, object_store):
    """Hours of a real sweep follow from the multiply-adds of its layers (by hand)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    status = cli.main([
        "plan", "sweeps/quickstart.py", "--only", "mask_head=default", "--json",
        "--only", "box_source=proposals", "--seeds", "1", "--workdir", str(tmp_path / "w"),
        "--gin_bindings", "TRAIN = 'gs://bucket/train'", "--gin_bindings", "VAL = 'gs://bucket/val'",
        "--executor", "gke", "--device", "cpu-8"])
    assert 0 == status
    [trial] = json.loads(capsys.readouterr().out)["trials"]
    cost = trial["cost"]
    per_image = cost["backbone_gmacs"] + cost["box_gmacs"] + cost["mask_boxes"] * cost["mask_gmacs"]
    flops = 6e9 * per_image * cost["steps"] * cost["batch_size"]
    # A tenth of 0.64 teraflops.
    assert flops / 0.064e12 / 3600 == pytest.approx(trial["estimate"]["hours"])

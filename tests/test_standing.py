"""How a trial is doing that a cloud has taken: what its jobs wrote, and what the cloud says."""

from __future__ import annotations

import dataclasses
import time

import pytest
from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import standing
from deepmac_ablate.sweep.attempt import Attempt
from deepmac_ablate.sweep.submission import Submission

NOW = time.time()
SUBMITTED = NOW - 1000


def an_attempt(state, **fields):
    """An attempt of another machine that started after the submission."""
    made = Attempt(
        "train", 1, state, "elsewhere", 1, None, started=SUBMITTED + 60, heartbeat=NOW,
        cause=None if state == "running" else "its own cause")
    return dataclasses.replace(made, **fields)


def a_submission(state, **fields):
    """A job that was submitted a while ago."""
    made = Submission(
        "train", 1, "gke", {}, "name", "resource", "v5e-4", "image", SUBMITTED, state,
        "the cloud's words", NOW)
    return dataclasses.replace(made, **fields)


OLD = {"started": SUBMITTED - 500, "heartbeat": SUBMITTED - 100}
SILENT = {"heartbeat": NOW - 130}


@pytest.fixture(params=["disk", "gs"])
def folder(request, tmp_path):
    """A trial's folder, on a disk or on gs://."""
    if request.param == "disk":
        return str(tmp_path)
    request.getfixturevalue("object_store")
    return "gs://bucket/w/trials/1"


@pytest.mark.parametrize(("attempt", "submission", "status", "cause"), [
    # Taken, and nothing heard of yet.
    (None, a_submission("queued"), "queued", "the cloud's words"),
    (None, a_submission("running"), "queued", "the cloud's words"),
    (None, a_submission("preempted", message=""), "queued", ""),
    # At work, whatever the cloud thinks.
    (an_attempt("running"), a_submission("queued"), "running", ""),
    (an_attempt("running"), a_submission("failed"), "running", ""),
    # Its machine is gone, and it waits for another one.
    (an_attempt("running", **SILENT), a_submission("preempted"), "queued", "the cloud's words"),
    (an_attempt("interrupted"), a_submission("preempted"), "queued", "the cloud's words"),
    # It failed; its own words say more.
    (an_attempt("failed"), a_submission("running"), "failed", "its own cause"),
    (an_attempt("failed"), a_submission("failed"), "failed", "its own cause"),
    # It failed before, and is tried once more.
    (an_attempt("failed", **OLD), a_submission("queued"), "queued", "the cloud's words"),
    (an_attempt("running", **OLD), a_submission("queued"), "queued", "the cloud's words"),
    # It never came to run.
    (None, a_submission("failed"), "failed", "the cloud's words"),
    (None, a_submission("expired"), "failed", "the cloud's words"),
    (an_attempt("interrupted", **OLD), a_submission("failed"), "failed", "the cloud's words"),
    (None, a_submission("cancelled"), "new", ""),
    (None, a_submission("gone"), "new", ""),
    (an_attempt("failed", **OLD), a_submission("cancelled"), "failed", "its own cause"),
    # It ran, and went.
    (an_attempt("interrupted"), a_submission("cancelled"), "interrupted", "its own cause"),
    (an_attempt("running", **SILENT), a_submission("failed"), "interrupted", "the cloud's words"),
])  # fmt: skip
def test_what_became_of_a_job(folder, attempt, submission, status, cause):
    """By its heartbeat first, then by its own words, then by the cloud's."""
    submission.write(folder)
    if attempt is not None:
        attempt.write(folder)
    found = standing.of_folder(folder)
    assert (status, attempt, cause) == (found.status, found.attempt, found.cause)


def test_a_result_finishes_a_trial(folder):
    """Whatever else is said of it."""
    a_submission("failed").write(folder)
    assert "failed" == standing.of_folder(folder).status
    storage.write(epath.Path(folder) / "result.json", "{}")
    assert standing.Standing("finished") == standing.of_folder(folder)


def test_each_role_has_its_job(folder):
    """A trial waits if one of its jobs does, and has failed if one did after it was submitted."""
    a_submission("succeeded").write(folder)
    a_submission("queued", role="eval").write(folder)
    an_attempt("interrupted").write(folder)
    assert "queued" == standing.of_folder(folder).status
    an_attempt("failed", role="eval", **OLD).write(folder)
    assert "queued" == standing.of_folder(folder).status
    an_attempt("failed", role="eval").write(folder)
    assert ("failed", "eval") == (
        standing.of_folder(folder).status, standing.of_folder(folder).attempt.role)


@pytest.mark.usefixtures("object_store")
@pytest.mark.parametrize(("age", "status"), [(110, "running"), (130, "interrupted")])
def test_a_heartbeat_on_gs_may_be_two_minutes_old(age, status):
    """It comes every 15 s, through a network."""
    an_attempt("running", heartbeat=NOW - age).write("gs://bucket/w/trials/1")
    assert status == standing.of_folder("gs://bucket/w/trials/1").status


@pytest.mark.parametrize("name", ["state-train.json", "submission-eval.json"])
def test_a_broken_file_is_named(folder, name):
    """It was written whole, so somebody else has changed it."""
    storage.write(epath.Path(folder) / name, "{}")
    with pytest.raises(UserError, match=f"^{folder}/{name} is no .*; delete it"):
        standing.of_folder(folder)

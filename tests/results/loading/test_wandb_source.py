"""Trials of W&B projects as a data frame, equal to that of their folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import wandb

from deepmac_ablate import results
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.loading import wandb_source
from deepmac_ablate.results.loading.source import TrialRecord
from tests.fakes import wandb_server
from tests.fakes.mirrored_trainer import TRIAL_ID

pytestmark = pytest.mark.slow  # W&B's client is a process that takes seconds.

ROOT = Path(__file__).resolve().parents[3]
# The client refuses shorter ones.
KEY = "secretmarker" * 4
SWEEP = {"sweep": "heads", "arm": "hg20", "levels": {"mask_head": "hourglass20", "depth": 20},
         "baseline": True}
NUMBER = "groundtruth/iou/novel"


def python(home: Path, *arguments: str, **more: str) -> str:
    """Run Python without the tester's own W&B settings and keys, and return its output."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("WANDB")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "HOME": str(home),
                   "WANDB_ERROR_REPORTING": "false", **more}
    return subprocess.run(
        [sys.executable, *arguments], cwd=home, env=environment, timeout=90, text=True,
        stdout=subprocess.PIPE, check=False).stdout


def train(folder: Path, *options: str, **more: str) -> None:
    """Run a trainer of a sweep's trial with tracking to its end."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "sweep.json").write_text(json.dumps(SWEEP))
    python(folder.parent, "-m", "tests.fakes.mirrored_trainer", str(folder), *options, **more)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """The folder of a trial that was tracked offline."""
    folder = tmp_path_factory.mktemp("mirrored") / "w" / "trials" / TRIAL_ID
    train(folder)
    return folder


def test_files_of_the_client_are_not_read(mirrored):
    """The message about run files of the W&B client names the trial folder to pass."""
    [path] = mirrored.glob("wandb/*/*.wandb")
    for name in (path, path.parent, mirrored / "wandb"):
        with pytest.raises(UserError, match=(
                f"{name} holds run files of the W&B client, which cannot be read; pass the trial "
                f"folder {mirrored}, which has the same numbers")):
            results.load(name)


def test_files_of_the_client_alone_are_not_read(mirrored, tmp_path):
    """Without a trial folder around the run files, the message names the kind of folder."""
    shutil.copytree(mirrored / "wandb", tmp_path / "wandb")
    with pytest.raises(UserError, match="pass the trial folder or its sweep workdir"):
        results.load(tmp_path)


@pytest.mark.slow
@pytest.mark.extended
def test_the_real_client_reads_what_the_real_client_sent(tmp_path):
    """Trials sent to a stand-in server, listed page by page, equal their folders."""
    code = "from deepmac_ablate import results; print(results.load('wandb:me/heads').to_json())"
    with wandb_server.serving() as server:
        more = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        train(tmp_path / "good", "--mode", "online", **more)
        [sent] = server.runs.values()
        failed = server.runs["heads", "other"] = wandb_server.Run()
        failed.fields = {**sent.fields, "config": "{}"}
        failed.exit_code, failed.summary = 1, sent.summary
        small = ("from deepmac_ablate.results.loading import wandb_source; "
                 "wandb_source._RUNS_PER_PAGE = 1; from")
        paged = code.replace("from", small, 1)
        frame = pd.DataFrame(json.loads(python(tmp_path, "-c", paged, **more)))
        missing = python(tmp_path, "-c", code.replace("heads", "tails").replace(
            "print(", "import sys; sys.excepthook = lambda *hook: print(hook[1]); print("), **more)
    assert [TRIAL_ID, "other"] == list(frame["trial"])
    assert ["finished", "failed"] == list(frame["status"])
    [expected] = results.load(tmp_path / "good").to_dict("records")
    same = ["sweep", "arm", "baseline", "seed", "step", "mask_head", "depth", NUMBER]
    assert {name: expected[name] for name in same} == {name: frame[name].iloc[0] for name in same}
    assert pd.isna(frame[NUMBER].iloc[1])
    assert missing.startswith("W&B project me/tails does not exist, or you have no access to it")


class Server:
    """Server that lists runs after a number of failures."""

    def __init__(self, *runs: SimpleNamespace, failures: int = 0, error: Exception | None = None):
        self.asked: list[str] = []
        self._runs, self._failures = runs, failures
        self._error = error or wandb.errors.CommError("HTTP 429: slow down")

    def runs(self, project):
        """Yield one run before it fails."""
        self.asked.append(project)
        yield from self._runs[:1]
        if len(self.asked) <= self._failures:
            raise self._error
        yield from self._runs[1:]


def a_run(trial: str = "t0", **fields) -> SimpleNamespace:
    """A run of a trial as the W&B client returns it."""
    config = {"_ablate/id": trial, "_ablate/arm": "hg", "_ablate/seed": 2,
              "_ablate/levels": {"head": "hg"}, "Training.steps": 100}
    summary = {"step": 100, "global_step": 100, NUMBER: 0.25, "train_seconds": 7.5,
               "dataset": "val@f0", "_ablate/state": "finished"}
    return SimpleNamespace(**{
        "id": trial, "name": "hg seed 2", "group": "hg", "job_type": "train", "state": "finished",
        "tags": ["head=hg"], "config": config, "summary_metrics": summary, **fields})


def read(*runs: SimpleNamespace) -> list[TrialRecord]:
    """The trials of runs on a server, as a source returns them."""
    return list(wandb_source.WandbProjectSource("me/heads", Server(*runs)).trials())


def test_a_run_on_the_server_is_a_trial():
    """A run becomes a record, whether its configuration is plain, wrapped or JSON text."""
    expected = TrialRecord(
        "t0", "heads", "hg", False, 2, {"head": "hg"}, "finished", "", 100, 100, 1,
        train_seconds=7.5, dataset="val@f0", metrics={NUMBER: 0.25})
    run = a_run()
    assert [expected] == read(run)
    wrapped = {name: {"desc": None, "value": value} for name, value in run.config.items()}
    assert [expected] == read(a_run(config=json.dumps(wrapped)))
    text = json.dumps(run.summary_metrics)
    assert [expected] == read(a_run(config=wrapped, summary_metrics=text))


@pytest.mark.parametrize(("state", "logged", "status"), [
    ("running", "failed", "running"), ("pending", "", "new"), ("crashed", "", "interrupted"),
    ("killed", "", "interrupted"), ("preempted", "", "interrupted"), ("failed", "", "failed"),
    ("failed", "interrupted", "interrupted"), ("something new", "", "interrupted")])
def test_states_of_the_server(state, logged, status):
    """States map to statuses, exit status 75 is "interrupted", and only results have metrics."""
    summary = {"step": 100, NUMBER: 0.25, "_ablate/state": logged}
    [found] = read(a_run(state=state, summary_metrics=summary))
    assert (status, {}) == (found.status, found.metrics)
    assert (status in ("running", "new")) == (found.cause == "")


def test_a_separate_evaluator_belongs_to_its_trial():
    """A run that evaluates gives its metrics to the trial, whichever run was created first."""
    during = {"global_step": 100, NUMBER: 0.125, "_ablate/state": "finished"}
    trainer = a_run(summary_metrics=during)
    evaluator = a_run(id="t0-eval", job_type="eval")
    for runs in ((trainer, evaluator), (evaluator, trainer)):
        [found] = read(*runs)
        assert ("t0", "finished", {NUMBER: 0.25}, 1) == (
            found.trial, found.status, found.metrics, found.attempts)
    [waiting] = read(trainer, a_run(id="t0-eval", job_type="eval", state="running",
                                    summary_metrics=during))
    assert ("running", {}) == (waiting.status, waiting.metrics)
    [without] = read(trainer)
    assert ("interrupted", "its W&B runs finished, but none of them logged a result", {}) == (
        without.status, without.cause, without.metrics)


def test_undefined_metrics_and_other_values():
    """Null and "NaN" are undefined metrics; pictures, texts and booleans are ignored."""
    summary = {"step": 100, "a/b/x": None, "a/b/y": "NaN", "a/b/z": 1, "a/b/t": "text",
               "a/b/d": {"_type": "table-file"}, "a/b/q": True, "train/loss": 3.0}
    [found] = read(a_run(summary_metrics=summary))
    assert {"a/b/x": "nan", "a/b/y": "nan", "a/b/z": "1.0"} == {
        name: str(value) for name, value in found.metrics.items()}


def test_a_busy_server_is_asked_again():
    """A failed listing is repeated from the start after growing pauses, without duplicates."""
    waits: list[float] = []
    server = Server(a_run("t0"), a_run("t1"), failures=2)
    trials = wandb_source.WandbProjectSource("me/heads", server, waits.append).trials()
    assert ["t0", "t1"] == [record.trial for record in trials]
    assert (["me/heads"] * 3, 2) == (server.asked, len(waits))
    assert sorted(set(waits)) == waits


@pytest.mark.parametrize(("error", "asked", "message"), [
    (wandb.errors.CommError("HTTP 429"), 4, "list the runs of W&B project me/heads: HTTP 429"),
    (wandb.errors.AuthenticationError("bad key"), 1, "W&B refused the login .bad key.: run"),
    (wandb.errors.UsageError("no key"), 1, "run `wandb login`, or set WANDB_API_KEY"),
    (ValueError("Could not find project heads"), 1, "W&B project me/heads does not exist, or you"),
])
def test_errors_of_the_server_are_explained(error, asked, message):
    """Messages say what to do, and permanent errors are not retried."""
    server = Server(failures=9, error=error)
    with pytest.raises(UserError, match=message):
        wandb_source.WandbProjectSource("me/heads", server, lambda seconds: None).trials()
    assert asked == len(server.asked)


@pytest.mark.parametrize("name", ["wandb:", "wandb:heads", "wandb:a/b/c", "wandb:a b/c"])
def test_an_invalid_project_name_is_refused(name):
    """A name without the form ENTITY/PROJECT is refused before the server is asked."""
    with pytest.raises(UserError, match=f"'{name}' is not a W&B project; pass wandb:ENTITY/"):
        results.load(name)


def test_no_runs_are_no_trials():
    """A project without runs has no trials."""
    assert wandb_source.records_of_runs([]) == []

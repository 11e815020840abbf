"""Rehearsals with real XManager experiments and processes; only the trainer is a fake."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import pytest

from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.rehearsed_arms import rehearse_arms
from deepmac_ablate.launch.status_rows import Pace
from deepmac_ablate.progress import PlainConsole
from tests.helpers import launching

pytestmark = pytest.mark.slow  # XManager takes a second or more to create its database.


def rehearsal_command(
    folder: Path, mode: str, tracking: str, runtime: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the fake trainer's command, which sees what a trainer would."""
    assert ("train_and_eval", "offline") == (mode, tracking)
    return (sys.executable, "-S", launching.FAKE_TRAINER, str(folder), "rehearse")


def rehearse(a_plan, tmp_path, monkeypatch, **options):
    """Rehearse with a folder for temporary files of its own; returns outcomes and what was left."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    # Trials are never uploaded.
    jobs = JobOptions(eval_job=True, tracking="online", **options)
    outcomes = rehearse_arms(
        a_plan, jobs, 2, [], 1, PlainConsole(io.StringIO()), rehearsal_command)
    return outcomes, sorted(path for path in scratch.rglob("*") if path.is_file())


def test_every_arm_is_rehearsed_once_and_nothing_is_left_but_logs_of_failures(
    tmp_path, monkeypatch
):
    """One arm diverges, and four fail for one reason, which does not stop the others."""
    failure = "end = fail out of memory"
    a_plan = launching.plan((), ("end = diverge",), *[(failure,)] * 4, ())
    outcomes, left = rehearse(a_plan, tmp_path, monkeypatch)
    assert [f"arm{number}" for number in range(7)] == [outcome.arm for outcome in outcomes]
    assert Pace(0.5, 20.0, 4.0, 0.1, 150) == outcomes[0].pace == outcomes[6].pace
    lines = [outcome.line(5) for outcome in outcomes]
    assert lines[0].startswith("arm0   ok in ")
    assert lines[0].endswith(": 0.5 s a step, 0.1 s an image, 20 s for the rest")
    assert lines[1].startswith("arm1   failed: The loss is nan between steps 2 and 3. (log: ")
    for outcome, line in zip(outcomes[2:6], lines[2:6], strict=True):
        assert "failed: ValueError: out of memory (log: " in line
        assert "ValueError: out of memory" in Path(outcome.log).read_text()
    assert sorted(Path(outcome.log) for outcome in outcomes[1:6]) == left


def test_only_one_seed_of_an_arm_is_rehearsed(tmp_path, monkeypatch):
    """The first one, as often as it is started: once."""
    outcomes, left = rehearse(launching.plan_of_seeds((), (), ()), tmp_path, monkeypatch)
    assert (["arm0"], []) == ([outcome.arm for outcome in outcomes], left)

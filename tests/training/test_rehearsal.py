"""Rehearsal of a trial: the first steps of the real one, and durations that add up."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.training.rehearsal import EnoughSteps
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.training.trial_evaluation import AttemptStart
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.training.test_run import OF_THE_MACHINE


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
def test_a_rehearsal_takes_the_first_steps_of_the_trial(finished, tmp_path):
    """Its losses are equal, and the durations are those of its steps, images and the rest."""
    workdir, began = TrialWorkdir(tmp_path), time.time()
    trial = finished.trial_with("Evaluation.every = 20", "Evaluation.images_during_training = 3")
    # As if the imports had taken a minute.
    result = run_trial(trial, workdir, "rehearse", start=AttemptStart(began - 60.0))
    lines = workdir.read_metrics()
    for line, expected in zip(lines, finished.workdir.read_metrics(), strict=False):
        assert line == pytest.approx({**expected, **{n: line[n] for n in OF_THE_MACHINE[:2]}})
    # One batch of 4 images.
    assert (4, 7, len(lines)) == (result["images"], result["dataset_images"], result["step"])
    assert 2 <= len(lines) <= 20
    assert 0 < result["groundtruth/iou/all"] < 1

    found = json.loads((Path(tmp_path) / "rehearsal.json").read_text())
    times = [1 / line["train/steps_per_second"] for line in lines]
    timed = times[len(times) // 2:]
    assert sum(timed) / len(timed) == pytest.approx(found["step_seconds"])
    assert found["step_seconds"] < times[0]
    # After steps 20 and 40 of 50 on 3 images, at the end on all 7.
    assert 3 + 3 + 7 == found["images"]
    assert 60 < found["setup_seconds"] < 60 + time.time() - began
    assert found["restart_seconds"] < found["setup_seconds"] - 60
    assert not workdir.checkpoints.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
def test_a_trial_is_not_rehearsed_in_its_own_folder(finished):
    """Its checkpoints stay."""
    files = finished.workdir.files()
    with pytest.raises(UserError, match="holds a trial that has been trained"):
        run_trial(finished.trial, finished.workdir, "rehearse")
    assert files == finished.workdir.files()


def test_steps_are_taken_while_they_are_cheap(monkeypatch):
    """At least two, and further ones up to 20 within three seconds after the first."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def taken(seconds):
        enough, step = EnoughSteps(), 0
        while True:
            step += 1
            clock[0] += seconds
            if enough(step):
                return step

    assert [20, 20, 4, 2, 2] == [taken(seconds) for seconds in (0.01, 0.15, 1.0, 3.0, 60.0)]

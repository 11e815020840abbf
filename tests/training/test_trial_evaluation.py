"""The progress of an evaluation, for those who watch a trial."""

from __future__ import annotations

import json

from deepmac_ablate.progress import track
from deepmac_ablate.training.trial_evaluation import _showing_progress
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


def test_an_evaluation_shows_its_progress_until_it_ends(tmp_path):
    """The file is there from the first image on, and gone with the last line of the numbers."""
    file = tmp_path / "progress.json"
    with _showing_progress(TrialWorkdir(tmp_path)):
        images = track(range(3), 3, "Evaluating")
        next(images)
        assert not file.exists()
        next(images)
        found = json.loads(file.read_text())
        assert ("Evaluating", 1, 3) == (found["activity"], found["done"], found["total"])
        assert [] == list(images)[1:]
        # The last one is shown at once.
        assert 3 == json.loads(file.read_text())["done"]
    assert not file.exists()


def test_a_folder_that_cannot_be_written_disturbs_no_evaluation(tmp_path):
    """The loop goes on, and nothing is left."""
    with _showing_progress(TrialWorkdir(tmp_path / "missing")):
        assert [0, 1] == list(track(range(2), 2, "Evaluating"))
    assert [] == list(tmp_path.iterdir())

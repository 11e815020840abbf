"""The names and configuration of a trial in W&B."""

from __future__ import annotations

import json

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.tracking.run_description import describe_run
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


def started(folder, config="", arm="deep"):
    workdir = TrialWorkdir(folder)
    workdir.start(Trial((), (), 3, arm), "abc", config)
    return workdir


def test_a_trial_without_a_sweep_has_a_project_too(tmp_path):
    """It goes to the common project, under its own arm and without tags."""
    found = describe_run(started(tmp_path), "train")
    assert ("abc", "deepmac_ablate", "deep", "deep seed 3", ()) == (
        found.run_id, found.project, found.group, found.name, found.tags)
    assert "seed 3" == describe_run(started(tmp_path / "b", arm=""), "train").name


def test_names_of_the_sweep_have_priority(tmp_path):
    """The sweep's label is the group; long tags are cut, and only the baseline is tagged."""
    workdir = started(tmp_path)
    (tmp_path / "sweep.json").write_text(json.dumps(
        {"sweep": "s", "arm": "other", "levels": {"axis": "x" * 100}, "baseline": False}))
    found = describe_run(workdir, "eval")
    assert ("abc-eval", "s", "other") == (found.run_id, found.project, found.group)
    tag, = found.tags
    assert ("axis=xxx", 64) == (tag[:8], len(tag))


def test_values_keep_their_types(tmp_path):
    """Nested containers stay nested; references and non-finite numbers become text."""
    config = """
        A = 2
        Training.model = @m/Model()
        Training.data = {'a': (1, %A), 3: [@Norm, None, True]}
        Training.losses = 1e999
        Evaluation.every = 5
        Runtime.seconds = 0.5
        m/Model.width = %A
    """.replace("        ", "")
    found = describe_run(started(tmp_path, config), "train").config
    assert {
        "Training.model": "@m/Model()", "Training.data": {"a": [1, 2], "3": ["@Norm", None, True]},
        "Training.losses": "inf", "Evaluation.every": 5, "Runtime.seconds": 0.5, "m/Model.width": 2,
    } == {name: value for name, value in found.items() if not name.startswith("_ablate/")}


def test_a_folder_without_a_trial_is_refused(tmp_path):
    """The message names the file that is missing."""
    with pytest.raises(UserError, match=r"trial\.json is missing"):
        describe_run(TrialWorkdir(tmp_path), "train")

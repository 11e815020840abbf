"""Seeds that share a session have the results that each has in a process of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate.training.run import run_trial
from deepmac_ablate.training.session_cache import SessionCache
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.tiny_trial import DURATIONS, op_by_op

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_tensorflow")]

_NOT_COMPARED = (*DURATIONS, "dataset", "data_prefix")


def outcome(workdir: TrialWorkdir) -> tuple[dict, dict[str, np.ndarray], list[dict]]:
    """The result, the weights of the last checkpoint, and the logged losses."""
    # NaN in place of None, which `pytest.approx` compares.
    result = {
        name: float("nan") if value is None else value
        for name, value in workdir.read_result().items() if name not in _NOT_COMPARED}
    reader = tf.train.load_checkpoint(str(workdir.checkpoints))
    weights = {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
        if "save_counter" not in name and not name.startswith("_")}
    losses = [
        {name: value for name, value in line.items() if name.endswith("loss")}
        for line in workdir.read_metrics()]
    return result, weights, losses


def test_a_shared_session_changes_no_result(tiny_recipe, tmp_path):
    """Seed 1 after seed 0 in one session equals seed 1 alone: losses, weights and scores."""
    cache = SessionCache()
    for seed in (0, 1):
        workdir = TrialWorkdir(tmp_path / f"shared{seed}")
        run_trial(tiny_recipe.trial("STEPS = 3", seed=seed), workdir, cache=cache)
    alone = TrialWorkdir(tmp_path / "alone")
    with op_by_op():
        run_trial(tiny_recipe.trial("STEPS = 3", seed=1), alone)
    result, weights, losses = outcome(TrialWorkdir(tmp_path / "shared1"))
    expected, expected_weights, expected_losses = outcome(alone)
    assert expected == pytest.approx(result, rel=1e-5, nan_ok=True)
    assert expected_losses == [pytest.approx(line, rel=1e-5) for line in losses]
    assert expected_weights.keys() == weights.keys()
    for name, value in expected_weights.items():
        np.testing.assert_allclose(value, weights[name], rtol=1e-4, atol=1e-6, err_msg=name)
    ids = [json.loads((tmp_path / name / "trial.json").read_text())["id"]
           for name in ("shared0", "shared1", "alone")]
    assert ids[0] != ids[1] == ids[2]
    other = outcome(TrialWorkdir(tmp_path / "shared0"))
    assert other[2] != losses


def test_a_gin_file_that_changes_in_between_is_read_again(tiny_recipe, tmp_path):
    """The next seed has the file's new content, as it would in a new process."""
    gin_file = tmp_path / "mine.gin"
    gin_file.write_text(f"include '{tiny_recipe.gin_file}'\nSTEPS = 1\n")
    trial = tiny_recipe.trial()
    cache = SessionCache()
    steps = []
    for seed, number in enumerate((1, 2)):
        gin_file.write_text(f"include '{tiny_recipe.gin_file}'\nSTEPS = {number}\n")
        session = cache.prepare(
            trial.__class__((str(gin_file),), (), seed, "mine"))
        steps.append(session.training.steps)
    assert [1, 2] == steps

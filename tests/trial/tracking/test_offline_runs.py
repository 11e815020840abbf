"""What counts as logged after attempts that ended in different ways."""

from __future__ import annotations

import pytest
from etils import epath

from deepmac_ablate.trial.tracking.offline_runs import Attempt, Logged
from deepmac_ablate.trial.tracking.wandb_file import WandbFile

ROWS = (
    {"_step": 10, "global_step": 10, "loss": 1},
    {"_step": 20, "global_step": 20, "loss": 1},
    {"_step": 21, "global_step": 20, "iou": 1},
)


def attempt(folder, exit_code):
    return Attempt(
        epath.Path(f"/trial/wandb/{folder}/run-x.wandb"), WandbFile(None, ROWS, {}, exit_code))


@pytest.mark.parametrize(("folder", "exit_code", "received"), [
    ("offline-run-1", None, None), ("offline-run-1", None, 0), ("run-1", 1, 0),
    ("run-1", None, None)])
def test_what_was_written_counts(folder, exit_code, received):
    """Offline, after an end that waited for the server, or where no server can be asked."""
    logged = Logged([attempt(folder, exit_code)], received)
    assert logged.has(10, "loss")
    assert logged.has(20, "iou")
    assert not logged.has(20, "other")
    assert not logged.has(30, "loss")


def test_after_a_kill_the_server_is_asked():
    """Of what was written only that counts which it received, and of the rest all before that."""
    logged = Logged([attempt("run-1", None)], 21)
    assert logged.has(20, "loss")
    assert not logged.has(20, "iou")
    # Sent, but not written before the kill.
    assert logged.has(15, "loss")
    assert not logged.has(21, "loss")


def test_what_is_logged_now_counts_too():
    """A name is not logged twice by one mirror."""
    logged = Logged([], None)
    logged.add(5, ["loss"])
    assert logged.has(5, "loss")
    assert not logged.has(5, "iou")

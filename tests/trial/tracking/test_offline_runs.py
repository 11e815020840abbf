"""The notes on attempts, and the values that count as logged after different ends."""

from __future__ import annotations

import pytest
from etils import epath

from deepmac_ablate.trial.tracking import offline_runs
from deepmac_ablate.trial.tracking.offline_runs import Attempt, LoggedValues

ROWS = (
    {"own_step": 10, "step": 10, "names": ["loss"]},
    {"own_step": 20, "step": 20, "names": ["loss"]},
    {"own_step": 21, "step": 20, "names": ["iou"]},
)


def attempt(folder, exit_code, is_uploaded=False):
    return Attempt(
        epath.Path(f"/trial/wandb/{folder}/run-x.wandb"), ROWS, exit_code, is_uploaded)


@pytest.mark.parametrize(("folder", "exit_code", "received"), [
    ("offline-run-1", 75, None), ("offline-run-1", 75, 0), ("run-1", 1, 0), ("run-1", None, None)])
def test_noted_values_count(folder, exit_code, received):
    """Noted values count offline, after a regular end, or if no server can be asked."""
    logged = LoggedValues([attempt(folder, exit_code)], received)
    assert logged.has(10, "loss")
    assert logged.has(20, "iou")
    assert not logged.has(20, "other")
    assert not logged.has(30, "loss")


def test_after_a_kill_the_server_is_asked():
    """After a kill, the values that the server received count, whether noted or not."""
    logged = LoggedValues([attempt("run-1", None)], 21)
    assert logged.has(20, "loss")
    assert not logged.has(20, "iou")
    # Sent, but not noted before the kill.
    assert logged.has(15, "loss")
    assert not logged.has(21, "loss")


def test_values_logged_now_count_too():
    """A name is not logged twice by one mirror."""
    logged = LoggedValues([], None)
    logged.add(5, ["loss"])
    assert logged.has(5, "loss")
    assert not logged.has(5, "iou")


def test_only_offline_files_of_killed_mirrors_are_replaced():
    """Uploaded, online and regularly ended attempts are kept."""
    assert attempt("offline-run-1", None).is_cut_off
    assert not attempt("offline-run-1", None, is_uploaded=True).is_cut_off
    assert not attempt("offline-run-1", 137).is_cut_off
    assert not attempt("run-1", None).is_cut_off


def test_notes_are_read_as_they_were_written(tmp_path):
    """Notes are read in the order of attempts; missing and incomplete ones are left out."""
    folders = [tmp_path / "wandb" / name for name in (
        "run-20260102_000000-x", "offline-run-20260101_000000-x", "offline-run-20260103_000000-x")]
    for folder in map(epath.Path, folders):
        folder.mkdir(parents=True)
        (folder / "run-x.wandb").touch()
        if folder.name.startswith("run"):
            continue
        for row in ROWS:
            offline_runs.add_note(folder, **row)
    offline_runs.add_note(epath.Path(folders[1]), exit_code=0)
    offline_runs.record_upload(epath.Path(folders[1] / "run-x.wandb"))
    with (folders[2] / "deepmac_ablate.jsonl").open("a") as notes:
        notes.write('{"exit_co')
    assert [
        Attempt(folders[1] / "run-x.wandb", ROWS, 0, True),
        Attempt(folders[0] / "run-x.wandb", (), None, False),
        Attempt(folders[2] / "run-x.wandb", ROWS, None, False),
    ] == offline_runs.find_attempts(epath.Path(tmp_path), "x")
    assert [] == offline_runs.find_attempts(epath.Path(tmp_path), "y")

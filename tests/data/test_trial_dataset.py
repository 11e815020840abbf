"""Relative prefixes of a trial's datasets, from other folders than the one it was started in."""

import json
from pathlib import Path

import pytest

from deepmac_ablate.data.trial_dataset import find_trial_dataset
from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


def write_dataset(folder, fingerprint="0" * 12):
    """Write a dataset without records, `folder`/data/shapes/val."""
    prefix = Path(folder) / "data/shapes/val"
    prefix.parent.mkdir(parents=True)
    info = {
        "name": "val", "fingerprint": fingerprint, "num_images": 0, "num_instances": 0,
        "num_crowds": 0, "num_shards": 0, "categories": [{"id": 1, "name": "a"}]}
    Path(f"{prefix}-info.json").write_text(json.dumps(info))
    Path(f"{prefix}-annotations.json").write_text("{}")
    return str(prefix)


def workdir_in(folder, *starts):
    (folder / "checkpoints").mkdir(parents=True)
    workdir = TrialWorkdir(folder)
    for start in starts:
        workdir.append_attempt({"mode": "train", "folder": str(start)})
    return workdir


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The current folder, which holds nothing."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("name", ["runs/one", "runs/boxes/trials/0123456789ab"])
@pytest.mark.usefixtures("elsewhere")
def test_the_project_around_the_workdir_is_searched(tmp_path, name):
    """Trials of earlier versions, which did not record their folder, and notebooks work, too."""
    prefix = write_dataset(tmp_path / "project")
    workdir = workdir_in(tmp_path / "project" / name)
    assert prefix == find_trial_dataset("data/shapes/val", workdir)


@pytest.mark.usefixtures("elsewhere")
def test_the_folder_of_the_last_start_is_searched_first(tmp_path):
    """A workdir may be anywhere; what was started last counts before what was started earlier."""
    first, last = write_dataset(tmp_path / "first"), write_dataset(tmp_path / "last")
    workdir = workdir_in(tmp_path / "scratch/w", tmp_path / "first", tmp_path / "last")
    assert last == find_trial_dataset("data/shapes/val", workdir)
    Path(f"{last}-info.json").unlink()
    assert first == find_trial_dataset("data/shapes/val", workdir)


def test_the_current_folder_comes_first_unless_its_dataset_is_another(tmp_path, elsewhere):
    """With the identity of the evaluated dataset, one of the same name is passed over."""
    write_dataset(elsewhere, fingerprint="f" * 12)
    project = write_dataset(tmp_path / "project")
    workdir = workdir_in(tmp_path / "project/runs/one")
    assert "data/shapes/val" == find_trial_dataset("data/shapes/val", workdir)
    assert project == find_trial_dataset("data/shapes/val", workdir, f"val@{'0' * 12}")
    assert "data/shapes/val" == find_trial_dataset("data/shapes/val", workdir, f"val@{'1' * 12}")


@pytest.mark.usefixtures("elsewhere")
def test_a_missing_dataset_is_named_with_the_folders(tmp_path):
    """The sentence tells where it was searched; absolute prefixes are searched nowhere else."""
    workdir = workdir_in(tmp_path / "project/runs/one", tmp_path / "started")
    with pytest.raises(UserError) as error:
        find_trial_dataset("data/shapes/val", workdir)
    assert (
        "There is no dataset data/shapes/val: the folder data/shapes does not exist. It was also "
        f"searched in {tmp_path / 'started'}, {tmp_path / 'project'}.") == str(error.value)
    with pytest.raises(UserError, match=r"exist\.$"):
        find_trial_dataset(str(tmp_path / "nowhere/val"), workdir)
    Path(workdir.path, "attempts.jsonl").write_text("broken\n{}\n")
    with pytest.raises(UserError, match=f"searched in {tmp_path / 'project'}"):
        find_trial_dataset("data/shapes/val", workdir)

"""The command `status`."""

from __future__ import annotations

from deepmac_ablate import cli
from tests.helpers import result_workdirs


def test_the_status_of_a_new_sweep_counts_its_trials_once(tmp_path, capsys):
    """A table of trials, then the progress, the counts and the launcher, each in one line."""
    result_workdirs.write(tmp_path, result_workdirs.plan({"thin": {}, "deep": {}}, seeds=2))

    assert 0 == cli.main(["status", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert 4 == sum("new" in line for line in lines)
    assert [
        "0 % of all steps",
        "0 finished, 0 failed, 0 interrupted, 4 missing",
        "No launcher is running.",
    ] == lines[-3:]


def test_the_status_of_a_folder_without_a_sweep_says_how_to_get_one(tmp_path, capsys):
    """One sentence on stderr and status 2, nothing on stdout."""
    assert 2 == cli.main(["status", str(tmp_path / "none")])
    out, err = capsys.readouterr()
    assert "" == out
    assert 1 == len(err.splitlines())
    assert "deepmac-ablate launch SWEEP --workdir" in err

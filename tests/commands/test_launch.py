"""Options of ``launch`` that need no trial."""

from __future__ import annotations

from deepmac_ablate.commands.launch import run_afterwards
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir


def test_a_command_runs_at_the_end(tmp_path, capfd):
    """It is for the shell, knows workdir and outcome, and says if it fails."""
    workdir = SweepWorkdir(tmp_path / "my sweep")
    command = 'echo "$DEEPMAC_ABLATE_WORKDIR: $DEEPMAC_ABLATE_STATUS" | tr a-z A-Z'
    run_afterwards(command, workdir, 75)
    out, err = capfd.readouterr()
    assert (f"{tmp_path}/my sweep: 75\n".upper(), "") == (out, err)
    run_afterwards("exit 3", workdir, 0)
    assert "The command of --then failed with exit status 3: exit 3\n" == capfd.readouterr().err

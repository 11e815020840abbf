"""Options of sbatch pass through as written; what cannot work is refused before anything runs."""

from __future__ import annotations

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.slurm.settings import parse_settings

KEY = "hf_abcdefghijklmnopqrstuv0123"


def test_options_pass_through_as_written():
    """With and without a value, in their order; of two with one key, the last wins."""
    given = ["account=me", "exclusive", "constraint=a100&ib", "--mail_type=END", "mem=1G", "mem=2G"]
    expected = (
        ("account", "me"), ("exclusive", None), ("constraint", "a100&ib"), ("mail-type", "END"),
        ("mem", "2G"))
    assert expected == parse_settings(given).options


@pytest.mark.parametrize(
    ("given", "nodes", "gpus"),
    [(["gres=gpu"], 1, 1), (["gres=gpu:4"], 1, 4), (["gres=gpu:a100:2,tmp:5"], 1, 2),
     (["gres=gpu:2080ti"], 1, 1), (["gres=tmp:5"], 1, 0), (["gpus=a100:3"], 1, 3),
     (["nodes=2", "gpus-per-node=v100:4"], 2, 8), (["nodes=2", "gpus=4"], 2, 4),
     (["nodes=3"], 3, 0)])
def test_gpus_of_options_are_counted(given, nodes, gpus):
    """All of a trial, on all of its nodes; asked for twice, the numbers must agree."""
    settings = parse_settings(given)
    assert (nodes, gpus) == (settings.nodes, settings.gpus)
    if gpus:
        assert settings == parse_settings(given, gpus=gpus)
        with pytest.raises(UserError, match=f"but --gpus-per-trial is {gpus + 1}; they must agree"):
            parse_settings(given, gpus=gpus + 1)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("90", 5400), ("1:30", 90), ("24:00:00", 86400), ("2-12", 216000), ("1-0:30", 88200),
     ("1-02:03:04", 93784), ("UNLIMITED", None)])
def test_time_limits_are_understood(time, seconds):
    """In all of the forms that sbatch's manual lists."""
    assert seconds == parse_settings([f"time={time}"]).seconds


@pytest.mark.parametrize(
    ("option", "message"),
    [("time=1h", "--time must be minutes, hours:minutes:seconds or days-hours, such as 90, "
      "24:00:00 or 2-12, got '1h'."),
     ("nodes=2-4", "--slurm nodes must be one number, as a trial's processes know one another, got "
      "'2-4'."),
     ("job-name=x", "--slurm job-name cannot be given, as the launch sets it; allowed are the "
      "other long options of sbatch, such as account, qos, constraint, mem or nodes."),
     ("Account me", "--slurm must be KEY=VALUE with a long option of sbatch, such as account=me or "
      "exclusive, got 'Account me'."),
     (f"comment={KEY}", "--slurm comment holds a secret, which Slurm would show to others; read it "
      "from a file in the prologue.")])
def test_options_that_cannot_work_are_refused(option, message):
    """In one sentence with what is allowed, and without the secret."""
    with pytest.raises(UserError) as refused:
        parse_settings([option])
    assert message == str(refused.value)


def test_gpus_are_divided_among_nodes():
    """A number that cannot be is refused."""
    assert 4 == parse_settings(["nodes=2"], gpus=4).gpus
    with pytest.raises(UserError, match="gpus-per-trial 3 cannot be divided by --slurm nodes=2"):
        parse_settings(["nodes=2"], gpus=3)


def test_a_prologue_must_not_hold_a_secret(tmp_path):
    """A line that reads it from a file is accepted; the value itself is not repeated."""
    path = tmp_path / "prologue.sh"
    path.write_text("module load cuda\nexport WANDB_API_KEY=$(cat ~/.key)\n")
    assert path.read_text() == parse_settings((), prologue=path).prologue
    path.write_text(f"module load cuda\nexport HF_TOKEN={KEY}\n")
    with pytest.raises(UserError, match=f"Line 2 of the prologue {path} holds a secre") as refused:
        parse_settings((), prologue=path)
    assert KEY not in str(refused.value)
    with pytest.raises(UserError, match=f"^Cannot read the prologue {tmp_path}/no: No such file"):
        parse_settings((), prologue=tmp_path / "no")

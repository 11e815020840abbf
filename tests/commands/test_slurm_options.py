"""Options of `plan` and `launch` for machines of one's own, without a cluster."""

from __future__ import annotations

import pytest

from deepmac_ablate import cli
from deepmac_ablate.commands import slurm_options
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs.dry_run import DryRun
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.slurm import programs
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.device_request import device_problems
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.validation_result import DataRequirements, ValidationResult
from tests.helpers import launching


def parse(*words, command="launch"):
    """Options of a command line."""
    return cli.make_parser().parse_args([command, "s.py", *words])


@pytest.fixture
def _no_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    programs.read_cluster_name.cache_clear()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--partition", "gpu"], "--partition has no effect with --executor local; it applies only to "
      "slurm."),
     (["--executor", "gke", "--gpus-per-trial", "2", "--device", "a100-2"], "--gpus-per-trial has "
      "no effect with --executor gke; it applies only to local and slurm."),
     (["--executor", "slurm", "--device", "a100-2", "--spot"], "--device a100-2 and --spot have no "
      "effect with --executor slurm; they apply only to vertex and gke."),
     (["--executor", "slurm", "--time", "soon"], "--time must be minutes, hours:minutes:seconds or "
      "days-hours, such as 90, 24:00:00 or 2-12, got 'soon'.")])
@pytest.mark.parametrize("command", ["plan", "launch"])
def test_options_without_effect_are_refused(words, message, command):
    """At the plan as at the launch, with the executors that they are for."""
    with pytest.raises(UserError) as refused:
        slurm_options.read_request(parse(*words, command=command))
    assert message == str(refused.value)


def test_options_that_never_change_are_kept_in_a_file(tmp_path):
    """`plan` and `launch` read the same one."""
    file = tmp_path / "cluster"
    file.write_text("--executor=slurm\n--partition=gpu\n--slurm=account=me\n--slurm=nodes=2\n")
    for command in ("plan", "launch"):
        args = parse(f"@{file}", "--gpus-per-trial", "8", command=command)
        settings = slurm_options.read_settings(args)
        assert (("account", "me"), ("nodes", "2"), ("partition", "gpu")) == settings.options
        device = slurm_options.read_request(args).device
        assert ("8 GPUs on 2 nodes", 8, 4) == (device.name, device.replicas, device.chips_per_host)


@pytest.mark.parametrize(
    ("words", "problems"),
    [(["--gpus-per-trial", "3"], ["the 3 replicas of 3 GPUs"]), (["--gpus-per-trial", "4"], []),
     (["--executor", "slurm", "--slurm", "nodes=3"], ["the 3 replicas of CPU on 3 nodes"])])
def test_a_batch_that_cannot_be_divided_is_a_problem(words, problems):
    """As in a cloud, whether the GPUs are here or on a cluster; paths of data are no problem."""
    cost = Cost(1, 1, 1.0, 1.0, 1.0, 1, 1, 1, 1, 8)
    result = ValidationResult("arm0", cost=cost, data=DataRequirements("data/a", "data/b", None, 1))
    request = slurm_options.read_request(parse(*words))
    found = [text for _, text in device_problems(request, launching.plan(()), [result])]
    assert problems == [text.partition("multiple of ")[2].partition(";")[0] for text in found]


@pytest.mark.usefixtures("_no_slurm")
def test_without_slurm_there_are_plans_and_scripts_but_no_launch(tmp_path):
    """One sentence says what is missing; a dry run prints the batch script all the same."""
    args = parse(
        "--executor", "slurm", "--time", "4:00:00", "--slurm", "qos=low", "--gpus-per-trial", "2")
    request, workdir = slurm_options.read_request(args), SweepWorkdir(tmp_path / "w")
    template = slurm_options.make_slurm_template(
        args, request, workdir, JobOptions(), "code", dry_run=True)
    [script] = [
        each["body"]["script"]
        for each in DryRun(launching.plan(()), workdir, template, False).requests()]
    assert script.startswith("#!/bin/bash\n#SBATCH --job-name=fakes-t0-")
    for line in ("#SBATCH --gres=gpu:2", "#SBATCH --time=4:00:00", "#SBATCH --qos=low",
                 "#SBATCH --signal=TERM@120", "#SBATCH --requeue"):
        assert f"\n{line}\n" in script
    assert "--runtime 'Runtime.strategy = '\"'\"'mirrored'\"'\"''" in script
    assert (
        "Slurm is not installed on this machine, so it was not asked for these resources."
    ) == slurm_options.ask_for_start(args, request, workdir, launching.plan(()))
    with pytest.raises(UserError) as refused:
        slurm_options.make_slurm_template(
            args, request, workdir, JobOptions(), "code", dry_run=False)
    assert ("Slurm is not installed on this machine (scontrol is missing); use a login node of the "
            "cluster.") == str(refused.value)
    with pytest.raises(UserError, match="needs a workdir on a disk that the nodes share, got gs://"):
        slurm_options.make_slurm_template(
            args, request, SweepWorkdir("gs://b/w"), JobOptions(), "code", dry_run=True)


def test_a_job_receives_the_environment_without_secrets(tmp_path):
    """Nor what belongs to another allocation or would win over the batch script."""
    (tmp_path / "key.json").write_text("{}")
    kept = {
        "PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "me",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
    environ = {
        **kept, "WANDB_API_KEY": "5f0c1d2e3b4a59687786", "SLURM_JOB_ID": "7", "SLURM_NNODES": "2",
        "SBATCH_EXPORT": "NONE", "SBATCH_OPEN_MODE": "truncate", "DB_URL": "x://me:passw0rd@host"}
    assert kept == programs.job_environment(environ)
    assert ["WANDB_API_KEY", "DB_URL"] == programs.hidden_variables(environ)


def test_the_signal_comes_early_enough_for_short_limits():
    """Half of the time is for work."""
    for time, seconds in (("10", 120), ("2", 60), ("0:30", 15)):
        args = parse("--executor", "slurm", "--time", time)
        template = slurm_options.make_slurm_template(
            args, slurm_options.read_request(args), SweepWorkdir("w"), JobOptions(), "c", True)
        plan = launching.plan(())
        shown = DryRun(plan, SweepWorkdir("w"), template, False).as_text()
        assert f"#SBATCH --signal=TERM@{seconds}\n" in shown

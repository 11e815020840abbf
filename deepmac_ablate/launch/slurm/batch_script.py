"""Batch script of a job: runs the worker on each node, and requeues the job if it was interrupted.

- The worker is a step of the job (``srun``), so that Slurm sends it SIGTERM before it ends the job
  for another one, and some time before the time limit (``--signal``). Bash may get the signal, too,
  and goes on waiting for the step.
- Slurm does not requeue a job that has saved a checkpoint and exited; the job asks for that itself.
  It does not if it was cancelled, which a requeue would undo.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator

from deepmac_ablate import errors
from deepmac_ablate.launch.slurm.job import SlurmRequest
from deepmac_ablate.launch.slurm.settings import requests_gpus
from deepmac_ablate.launch.sweep_workdir import STOP_REQUEST

# Slurm checks time limits every half minute, and may send the signal a minute early.
_SECONDS_OF_TOLERANCE = 90.0
# Restarts of a job whose trial has made no progress; then the launcher decides.
_IDLE_RESTARTS = 3
# Seconds from the end of the first process of a trial on several nodes to that of the others.
_SECONDS_BETWEEN_ENDS = 30.0
# Ports below those that Linux takes for outgoing connections; nodes may be shared with other jobs.
_FIRST_PORT, _PORTS = 12000, 20000

_START = """
# The program on each node; a prologue may set another, for instance one in a container:
# deepmac_ablate=(apptainer exec --nv image.sif deepmac-ablate)
deepmac_ablate=({program})
"""

_HOSTS = """
hosts=
for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
  address=$(scontrol show node -o "$node" | grep -o 'NodeAddr=[^ ]*')
  hosts+=${{hosts:+,}}${{address#NodeAddr=}}:$(({first_port} + SLURM_JOB_ID % {ports} + count++))
done
"""

_RUN = """
# Whatever a prologue has set.
set +eu +o pipefail
last_step() {{ tail -n 1 {folder}/metrics.jsonl 2> /dev/null; }}
before=$(last_step)
# Slurm signals the worker as well; this script waits for it.
trap : TERM
# Since Slurm 22.05 steps do not inherit it.
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun --ntasks={nodes} --ntasks-per-node=1 --mpi=none --export=ALL --wait={wait} \\
  "${{deepmac_ablate[@]}}" {worker} &
while wait $!; status=$?; kill -0 $! 2> /dev/null; do :; done
wait $!; again=$?
# 127: its status has been told.
[ $again = 127 ] || status=$again

# Interrupted, or another worker still has the trial: run again, unless the job was cancelled.
if [ $status = {interrupted} ] || [ $status = {taken} ]; then
  if [ "$(last_step)" != "$before" ] || [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
    if [ ! -e {stop} ] && scontrol show job -o "$SLURM_JOB_ID" | grep -q 'JobState=RUNNING '; then
      scontrol requeue "$SLURM_JOB_ID"
    fi
  fi
fi
exit $status
"""


def render_script(request: SlurmRequest) -> str:
    """Return the batch script of a job."""
    settings = request.settings
    parts = ["#!/bin/bash", *map(_directive, _options(request))]
    parts.append(_START.format(program=_shell(sys.executable, "-m", "deepmac_ablate.cli")).rstrip())
    if settings.prologue:
        parts += ["", "# Prologue.", settings.prologue.rstrip()]
    worker = _shell(*request.args)
    if settings.nodes > 1:
        parts.append(_HOSTS.format(first_port=_FIRST_PORT, ports=_PORTS).rstrip())
        worker += ' --hosts "$hosts"'
    parts.append(_RUN.format(
        folder=_shell(request.folder), stop=_shell(f"{request.workdir}/{STOP_REQUEST}"),
        nodes=settings.nodes, wait=f"{request.grace + _SECONDS_BETWEEN_ENDS:.0f}", worker=worker,
        interrupted=errors.INTERRUPTED, taken=errors.TAKEN, restarts=_IDLE_RESTARTS))
    return "\n".join(parts)


def _options(request: SlurmRequest) -> Iterator[str]:
    """Yield the options of sbatch; those of the user come last and so win."""
    settings = request.settings
    yield f"--job-name={request.name}"
    # A % would begin a pattern.
    yield f"--output={request.output.replace('%', '%%')}"
    yield "--open-mode=append"
    yield f"--chdir={request.launch_folder}"
    yield f"--nodes={settings.nodes}"
    yield "--ntasks-per-node=1"
    yield "--requeue"
    yield f"--signal=TERM@{_signal_seconds(request):.0f}"
    if settings.gpus and not requests_gpus(dict(settings.options)):
        yield f"--gres=gpu:{settings.gpus // settings.nodes}"
    for name, value in settings.options:
        yield f"--{name}" if value is None else f"--{name}={value}"


def _signal_seconds(request: SlurmRequest) -> float:
    """Return how long before the time limit the trainer is asked to save and end."""
    needed = request.grace + _SECONDS_OF_TOLERANCE
    limit = request.settings.seconds
    return needed if limit is None else max(1.0, min(needed, limit / 2))


def _directive(option: str) -> str:
    """Return the line of an option; sbatch reads words in double quotes, with backslashes."""
    if not re.fullmatch(r"[\w./:=,@%+-]+", option, re.ASCII):
        text = option.replace("\\", "\\\\").replace('"', '\\"')
        option = f'"{text}"'
    return f"#SBATCH {option}"


def _shell(*words: str) -> str:
    return " ".join(map(shlex.quote, words))

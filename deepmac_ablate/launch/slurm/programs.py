"""Slurm's own programs: their answers, and the environment of the jobs that they submit."""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Mapping

from deepmac_ablate.cloud.provider import NoAnswerError
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.slurm.settings import RESERVED
from deepmac_ablate.safe_text import is_file, is_secret, visible

_SECONDS_TO_ANSWER = 60.0

_NO_ANSWER = re.compile(
    "unable to contact slurm controller|socket timed out|connection (refused|timed out|reset)|"
    "zero bytes were transmitted|transport endpoint|communication connection failure|"
    "temporarily unable|slurm backup controller|protocol authentication", re.IGNORECASE)
_UNKNOWN_JOB = re.compile("invalid job id", re.IGNORECASE)
_PREFIX = re.compile(
    r"^(?:(?:sbatch|squeue|scancel|scontrol|slurm_\w+)(?: error)?: )?(?:error: |fatal: )?"
    r"(?:Batch job submission failed: |allocation failure: )?")

# Variables by which Slurm's programs find their cluster.
_OF_SITES = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")
# Variables that would win over the options of the batch script.
_RESERVED_VARIABLES = [f"SBATCH_{name.upper().replace('-', '_')}" for name in RESERVED]


def ask_slurm(program: str, *words: str, script: str = "") -> tuple[str, str]:
    """Run a program of Slurm and return what it writes to stdout and stderr.

    An answer to a question about a job that Slurm does not know is empty.

    Args:
        program: Name of the program.
        *words: Its arguments.
        script: Its standard input.

    Raises:
        UserError: If Slurm is not installed here, or refuses; the message has its own words.
        NoAnswerError: If the controller does not answer; it may have received a job all the same.
    """
    try:
        done = subprocess.run(
            [program, *words], input=script, env=job_environment(os.environ),
            capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"Slurm is not installed on this machine ({program} is missing); use a login node of "
            "the cluster.") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(
            f"Slurm does not answer: {program} has run for {_SECONDS_TO_ANSWER:.0f} s.") from error
    if done.returncode == 0 or _UNKNOWN_JOB.search(done.stderr):
        return done.stdout, join_lines(done.stderr)
    message = join_lines(done.stderr) or f"{program} ended with {done.returncode}"
    if _NO_ANSWER.search(done.stderr):
        raise NoAnswerError(f"Slurm does not answer: {message}.")
    raise UserError(f"Slurm refuses: {message}.")


def is_installed() -> bool:
    """Return whether this machine has Slurm's programs."""
    return shutil.which("sbatch") is not None


@functools.cache
def read_cluster_name() -> str:
    """Return the name of the cluster that this machine belongs to.

    Raises:
        UserError: If Slurm is not installed here.
        NoAnswerError: If its controller does not answer.
    """
    settings, _ = ask_slurm("scontrol", "show", "config")
    match = re.search(r"^ClusterName\s*=\s*(\S+)", settings, re.MULTILINE)
    return match[1] if match else ""


def current_user() -> str:
    """Return the name of the user that submits jobs, or its number if it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def hidden_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the environment variables that hold secrets, which jobs do not receive."""
    return [
        name for name, value in environ.items() if is_secret(name, value) and not is_file(value)]


def job_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a job receives: that of the launch, without secrets.

    Slurm stores it. Variables of an allocation in which the launch runs would contradict the
    job's own.
    """
    left_out = {*hidden_variables(environ), *_RESERVED_VARIABLES}
    return {
        name: value for name, value in environ.items()
        if name not in left_out and (not name.startswith("SLURM_") or name in _OF_SITES)}


def join_lines(text: str) -> str:
    """Return a message of Slurm in one line, without the names of its programs."""
    lines = [_PREFIX.sub("", line.strip()) for line in text.splitlines() if line.strip()]
    return visible("; ".join(dict.fromkeys(lines))).rstrip(".")

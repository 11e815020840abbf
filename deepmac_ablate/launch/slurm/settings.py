"""Settings of Slurm jobs: options of sbatch that pass through as written, GPUs, and a prologue."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.safe_text import redact

# Options of sbatch that the batch script sets, or that would make another kind of job of it.
RESERVED = frozenset({
    "array", "batch", "chdir", "clusters", "error", "export", "export-file", "help", "input",
    "job-name", "ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "quiet", "requeue",
    "signal", "test-only", "wait", "wrap"})
# Options of sbatch that request GPUs, whose counts are per node except that of --gpus.
_GPU_OPTIONS = ("gres", "gpus", "gpus-per-node", "gpus-per-task")

_NAME = re.compile(r"(?:--)?(?P<name>[a-z][a-z0-9_-]*)")
# "gpu:a100:2" and "a100:2"; a type is not a number.
_GPUS = re.compile(
    r"(?P<kind>(?:gres[:/])?gpu(?::|$))?(?:[^\d:][^:]*(?::|$)|\d+[^\d:][^:]*(?::|$))?(?P<number>\d+)?")
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")
_NO_LIMIT = ("unlimited", "infinite")


class SlurmSettings(NamedTuple):
    """Settings of all jobs of a launch.

    Attributes:
        options: Options of sbatch by their long names, in the order given; None for an option
            without a value. They are passed on as written.
        gpus: Number of GPUs of a trial, on all of its nodes; 0 for a trial on CPUs, or if only
            `options` say it.
        nodes: Number of nodes of a trial.
        prologue: Lines of bash that run on the first node before the worker.
    """

    options: tuple[tuple[str, str | None], ...] = ()
    gpus: int = 0
    nodes: int = 1
    prologue: str = ""

    @property
    def seconds(self) -> float | None:
        """Time limit of a job in seconds; None without one or for the partition's default."""
        text = dict(self.options).get("time")
        return None if text is None else _parse_time(text)

    def for_evaluation(self) -> SlurmSettings:
        """Return the settings of a job that evaluates: one node, and one GPU if there are any."""
        options = tuple(option for option in self.options if option[0] != "nodes")
        return self._replace(options=options, gpus=min(self.gpus, 1), nodes=1)


def parse_settings(
    options: Sequence[str], gpus: int | None = None, prologue: Path | None = None
) -> SlurmSettings:
    """Return the settings of a command line.

    Args:
        options: Options of sbatch as ``KEY=VALUE`` or ``KEY``, such as "account=me" or "exclusive".
            Of several with the same key, the last wins.
        gpus: Number of GPUs of a trial; None if only the options say it.
        prologue: File with the lines of bash.

    Raises:
        UserError: If an option is malformed, set by the launch itself, or contradicts `gpus`, or
            if the prologue cannot be read or one of them holds a secret.
    """
    found: dict[str, str | None] = {}
    for option in options:
        name, value = _parse_option(option)
        # The last one wins, in its own place.
        found.pop(name, None)
        found[name] = value
    if found.get("time") is not None:
        _parse_time(found["time"])
    nodes = _count_nodes(found)
    return SlurmSettings(
        tuple(found.items()), _count_gpus(found, gpus, nodes), nodes,
        "" if prologue is None else _read_prologue(prologue))


def requests_gpus(options: Mapping[str, str | None]) -> bool:
    """Return whether options of sbatch request GPUs themselves."""
    return any(_gpus_of(name, options[name]) for name in _GPU_OPTIONS if name in options)


def _parse_option(option: str) -> tuple[str, str | None]:
    key, equals, value = option.partition("=")
    match = _NAME.fullmatch(key.strip())
    if match is None or any(character in value for character in "\r\n\0"):
        raise UserError(
            "--slurm must be KEY=VALUE with a long option of sbatch, such as account=me or "
            f"exclusive, got {redact(option)!r}.")
    name = match["name"].replace("_", "-")
    if name in RESERVED:
        raise UserError(
            f"--slurm {name} cannot be given, as the launch sets it; allowed are the other long "
            "options of sbatch, such as account, qos, constraint, mem or nodes.")
    if redact(option) != option:
        raise UserError(
            f"--slurm {name} holds a secret, which Slurm would show to others; read it from a file "
            "in the prologue.")
    return name, value.strip() if equals else None


def _count_nodes(options: Mapping[str, str | None]) -> int:
    text = options.get("nodes", "1")
    if text is None or not re.fullmatch("[1-9][0-9]*", text):
        raise UserError(
            f"--slurm nodes must be one number, as a trial's processes know one another, got "
            f"{text!r}.")
    return int(text)


def _count_gpus(options: Mapping[str, str | None], gpus: int | None, nodes: int) -> int:
    """Return the number of GPUs of a trial, which the options may say, too."""
    for name in _GPU_OPTIONS:
        number = _gpus_of(name, options.get(name))
        if number is None:
            continue
        total = number if name == "gpus" else number * nodes
        if gpus not in (None, total):
            raise UserError(
                f"--slurm {name}={options[name]} requests {count_noun(total, 'GPU')} for each "
                f"trial, but --gpus-per-trial is {gpus}; they must agree.")
        return total
    if gpus and gpus % nodes:
        raise UserError(
            f"--gpus-per-trial {gpus} cannot be divided by --slurm nodes={nodes}; it is the number "
            "of GPUs on all nodes of a trial.")
    return gpus or 0


def _gpus_of(name: str, value: str | None) -> int | None:
    """Return the number of GPUs in the value of one option; None if it requests none."""
    if value is None:
        return None
    found = []
    for part in value.split(","):
        match = _GPUS.fullmatch(part.partition("(")[0])
        if match and (match["kind"] or name != "gres"):
            found.append(int(match["number"] or 1))
    return sum(found) if found else None


def _parse_time(text: str) -> float | None:
    """Return a time limit of Slurm in seconds, or None for no limit."""
    if text.lower() in _NO_LIMIT:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise UserError(
            "--time must be minutes, hours:minutes:seconds or days-hours, such as 90, 24:00:00 or "
            f"2-12, got {text!r}.")
    parts = [int(part) for part in match["parts"].split(":")]
    if match["days"] is None and len(parts) < 3:
        # Minutes, or minutes:seconds.
        parts.insert(0, 0)
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return 86400.0 * int(match["days"] or 0) + 3600.0 * hours + 60.0 * minutes + seconds


def _read_prologue(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot read the prologue {path}: {reason}.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if redact(line) != line:
            raise UserError(
                f"Line {number} of the prologue {path} holds a secret, which batch scripts would "
                "show; read it from a file there, such as export WANDB_API_KEY=$(cat ~/.key).")
    return text

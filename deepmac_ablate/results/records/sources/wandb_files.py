"""Trials in the files that W&B's client writes offline, `run-<id>.wandb`; needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.records.sources import wandb_runs
from deepmac_ablate.results.records.sources.record import Record
from deepmac_ablate.results.records.sources.wandb_runs import Run
from deepmac_ablate.sweep.standing import Status
from deepmac_ablate.tracking import wandb_file
from deepmac_ablate.tracking.mirror import EXIT_CODES
from deepmac_ablate.tracking.wandb_file import WandbFile

# Where W&B's client puts them below what people name; searching all would take too long on gs://.
_PATTERNS = (
    "run-*.wandb", "*run-*/run-*.wandb", "wandb/*run-*/run-*.wandb", "*/wandb/*run-*/run-*.wandb")


def below(folder: epath.Path) -> list[epath.Path]:
    """Returns W&B's files below the folder of a run, of a trial or of several, sorted."""
    return sorted(path for pattern in _PATTERNS for path in folder.glob(pattern))


class Files:
    """A source of the trials in some files; several files of one run are attempts at it.

    Args:
        paths: Of the files, in any order.
    """

    def __init__(self, paths: Sequence[epath.Path]) -> None:
        self._paths = paths

    def axes(self) -> Sequence[str]:
        """Returns none; see `Source`."""
        return ()

    def trials(self) -> Iterable[Record]:
        """Returns the trials in the order in which they were started.

        Raises:
            UserError: If the only file is none of W&B's. Among others it is a trial that failed.
        """
        attempts: dict[str, list[WandbFile]] = {}
        broken = []
        for path in self._paths:
            try:
                content = wandb_file.read(path)
            except UserError as error:
                if len(self._paths) == 1:
                    raise
                broken.append(Record(_run_id(path), status="failed", cause=str(error)))
                continue
            if content.run is None:
                cause = f"W&B's client was killed before it had written to {path} whose it is"
                broken.append(Record(_run_id(path), status="interrupted", cause=cause))
            else:
                attempts.setdefault(content.run.run_id, []).append(content)
        started = [sorted(it, key=lambda file: file.run.started) for it in attempts.values()]
        started.sort(key=lambda it: it[0].run.started)
        return [*wandb_runs.records(map(_run, started)), *broken]


def _run(attempts: Sequence[WandbFile]) -> Run:
    """Returns the run that some files are of, the first attempt first."""
    last = attempts[-1]
    status, cause = _status(last.exit_code)
    return Run(
        last.run.run_id, last.run.project, last.run.group, last.run.name, last.run.job_type,
        last.run.tags,
        config={name: it for file in attempts for name, it in file.run.config.items()},
        summary={name: it for file in attempts for name, it in file.summary.items()},
        status=status, cause=cause, starts=len(attempts))


def _status(exit_code: int | None) -> tuple[Status, str]:
    if exit_code is None:
        return "interrupted", "W&B's client was killed, or is at work still: no end is noted"
    if exit_code == EXIT_CODES["finished"]:
        return "finished", ""
    if exit_code == EXIT_CODES["interrupted"]:
        return "interrupted", "it was interrupted, as its exit status in W&B says"
    return "failed", f"its exit status in W&B is {exit_code}"


def _run_id(path: epath.Path) -> str:
    return path.stem.removeprefix("run-")

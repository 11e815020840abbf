"""Find the source that a user names: a workdir, a trial or a project on W&B's server."""

from __future__ import annotations

from etils import epath

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results.loading import wandb_source, workdir_source
from deepmac_ablate.results.loading.source import Source

_WANDB = "wandb:"
_NAMED_AT_MOST = 5
# Below the folder of a run, of a trial's runs, or of several trials.
_CLIENT_FILES = ("run-*.wandb", "*run-*/run-*.wandb", "wandb/*run-*/run-*.wandb")


def find(name: str) -> Source:
    """Return the source of results that a name stands for.

    Args:
        name: See `records.load`.

    Raises:
        UserError: If it stands for none; it says what is there and what would be right.
    """
    if name.startswith(_WANDB):
        return wandb_source.Project(name.removeprefix(_WANDB))
    path = epath.Path(name)
    if not path.exists():
        raise UserError(
            f"There is no {name}.{_sibling(path)} Name the workdir of a sweep, the folder of a "
            "trial, or wandb:ENTITY/PROJECT.")
    if _is_sweep(path):
        return workdir_source.Workdir(str(path))
    if _is_trial(path):
        return workdir_source.Trial(str(path))
    if _is_of_client(path):
        raise UserError(
            f"{name} holds runs of W&B's client, which are not read; pass {_instead(path)}, which "
            "has the same numbers.")
    if not path.is_dir():
        raise UserError(
            f"{name} is a file: pass the workdir of a sweep or the folder of a trial.")
    raise UserError(
        f"There are no results in {name}: neither plan.json, trials/ nor trial.json. "
        f"{_what_is_there(path)}")


def _is_sweep(path: epath.Path) -> bool:
    return (path / "plan.json").exists() or (path / "trials").is_dir()


def _is_trial(path: epath.Path) -> bool:
    return (path / "trial.json").exists()


def _is_of_client(path: epath.Path) -> bool:
    """Return whether a path is a file or a folder that W&B's client has written."""
    if not path.is_dir():
        return path.suffix == ".wandb"
    return any(next(iter(path.glob(pattern)), None) for pattern in _CLIENT_FILES)


def _instead(path: epath.Path) -> str:
    """Return the folder of the trial that files of W&B's client are of, as far as it is known."""
    trial = next((str(folder) for folder in path.parents if _is_trial(folder)), "")
    return f"the trial's folder {trial}" if trial else (
        "the folder of the trial or the workdir of its sweep")


def _sibling(path: epath.Path) -> str:
    try:
        names = [it.name for it in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def _what_is_there(path: epath.Path) -> str:
    if path.name == "trials" and _is_sweep(path.parent):
        return f"Did you mean {str(path.parent)!r}?"
    there = sorted(path.iterdir())
    below = [str(it) for it in there if it.is_dir() and (_is_sweep(it) or _is_trial(it))]
    if below:
        more = " and more" if len(below) > _NAMED_AT_MOST else ""
        return f"Name what is below it: {' '.join(below[:_NAMED_AT_MOST])}{more}."
    if not there:
        return "It is empty."
    more = " and more" if len(there) > _NAMED_AT_MOST else ""
    return f"There are {', '.join(it.name for it in there[:_NAMED_AT_MOST])}{more}."

"""Finds out what a user names: a workdir, a trial, files of W&B's, a project on its server."""

from __future__ import annotations

from etils import epath

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results.loading import wandb_source, workdir_source
from deepmac_ablate.results.loading.source import Source

_WANDB = "wandb:"
_NAMED_AT_MOST = 5


def find(name: str) -> Source:
    """Returns the source of results that a name stands for.

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
            "trial, files of W&B's, or wandb:ENTITY/PROJECT.")
    if not path.is_dir():
        return wandb_source.Files([path])
    if _is_sweep(path):
        return workdir_source.Workdir(str(path))
    if _is_trial(path):
        return workdir_source.Trial(str(path))
    if found := wandb_source.below(path):
        return wandb_source.Files(found)
    raise UserError(
        f"There are no results in {name}: neither plan.json, trials/ nor trial.json, nor files of "
        f"W&B's. {_what_is_there(path)}")


def _is_sweep(path: epath.Path) -> bool:
    return (path / "plan.json").exists() or (path / "trials").is_dir()


def _is_trial(path: epath.Path) -> bool:
    return (path / "trial.json").exists()


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

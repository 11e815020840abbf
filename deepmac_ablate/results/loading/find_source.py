"""Sources of results by name: a sweep workdir, a trial folder, a file of rows or a W&B project."""

from __future__ import annotations

from etils import epath

from deepmac_ablate.errors import UserError, did_you_mean_path
from deepmac_ablate.results.loading.rows_source import RowsFileSource
from deepmac_ablate.results.loading.source import Source
from deepmac_ablate.results.loading.wandb_source import WandbProjectSource
from deepmac_ablate.results.loading.workdir_source import SweepWorkdirSource, TrialFolderSource
from deepmac_ablate.storage.disk import translating_errors

_WANDB = "wandb:"
_MOST_NAMES = 5
# Files of the W&B client below the folder of a run, of a trial's runs, or of several trials.
_CLIENT_FILES = ("run-*.wandb", "*run-*/run-*.wandb", "wandb/*run-*/run-*.wandb")


def find_source(name: str) -> Source:
    """Return the source of results that a name stands for.

    Args:
        name: A path or a W&B project, see `results.load`.

    Raises:
        UserError: If there are no results; the message says what is there and what to pass.
    """
    if name.startswith(_WANDB):
        return WandbProjectSource(name.removeprefix(_WANDB))
    with translating_errors(name):
        return _find_folder(name, epath.Path(name))


def _find_folder(name: str, path: epath.Path) -> Source:
    if not path.exists():
        raise UserError(
            f"{name!r} does not exist.{_similar_sibling(path)} Pass a sweep workdir, a trial "
            "folder or wandb:ENTITY/PROJECT.")
    if _is_sweep(path):
        return SweepWorkdirSource(str(path))
    if _is_trial(path):
        return TrialFolderSource(str(path))
    if _is_from_wandb_client(path):
        raise UserError(
            f"{name} holds run files of the W&B client, which cannot be read; pass "
            f"{_folder_to_pass(path)}, which has the same numbers.")
    if path.suffix == ".csv" and not path.is_dir():
        return RowsFileSource(str(path))
    if path.name.endswith(".tar.gz"):
        raise UserError(f"{name} is an archive; unpack it (tar -xzf {name}) and pass its folder.")
    if not path.is_dir():
        raise UserError(
            f"{name} is a file; pass a sweep workdir, a trial folder, or a .csv file that "
            "'deepmac-ablate rows' has written.")
    raise UserError(
        f"There are no results in {name}: it has neither plan.json, trials/ nor trial.json. "
        f"{_describe_content(path)}")


def _is_sweep(path: epath.Path) -> bool:
    return (path / "plan.json").exists() or (path / "trials").is_dir()


def _is_trial(path: epath.Path) -> bool:
    return (path / "trial.json").exists()


def _is_from_wandb_client(path: epath.Path) -> bool:
    if not path.is_dir():
        return path.suffix == ".wandb"
    return any(next(iter(path.glob(pattern)), None) for pattern in _CLIENT_FILES)


def _folder_to_pass(path: epath.Path) -> str:
    trial = next((str(folder) for folder in path.parents if _is_trial(folder)), "")
    return f"the trial folder {trial}" if trial else "the trial folder or its sweep workdir"


def _similar_sibling(path: epath.Path) -> str:
    try:
        names = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean_path(path.name, names)


def _describe_content(path: epath.Path) -> str:
    if path.name == "trials" and _is_sweep(path.parent):
        return f"Did you mean {str(path.parent)!r}?"
    children = sorted(path.iterdir())
    sources = [
        str(child) for child in children
        if child.is_dir() and (_is_sweep(child) or _is_trial(child))]
    if sources:
        more = " and more" if len(sources) > _MOST_NAMES else ""
        return f"Pass the folders below it: {' '.join(sources[:_MOST_NAMES])}{more}."
    if not children:
        return "It is empty."
    more = " and more" if len(children) > _MOST_NAMES else ""
    return f"It contains {', '.join(child.name for child in children[:_MOST_NAMES])}{more}."

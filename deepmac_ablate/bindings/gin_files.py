"""Search paths of gin files: a name finds the same file from every working directory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from deepmac_ablate.errors import UserError, did_you_mean_path, shorten

# Environment variable with a folder that is searched before the working directory: the gin files
# and modules that a job was launched with, which may have been edited since.
CODE_VARIABLE = "DEEPMAC_ABLATE_CODE"

_PACKAGE = Path(__file__).resolve().parents[1]
# The folder that holds `gin/`: the package itself once it is installed, or the checkout around it.
# Beside an installed package, `gin/` is the library gin-config.
ROOT = _PACKAGE if (_PACKAGE / "gin").is_dir() else _PACKAGE.parent


def find_gin_file(name: str, including: Path | None = None, where: str = "") -> Path:
    """Find a gin file.

    Args:
        name: An absolute path, or one relative to the including file, to the folder of
            `CODE_VARIABLE`, to the working directory or to `ROOT`, tried in this order.
        including: The file whose ``include`` statement names this one.
        where: File and line of that statement, for the message.

    Raises:
        UserError: If there is no such file; the message suggests a similar name that exists.
    """
    prefix = f"{where}: there" if where else "There"
    try:
        for path in candidate_paths(name, including):
            if is_file(path):
                return path.resolve()
        nearest = _nearest(name, _folders(including))
    except (RuntimeError, OSError) as error:
        # An unknown user's home, a circle of links, or a name that is too long.
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UserError(f"{prefix} is no gin file {shorten(name)}: {reason}.") from error
    raise UserError(f"{prefix} is no gin file {shorten(name)}.{nearest}")


def code_folder() -> str | None:
    """Return the folder of `CODE_VARIABLE`; None if it is not set."""
    return os.environ.get(CODE_VARIABLE) or None


def is_file(path: Path) -> bool:
    """Return whether a file exists; False for names that no file system takes."""
    with contextlib.suppress(OSError):
        return path.is_file()
    return False


def candidate_paths(name: str, including: Path | None = None) -> list[Path]:
    """Return the paths where a gin file is searched, in order; see `find_gin_file`."""
    return [folder / Path(name).expanduser() for folder in _folders(including)]


def display_name(path: Path) -> str:
    """Return the shortest name by which `find_gin_file` finds a file from the working directory."""
    if code_folder() and path.is_relative_to(code_folder()):
        return str(path.relative_to(code_folder()))
    cwd = Path.cwd()
    names = [path.relative_to(folder) for folder in (cwd, ROOT) if path.is_relative_to(folder)]
    # If there are two names, one folder lies in the other, such as a virtual environment in a
    # project, whose own `gin/` comes first.
    if len(names) == 2 and names[0] != names[1] and (cwd / names[1]).is_file():
        names.pop()
    return str(min(names, key=lambda name: len(name.parts), default=path))


def _folders(including: Path | None) -> list[Path]:
    code = [Path(code)] if (code := code_folder()) else []
    return [*([including.parent] if including else []), *code, Path.cwd(), ROOT]


def _nearest(name: str, folders: list[Path]) -> str:
    known = {display_name(path) for path in (ROOT / "gin").rglob("*.gin")}
    for folder in folders:
        beside = (folder / name).parent
        if beside.is_dir():
            known |= {str(Path(name).parent / path.name) for path in beside.glob("*.gin")}
    return did_you_mean_path(name, sorted(known))

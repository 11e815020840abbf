"""Where gin files are: the same name finds the same file from every working directory."""

from __future__ import annotations

from pathlib import Path

from deepmac_ablate.errors import UserError, did_you_mean

# The checkout: `gin/` lies beside the package and is not installed with it.
ROOT = Path(__file__).resolve().parents[2]


def find(name: str, including: Path | None = None, where: str = "") -> Path:
    """Finds a gin file.

    Args:
        name: An absolute path, or one relative to the including file, to the working directory or
            to the root of the checkout, looked for in this order.
        including: The file whose ``include`` statement names this one.
        where: File and line of that statement, for the message.

    Raises:
        UserError: If there is no such file; it names the nearest one that exists.
    """
    folders = [including.parent] if including else []
    folders += [Path.cwd(), ROOT]
    for folder in folders:
        path = (folder / Path(name).expanduser()).resolve()
        if path.is_file():
            return path
    prefix = f"{where}: there" if where else "There"
    raise UserError(f"{prefix} is no gin file {name!r}.{_nearest(name, folders)}")


def shown(path: Path) -> str:
    """The shortest name of a file that ``find`` would find from here."""
    for folder in (Path.cwd(), ROOT):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return str(path)


def _nearest(name: str, folders: list[Path]) -> str:
    known = {shown(path) for path in (ROOT / "gin").rglob("*.gin")}
    for folder in folders:
        beside = (folder / name).parent
        if beside.is_dir():
            known |= {str(Path(name).parent / path.name) for path in beside.glob("*.gin")}
    same_file_name = sorted(path for path in known if Path(path).name == Path(name).name)
    if same_file_name:
        return f" Did you mean {same_file_name[0]!r}?"
    return did_you_mean(name, sorted(known))

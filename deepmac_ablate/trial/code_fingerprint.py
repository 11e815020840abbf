"""Which code it is: one short name for everything that can change a result.

A commit does not say it, as a checkout may hold changes, and a change to a table is no change to a
trial. So sources are hashed, and with them the versions of what computes.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

# The checkout, where there is one; installed, the folder of all installed packages.
ROOT = Path(__file__).resolve().parents[2]

_PACKAGE = Path(__file__).resolve().parents[1]
# What plans, launches, follows, reads and prints, relative to the package; a trial's numbers do not
# depend on it.
_NO_INFLUENCE = (
    "sweep", "cloud", "validation", "tracking", "results", "listing", "cli.py", "cost.py",
    "verdict.py", "provenance.py", "fingerprint.py", "checkout.py")
_COMPUTING = ("tensorflow", "tf-models-official", "gin-config", "numpy")
# The same sources, built for a device.
_STAND_INS = {"tensorflow": ("tensorflow-tpu", "tensorflow-cpu")}

# 48 bits, as the ids of trials have.
_LENGTH = 12


@functools.cache
def code_fingerprint(*modules: str) -> str:
    """Returns what tells apart two states of the code that could give two results.

    It is made of the sources of this package, without the rooms that launch and read, of the
    versions of TensorFlow, Model Garden, gin and numpy, and of the user's modules. Where the
    checkout lies does not matter; comments do, as sources are not parsed.

    A process keeps its first answer: what it has imported does not change with the files.

    Args:
        *modules: Names of modules that gin files import, such as "my_heads". They are found but not
            imported. Whatever of the user's they import, and all of a package of the user's, is
            hashed too. What is installed is not: that is the matter of the lock file.

    Returns:
        12 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, version in _versions(_COMPUTING).items():
        digest.update(f"{name}=={version}\n".encode())
    sources = {path.relative_to(_PACKAGE).as_posix(): path for path in _PACKAGE.rglob("*.py")}
    sources = {
        name: path for name, path in sources.items() if name.split("/")[0] not in _NO_INFLUENCE}
    # The names of the user's modules begin with a dot, which no file of the package's does.
    for name, path in sorted((sources | sources_of_the_user(modules)).items()):
        content = path.read_bytes()
        # The length, so that no content can pass for the next file's name.
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:_LENGTH]


def sources_of_the_user(modules: Iterable[str]) -> dict[str, Path]:
    """Returns the sources of modules and of what they import, by ``.module/file``.

    Args:
        modules: As those of `code_fingerprint`.
    """
    sources: dict[str, Path] = {}
    seen, waiting = {_PACKAGE.name}, [module.partition(".")[0] for module in modules]
    while waiting:
        name = waiting.pop()
        if name in seen or name in sys.stdlib_module_names:
            continue
        seen.add(name)
        for relative, path in _files(name).items():
            sources[f".{name}/{relative}"] = path
            waiting += _imports(path)
    return sources


def versions() -> dict[str, str | None]:
    """Returns the versions of Python and of what computes, by name; None for what is missing."""
    return {"python": platform.python_version(), **_versions((*_COMPUTING, "tf-keras"))}


def lock_hash() -> str | None:
    """Returns 12 hexadecimal digits of the lock file, or None where it does not lie there."""
    try:
        content = (ROOT / "requirements.lock").read_bytes()
    except FileNotFoundError:
        return None
    return hashlib.sha256(content).hexdigest()[:_LENGTH]


def _versions(names: Iterable[str]) -> dict[str, str | None]:
    return {
        name: next(filter(None, map(_version, (name, *_STAND_INS.get(name, ())))), None)
        for name in names}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _files(name: str) -> dict[str, Path]:
    """Returns the files of a module or package of the user's; none of what is installed."""
    try:
        # Of a name without dots; for "a.b" it would import a.
        spec = importlib.util.find_spec(name)
    except ValueError:
        # Of `__main__` and of what was put together by hand.
        spec = None
    if spec is None:
        return {}
    folders = [Path(folder).resolve() for folder in spec.submodule_search_locations or ()]
    if folders:
        files = {
            path.relative_to(folder).as_posix(): path
            for folder in folders for path in folder.rglob("*.py")}
    elif spec.origin is not None and spec.origin.endswith(".py"):
        path = Path(spec.origin).resolve()
        files = {path.name: path}
    else:
        files = {}
    paths = sysconfig.get_paths()
    installed = [Path(paths[key]).resolve() for key in ("stdlib", "purelib", "platlib")]
    return {
        relative: path for relative, path in files.items()
        if not any(path.is_relative_to(place) for place in installed)}


def _imports(path: Path) -> set[str]:
    """Returns the first parts of the names of all that a file imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names

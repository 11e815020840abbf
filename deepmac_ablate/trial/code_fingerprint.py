"""Code fingerprint: one short name for all code and settings that can change a trial's numbers.

A commit is not enough, as a checkout may hold changes, and a change to a table does not change a
trial. So the syntax of what computes is hashed, with the settings of gin files and the versions of
the libraries that compute. Comments, docstrings and layout leave it as it is.
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

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.syntax_hash import NOT_PYTHON, syntax_hash

# The checkout, where there is one; installed, the folder of all installed packages.
ROOT = Path(__file__).resolve().parents[2]

_PACKAGE = Path(__file__).resolve().parents[1]
# Rooms of the package that compute the numbers of a trial, and modules of others. Of `data/` they
# are those that read records: those that write them are covered by the dataset's own fingerprint.
COMPUTING = (
    "training", "evaluation", "modeling", "data/dataset_info.py", "data/evaluation_data.py",
    "data/model_input.py", "data/training_data.py", "bindings", "class_splits.py", "box_jitter.py")
_LIBRARIES = ("tensorflow", "tf-models-official", "gin-config", "numpy")
# The same sources, built for a device.
_STAND_INS = {"tensorflow": ("tensorflow-tpu", "tensorflow-cpu")}

# 48 bits, as the ids of trials have.
_LENGTH = 12


@functools.cache
def code_fingerprint(
    *modules: str, gin_files: tuple[str, ...] = (), sources: tuple[str, ...] = COMPUTING
) -> str:
    """Return a hash that differs wherever two states of the code could give two results.

    It is the same on all supported versions of Python, and wherever the files lie: neither the
    names of files count nor the modules from which own names are imported, so that moving a file
    as it is changes nothing.

    A process keeps its first answer: what it has imported does not change with the files.

    Args:
        *modules: Names of modules that gin files import, such as "my_heads". They are found but not
            imported. The user's modules that they import, and all files of a user's package, are
            hashed too. Installed packages are not: the lock file covers them.
        gin_files: Names of gin files, as `bindings.read` takes them, in this order. The bindings
            that win are hashed. Files that cannot be read count as different from any others.
        sources: Files and folders of the package.

    Returns:
        12 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, version in _versions(_LIBRARIES).items():
        digest.update(f"{name}=={version}\n".encode())
    digest.update(_hash_of_sources(modules, sources).encode())
    if gin_files:
        digest.update(_settings(gin_files).encode())
    return digest.hexdigest()[:_LENGTH]


def sources_of_the_user(modules: Iterable[str]) -> dict[str, Path]:
    """Return the sources of modules and of what they import, by ``.module/file``.

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
    """Return the versions of Python and of what computes, by name; None for what is missing."""
    return {"python": platform.python_version(), **_versions((*_LIBRARIES, "tf-keras"))}


def lock_hash() -> str | None:
    """Return 12 hexadecimal digits of the lock file, or None where it does not lie there."""
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
    """Return the files of a module or package of the user's; none of what is installed."""
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
    """Return the first parts of the names of all that a file imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except NOT_PYTHON:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@functools.cache
def _hash_of_sources(modules: tuple[str, ...], sources: tuple[str, ...]) -> str:
    """Return a hash of the syntax of all files, see `code_fingerprint`."""
    of_the_user = sources_of_the_user(modules)
    own = {_PACKAGE.name, *(key[1:].partition("/")[0] for key in of_the_user)}
    files = [*of_the_user.values()]
    for entry in sources:
        path = _PACKAGE / entry
        files += [path] if path.suffix else path.rglob("*.py")
    hashes = [syntax_hash(path.read_bytes(), own) for path in files]
    return hashlib.sha256("\n".join(sorted(filter(None, hashes))).encode()).hexdigest()


def _settings(gin_files: tuple[str, ...]) -> str:
    """Return the bindings that win in gin files, as text in the order of their names."""
    try:
        winning = bindings.merge(bindings.read(gin_files, ()).bindings)
    except UserError:
        return "unreadable"
    return "\n".join(f"{name} = {winning[name].canonical_value}" for name in sorted(winning))

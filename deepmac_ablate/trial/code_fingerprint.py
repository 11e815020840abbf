"""Code fingerprint: a short hash of all code and settings that can change a trial's numbers.

A commit would not do: a checkout may hold changes, and a change to a table does not change a trial.
So the hash covers the syntax of the code that computes, the settings in gin files, and the versions
of the libraries that compute. Comments, docstrings and formatting do not change it.
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

# The root of the checkout; of an installed package, the folder of all installed packages.
ROOT = Path(__file__).resolve().parents[2]

_PACKAGE = Path(__file__).resolve().parents[1]
# The folders and modules that compute the numbers of a trial. Of `data/` these are the ones that
# read records: those that write them are covered by the dataset's own fingerprint.
COMPUTING = (
    "training", "evaluation", "modeling", "data/dataset_info.py", "data/evaluation_data.py",
    "data/masks.py", "data/model_input.py", "data/training_data.py", "bindings",
    "class_splits.py", "box_jitter.py")
_LIBRARIES = ("tensorflow", "tf-models-official", "gin-config", "numpy")
# The same library, built for a certain device.
_VARIANTS = {"tensorflow": ("tensorflow-tpu", "tensorflow-cpu")}

# 48 bits, like the ids of trials.
_LENGTH = 12


@functools.cache
def code_fingerprint(
    *modules: str, gin_files: tuple[str, ...] = (), sources: tuple[str, ...] = COMPUTING
) -> str:
    """Return a hash that differs wherever two states of the code could give different results.

    It is the same on all supported versions of Python and in any place: neither the names of files
    nor the own modules that names are imported from count, so that moving a file does not change
    it.

    The answer is cached for the life of a process, as its imported code does not change either.

    Args:
        *modules: Names of modules that gin files import, such as "my_heads"; they are located but
            not imported. The user's modules that they import, and all files of a user's package,
            are hashed as well. Installed packages are not, as the lock file covers them.
        gin_files: Names of gin files in order, as for `bindings.read`. The effective bindings are
            hashed. Files that cannot be read count as different from any others.
        sources: Files and folders of this package.

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


def user_sources(modules: Iterable[str]) -> dict[str, Path]:
    """Return the files of a user's modules and of the modules they import, by ``.module/file``.

    Args:
        modules: Names of modules, as for `code_fingerprint`.
    """
    sources: dict[str, Path] = {}
    seen, waiting = {_PACKAGE.name}, [module.partition(".")[0] for module in modules]
    while waiting:
        name = waiting.pop()
        if name in seen or name in sys.stdlib_module_names:
            continue
        seen.add(name)
        for relative, path in _user_files(name).items():
            sources[f".{name}/{relative}"] = path
            waiting += _imports(path)
    return sources


def library_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the libraries that compute; None for a missing one."""
    return {"python": platform.python_version(), **_versions((*_LIBRARIES, "tf-keras"))}


def lock_hash() -> str | None:
    """Return 12 hexadecimal digits that identify the lock file, or None if there is none."""
    try:
        content = (ROOT / "requirements.lock").read_bytes()
    except FileNotFoundError:
        return None
    return hashlib.sha256(content).hexdigest()[:_LENGTH]


def _versions(names: Iterable[str]) -> dict[str, str | None]:
    return {
        name: next(filter(None, map(_version, (name, *_VARIANTS.get(name, ())))), None)
        for name in names}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _user_files(name: str) -> dict[str, Path]:
    """Return the files of a user's module or package; none if it is installed or built in."""
    try:
        # The name has no dots; for "a.b" this would import a.
        spec = importlib.util.find_spec(name)
    except ValueError:
        # Raised for `__main__` and for modules created by hand.
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
    """Return the top-level names of all modules that a file imports."""
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
    user_files = user_sources(modules)
    own = {_PACKAGE.name, *(key[1:].partition("/")[0] for key in user_files)}
    files = [*user_files.values()]
    for entry in sources:
        path = _PACKAGE / entry
        files += [path] if path.suffix else path.rglob("*.py")
    hashes = [syntax_hash(path.read_bytes(), own) for path in files]
    return hashlib.sha256("\n".join(sorted(filter(None, hashes))).encode()).hexdigest()


def _settings(gin_files: tuple[str, ...]) -> str:
    """Return the effective bindings of gin files, as text sorted by name."""
    try:
        effective = bindings.merge(bindings.read(gin_files, ()).bindings)
    except UserError:
        return "unreadable"
    return "\n".join(f"{name} = {effective[name].canonical_value}" for name in sorted(effective))

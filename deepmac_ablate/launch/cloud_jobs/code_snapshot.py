"""Code snapshot: the user's gin files and modules that a trial needs on another machine.

The image contains this package, but the experiment is in files beside the user's sweep. A launch
stores them under a name made of their content::

    W/code/<12 hexadecimal digits>/gin/my_head.gin
                                   my_heads.py
                                   snapshot.json      written last; lists all other files
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from etils import epath

from deepmac_ablate import bindings
from deepmac_ablate.bindings import gin_files as gin
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import from_json, to_json
from deepmac_ablate.trial import code_fingerprint

_INDEX = "snapshot.json"
# 48 bits, as the ids of trials have.
_NAME_LENGTH = 12


class CodeSnapshot:
    """Files that gin files depend on.

    These are all gin files that they include, and the modules that they import with all that these
    import, as far as they lie below the working directory; installed packages come with the image.
    A package contributes all of its Python files.

    Args:
        gin_files: Gin files of all trials of a plan, as `bindings.read` takes them.
        extra: Bindings, which may include and import as well.
        is_shared: Whether other machines see the files of this one, so that those elsewhere are
            used where they are.

    Raises:
        UserError: If another machine would not find a file by its name.
    """

    def __init__(
        self, gin_files: Sequence[str], extra: Sequence[str] = (), is_shared: bool = False
    ) -> None:
        files = _gin_files(bindings.all_gin_files(gin_files, extra), is_shared)
        files |= _modules(bindings.imported_modules(gin_files, extra), is_shared)
        self._content = {name: path.read_bytes() for name, path in sorted(files.items())}
        self._index = {name: _digest(data) for name, data in self._content.items()}
        self._name = _digest(json.dumps(self._index).encode())[:_NAME_LENGTH]

    def folder(self, workdir: str | os.PathLike[str]) -> str:
        """Return the folder of the snapshot in a sweep's workdir, on ``gs://`` or a disk."""
        return os.fspath(epath.Path(workdir) / "code" / self._name)

    def write(self, workdir: str | os.PathLike[str]) -> str:
        """Write the snapshot to a workdir, unless it is there already, and return its folder.

        Raises:
            UserError: If the workdir cannot be written.
        """
        folder = epath.Path(self.folder(workdir))
        try:
            if not (folder / _INDEX).exists():
                for name, data in self._content.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    file_io.write(folder / name, data)
                folder.mkdir(parents=True, exist_ok=True)
                file_io.write(folder / _INDEX, to_json({"files": self._index}, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"Cannot write the code snapshot {folder}: {error}.") from error
        return os.fspath(folder)


def fetch(uri: str, folder: Path) -> None:
    """Copy the files of a snapshot to a folder.

    Args:
        uri: Folder of the snapshot, as `CodeSnapshot.folder` returns it.
        folder: Folder on this machine; created if missing.

    Raises:
        UserError: If the snapshot is missing or was changed.
    """
    text = file_io.read(f"{uri}/{_INDEX}")
    if text is None:
        raise UserError(
            f"{uri} has no {_INDEX}, so it is not a complete code snapshot; launch the sweep "
            "again.")
    folder.mkdir(parents=True, exist_ok=True)
    index = from_json(text, f"{uri}/{_INDEX}").get("files", {})
    content = file_io.read_many(f"{uri}/{name}" for name in index)
    for name, digest in index.items():
        data = content[f"{uri}/{name}"]
        leads_out = name.startswith("/") or ".." in PurePosixPath(name).parts
        if data is None or _digest(data) != digest or leads_out:
            raise UserError(
                f"{uri}/{name} is missing or was changed since the launch; delete {uri} and launch "
                "the sweep again.")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _gin_files(
    files_read: Sequence[bindings.GinFile], is_shared: bool
) -> dict[str, Path]:
    """Return gin files by their names in the snapshot, if they are shared without those elsewhere.

    Raises:
        UserError: If the name of one leads elsewhere on another machine.
    """
    files = {gin.display_name(file.path): file.path for file in files_read}
    for file in files_read:
        if _find_in_snapshot(file, files) != file.path:
            if is_shared:
                files.pop(gin.display_name(file.path), None)
                continue
            raise UserError(
                f"The gin file {file.name!r} is {file.path}, which jobs on other machines cannot "
                f"find; use a path relative to the working directory {Path.cwd()}.")
    return files


def _find_in_snapshot(file: bindings.GinFile, files: Mapping[str, Path]) -> Path | None:
    """Return the file that `find_gin_file` will find by the name from within the snapshot."""
    beside = [posixpath.dirname(gin.display_name(file.including))] if file.including else []
    names = [posixpath.normpath(posixpath.join(folder, file.name)) for folder in [*beside, ""]]
    return next((files[name] for name in names if name in files and name[0] != "/"), None)


def _modules(imported: Iterable[str], is_shared: bool) -> dict[str, Path]:
    """Return the sources of the user's modules by their names in the snapshot; see `_gin_files`.

    Raises:
        UserError: If one cannot be imported from the working directory alone.
    """
    files = {}
    for key, path in code_fingerprint.user_sources(imported).items():
        module = key[1:].partition("/")[0]
        relative = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        if relative.parts[0] not in (module, f"{module}.py"):
            if is_shared:
                continue
            raise UserError(
                f"The module {module} is {path}, which jobs on other machines cannot find; launch "
                f"from its folder instead of {Path.cwd()}, or install it in the image.")
        files[relative.as_posix()] = path
    return files


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

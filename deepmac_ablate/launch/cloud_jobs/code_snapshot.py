"""What a trial needs of its user's to run on another machine: gin files and modules.

The image has this package; the question at hand is in files beside the user's sweep. They are kept
as they were at the launch, by their content::

    W/code/<12 hexadecimal digits>/gin/my_head.gin
                                   my_heads.py
                                   snapshot.json      the last one, names all the others
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from etils import epath

from deepmac_ablate import bindings, storage
from deepmac_ablate.bindings import gin_files as gin
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import from_json, to_json
from deepmac_ablate.trial import code_fingerprint

_INDEX = "snapshot.json"
# 48 bits, as the ids of trials have.
_LENGTH = 12


class Snapshot:
    """What gin files need.

    That is all that they include, and the modules that they import with all that these import, as
    long as it lies below the working directory; what is installed is the image's matter. Of a
    package all of its Python files are taken.

    Args:
        gin_files: Of all trials of a plan, as `bindings.read` takes them.
        extra: Bindings, which may include and import as well.

    Raises:
        UserError: If a file lies where another machine would not find it.
    """

    def __init__(self, gin_files: Sequence[str], extra: Sequence[str] = ()) -> None:
        files = _gin_files(bindings.all_gin_files(gin_files, extra))
        files |= _modules(bindings.imported_modules(gin_files, extra))
        self._content = {name: path.read_bytes() for name, path in sorted(files.items())}
        self._index = {name: _digest(data) for name, data in self._content.items()}
        self._name = _digest(json.dumps(self._index).encode())[:_LENGTH]

    def folder(self, workdir: str | os.PathLike[str]) -> str:
        """Return where it is kept in a sweep's workdir, on ``gs://`` or a disk."""
        return os.fspath(epath.Path(workdir) / "code" / self._name)

    def keep(self, workdir: str | os.PathLike[str]) -> str:
        """Write it into a workdir, unless it is there already; returns `folder`.

        Raises:
            UserError: If the workdir cannot be written.
        """
        folder = epath.Path(self.folder(workdir))
        try:
            if not (folder / _INDEX).exists():
                for name, data in self._content.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    storage.write(folder / name, data)
                folder.mkdir(parents=True, exist_ok=True)
                storage.write(folder / _INDEX, to_json({"files": self._index}, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"Cannot write the code into {folder}: {error}.") from error
        return os.fspath(folder)


def fetch(uri: str, folder: Path) -> None:
    """Write the files of a snapshot into a folder.

    Args:
        uri: What `Snapshot.folder` returned.
        folder: On this machine; made where there is none.

    Raises:
        UserError: If the snapshot is not there, or not as it was.
    """
    text = storage.read(f"{uri}/{_INDEX}")
    if text is None:
        raise UserError(f"There is no code at {uri}: {_INDEX} is missing; launch the sweep again.")
    folder.mkdir(parents=True, exist_ok=True)
    index = from_json(text, f"{uri}/{_INDEX}").get("files", {})
    content = storage.read_many(f"{uri}/{name}" for name in index)
    for name, digest in index.items():
        data = content[f"{uri}/{name}"]
        leads_out = name.startswith("/") or ".." in PurePosixPath(name).parts
        if data is None or _digest(data) != digest or leads_out:
            raise UserError(
                f"{uri}/{name} is not what was launched; delete {uri} and launch the sweep again.")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _gin_files(read: Iterable[bindings.GinFile]) -> dict[str, Path]:
    """Return gin files by their names in the snapshot.

    Raises:
        UserError: If the name by which one is asked for leads elsewhere on another machine.
    """
    files = {gin.display_name(file.path): file.path for file in read}
    for file in read:
        if _found(file, files) != file.path:
            raise UserError(
                f"The gin file {file.name!r} is {file.path}, which a job on another machine does "
                f"not find: it only has what lies below {Path.cwd()}; name it relative to that.")
    return files


def _found(file: bindings.GinFile, files: Mapping[str, Path]) -> Path | None:
    """Return what `find_gin_file` will find by the file's name from within the snapshot."""
    beside = [posixpath.dirname(gin.display_name(file.including))] if file.including else []
    names = [posixpath.normpath(posixpath.join(folder, file.name)) for folder in [*beside, ""]]
    return next((files[name] for name in names if name in files and name[0] != "/"), None)


def _modules(imported: Iterable[str]) -> dict[str, Path]:
    """Return the sources of the user's modules by their names in the snapshot.

    Raises:
        UserError: If one is not found from the working directory alone.
    """
    files = {}
    for key, path in code_fingerprint.sources_of_the_user(imported).items():
        module = key[1:].partition("/")[0]
        relative = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        if relative.parts[0] not in (module, f"{module}.py"):
            raise UserError(
                f"The module {module} is {path}, which a job on another machine does not find: it "
                f"only has what lies in {Path.cwd()}; launch from its folder, or install it in the "
                "image.")
        files[relative.as_posix()] = path
    return files


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

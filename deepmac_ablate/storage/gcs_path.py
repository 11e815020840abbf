"""Paths on Google Cloud Storage, which ``epath.Path("gs://...")`` returns in this project.

Etils would use TensorFlow, which takes 8 s to import, or fsspec, which caches listings, needs
several requests per operation, and creates buckets for folders.
"""

from __future__ import annotations

import fnmatch
import io
import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from etils import epath
from etils.epath import stat_utils

if TYPE_CHECKING:
    from deepmac_ablate.storage.disk import Entry
    from deepmac_ablate.storage.gcs import ObjectStore


@epath.register_path_cls("gs://")
class ObjectPath(type(epath.Path("/"))):
    """Path in a bucket.

    Folders need not be created; they exist as long as they contain something. For errors see
    `gcs.ObjectStore`.
    """

    def exists(self) -> bool:
        """Return whether there is an object or a folder."""
        return self._find_entry() is not None

    def is_dir(self) -> bool:
        """Return whether there is a folder."""
        entry = self._find_entry()
        return entry is not None and entry.is_folder

    def is_file(self) -> bool:
        """Return whether there is an object."""
        entry = self._find_entry()
        return entry is not None and not entry.is_folder

    def stat(self) -> stat_utils.StatResult:
        """Return size and time, or raise a `FileNotFoundError`."""
        entry = self._find_entry()
        if entry is None:
            raise FileNotFoundError(f"{self} does not exist.")
        return stat_utils.StatResult(
            is_directory=entry.is_folder, length=entry.size, mtime=entry.changed)

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield the paths in the folder; none if it does not exist."""
        for entry in _store().list_folder(os.fspath(self)):
            yield self / entry.name

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield the paths that match a pattern, whose wildcards match within one part of a path."""
        part, _, rest = pattern.partition("/")
        wild = any(sign in part for sign in "*?[")
        found = [
            entry.name for entry in _store().list_folder(os.fspath(self))
            if fnmatch.fnmatchcase(entry.name, part)] if wild else [part]
        for path in (self / name for name in found):
            if rest:
                yield from path.glob(rest)
            elif wild or path.exists():
                yield path

    def mkdir(self, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing, as there are no empty folders and buckets are never created."""

    def read_bytes(self) -> bytes:
        """Return the content of the object, or raise a `FileNotFoundError`."""
        content = _store().read(os.fspath(self))
        if content is None:
            raise FileNotFoundError(f"{self} does not exist.")
        return content

    def write_bytes(self, data: bytes) -> int:
        """Write or replace the object."""
        _store().write(os.fspath(self), data)
        return len(data)

    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None
    ) -> int:
        """Write or replace the object with text."""
        return self.write_bytes(data.encode(encoding or "utf-8", errors or "strict"))

    def open(self, mode: str = "r", encoding: str | None = None, **options: Any) -> IO[Any]:  # noqa: ANN401
        """Open the object for reading; its whole content is downloaded."""
        if mode not in ("r", "rb"):
            raise NotImplementedError(f"Objects can only be read; got mode {mode!r}.")
        content = io.BytesIO(self.read_bytes())
        return content if mode == "rb" else io.TextIOWrapper(
            content, encoding or "utf-8", **options)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(f"{self} does not exist.")
        _store().delete([os.fspath(self)])

    def rmtree(self, missing_ok: bool = False) -> None:
        """Delete all objects in the folder."""
        found = _store().list_objects(os.fspath(self))
        if not found and not missing_ok:
            raise FileNotFoundError(f"{self} does not exist.")
        _store().delete(found)

    def replace(self, target: str | os.PathLike[str]) -> ObjectPath:
        """Move the object to another path, replacing it atomically."""
        _store().copy(os.fspath(self), os.fspath(target))
        _store().delete([os.fspath(self)])
        return self._new(target)

    def _find_entry(self) -> Entry | None:
        return _store().find_entry(os.fspath(self))


def _store() -> ObjectStore:
    from deepmac_ablate.storage import gcs

    return gcs.shared_store()

"""Paths in Google's object store: what ``epath.Path("gs://...")`` returns in this project.

Etils would go through TensorFlow, which takes 8 s to import, or through fsspec, which keeps
listings, asks several questions for an answer, and makes buckets for folders.
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
    """A path in a bucket.

    Folders need not be made, and are there as long as something is in them. For errors see
    `object_store.ObjectStore`.
    """

    def exists(self) -> bool:
        """Return True if there is an object or a folder."""
        return self._find_entry() is not None

    def is_dir(self) -> bool:
        """Return True if there is a folder."""
        entry = self._find_entry()
        return entry is not None and entry.is_folder

    def is_file(self) -> bool:
        """Return True if there is an object."""
        entry = self._find_entry()
        return entry is not None and not entry.is_folder

    def stat(self) -> stat_utils.StatResult:
        """Return size and time; raises a `FileNotFoundError` where there is nothing."""
        entry = self._find_entry()
        if entry is None:
            raise FileNotFoundError(f"There is no {self}.")
        return stat_utils.StatResult(
            is_directory=entry.is_folder, length=entry.size, mtime=entry.changed)

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield the paths in the folder; nothing where there is none."""
        for entry in _store().list_entries(os.fspath(self)):
            yield self / entry.name

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield the paths that match a pattern, in which a wildcard matches within a part."""
        part, _, rest = pattern.partition("/")
        wild = any(sign in part for sign in "*?[")
        found = [
            entry.name for entry in _store().list_entries(os.fspath(self))
            if fnmatch.fnmatchcase(entry.name, part)] if wild else [part]
        for path in (self / name for name in found):
            if rest:
                yield from path.glob(rest)
            elif wild or path.exists():
                yield path

    def mkdir(self, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing, as there are no empty folders and buckets are not ours to make."""

    def read_bytes(self) -> bytes:
        """Return the object; raises a `FileNotFoundError` where there is none."""
        content = _store().read(os.fspath(self))
        if content is None:
            raise FileNotFoundError(f"There is no {self}.")
        return content

    def write_bytes(self, data: bytes) -> int:
        """Make or replace the object."""
        _store().write(os.fspath(self), data)
        return len(data)

    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None
    ) -> int:
        """Make or replace the object by a text."""
        return self.write_bytes(data.encode(encoding or "utf-8", errors or "strict"))

    def open(self, mode: str = "r", encoding: str | None = None, **options: Any) -> IO[Any]:  # noqa: ANN401
        """Open the object to be read, all of it at once."""
        if mode not in ("r", "rb"):
            raise NotImplementedError(f"Open in mode {mode!r}: objects are written whole.")
        content = io.BytesIO(self.read_bytes())
        return content if mode == "rb" else io.TextIOWrapper(
            content, encoding or "utf-8", **options)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(f"There is no {self}.")
        _store().delete([os.fspath(self)])

    def rmtree(self, missing_ok: bool = False) -> None:
        """Delete all objects in the folder."""
        found = _store().list_objects(os.fspath(self))
        if not found and not missing_ok:
            raise FileNotFoundError(f"There is no {self}.")
        _store().delete(found)

    def replace(self, target: str | os.PathLike[str]) -> ObjectPath:
        """Give the object the name of another one in a bucket, which is there whole or not yet."""
        _store().copy(os.fspath(self), os.fspath(target))
        _store().delete([os.fspath(self)])
        return self._new(target)

    def _find_entry(self) -> Entry | None:
        return _store().find_entry(os.fspath(self))


def _store() -> ObjectStore:
    from deepmac_ablate.storage import gcs

    return gcs.store()

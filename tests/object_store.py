"""An object store in memory that stands in for Google's, at ``gs://``."""

from __future__ import annotations

import pytest
from etils.epath import backend, gpath
from fsspec.implementations.memory import MemoryFileSystem


class ObjectStore(MemoryFileSystem):
    """An object store in memory under the name of Google's; nothing can be appended there."""

    protocol = ("gcs", "gs")
    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("gs://").strip("/")

    def _open(self, path, mode="rb", **kwargs):
        assert "a" not in mode
        return super()._open(path, mode, **kwargs)


def mount(monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Puts an empty one at ``gs://`` for as long as a test lasts."""
    store = ObjectStore()
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(backend.fsspec_backend, "fs", lambda path: store, raising=True)
    return store

"""Atomic reading and writing of files on disk and on ``gs://``.

Results outlive the machine that wrote them, so a reader must never find a partial file, even if the
writer was killed, was preempted or ran out of disk space.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator

from etils import epath

from deepmac_ablate.errors import UserError

# Registers the paths of `gs://`.
from deepmac_ablate.storage import disk, gcs_path  # noqa: F401
from deepmac_ablate.storage.disk import Entry, StorageError, is_remote


def write(path: epath.Path, content: str | bytes) -> None:
    """Write or replace a file atomically, and flush it to disk to survive a power failure.

    Args:
        path: File in a folder that exists.
        content: New content; text is encoded as UTF-8.

    Raises:
        OSError: If the file cannot be written; the previous file then remains.
    """
    data = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        path.write_bytes(data)
        return
    disk.write(path, data)


def read(path: str | os.PathLike[str]) -> bytes | None:
    """Return the content of a file; None if it does not exist."""
    # On disk, making an `epath.Path` would take longer than reading the file.
    if not is_remote(path):
        return disk.read(path)
    try:
        return epath.Path(path).read_bytes()
    except FileNotFoundError:
        return None


def read_many(
    paths: Iterable[str], tail: int | None = None, unreadable: dict[str, str] | None = None
) -> dict[str, bytes | None]:
    """Return the contents of files by path, or their last `tail` bytes; None for missing files.

    Files on ``gs://`` are read concurrently.

    Args:
        paths: Paths of the files.
        tail: Number of bytes to read at the end of each; None reads all.
        unreadable: Gets a sentence for each file on a disk that cannot be read, by path; None
            raises an error for the first one.

    Raises:
        StorageError: If a file cannot be read.
    """
    paths = list(paths)
    remote = [path for path in paths if is_remote(path)]
    found = dict.fromkeys(paths)
    if remote:
        from deepmac_ablate.storage import gcs

        found |= zip(remote, gcs.shared_store().read_many(remote, tail), strict=True)
    for path in paths:
        if not is_remote(path):
            with _collecting(path, unreadable):
                found[path] = disk.read(path, tail)
    return found


def read_tail(path: str | os.PathLike[str], size: int) -> bytes | None:
    """Return the last bytes of a file, at most `size`; None if it does not exist."""
    return read_many([os.fspath(path)], size)[os.fspath(path)]


def list_folders(
    folders: Iterable[str], unreadable: dict[str, str] | None = None
) -> dict[str, list[Entry]]:
    """Return the entries of folders by path, sorted by name; none for missing folders.

    Args:
        folders: Paths of the folders.
        unreadable: Gets a sentence for each folder on a disk that cannot be listed, as in
            `read_many`.

    Raises:
        StorageError: If a folder cannot be listed.
    """
    folders = list(folders)
    remote = [folder for folder in folders if is_remote(folder)]
    found: dict[str, list[Entry]] = {folder: [] for folder in folders}
    if remote:
        from deepmac_ablate.storage import gcs

        found |= zip(remote, gcs.shared_store().list_folders(remote), strict=True)
    for folder in folders:
        if not is_remote(folder):
            with _collecting(folder, unreadable):
                found[folder] = disk.list_folder(folder)
    return found


@contextlib.contextmanager
def _collecting(path: str, unreadable: dict[str, str] | None) -> Iterator[None]:
    """Add an error about a path to `unreadable`; None raises it."""
    try:
        yield
    except StorageError as error:
        if unreadable is None:
            raise
        unreadable[path] = str(error)


def give_up_unless_reachable(seconds: float) -> None:
    """Let every access to ``gs://`` fail at once, unless it answers within some seconds now."""
    from deepmac_ablate.storage import gcs_access

    gcs_access.give_up_unless_reachable(seconds)


def copy(source: epath.Path, target: epath.Path) -> None:
    """Copy a file atomically within a disk or within ``gs://``, replacing `target`.

    Raises:
        OSError: If it cannot be read or written.
    """
    if is_remote(target):
        from deepmac_ablate.storage import gcs

        gcs.shared_store().copy(os.fspath(source), os.fspath(target))
        return
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def refuse_existing(path: epath.Path) -> None:
    """Raise a UserError if a path that is about to be written exists."""
    if path.exists():
        raise UserError(f"{path} already exists; pass another path or delete it.")


@contextlib.contextmanager
def atomic_folder(path: epath.Path) -> Iterator[epath.Path]:
    """Yield a temporary folder that is renamed to `path` when the context succeeds.

    Args:
        path: Path on disk that does not exist yet; parent folders are made.

    Raises:
        UserError: If `path` exists.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{disk.shorten_name(path.name)}.{os.getpid()}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        refuse_existing(path)
        temporary.rename(path)
    except BaseException:
        temporary.rmtree(missing_ok=True)
        raise

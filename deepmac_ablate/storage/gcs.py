"""Client for Google Cloud Storage: whole objects, concurrent requests, consistent listings.

The underlying client takes half a second to import, so `storage` imports this module only for the
first ``gs://`` path.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import email.utils
import errno
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

# Otherwise a thread of the client asks for the bucket's location, with a permission that users of
# objects may not have.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

import requests
from google.api_core import exceptions
from google.cloud.storage import Blob, Bucket, Client
from google.cloud.storage.retry import DEFAULT_RETRY

from deepmac_ablate.storage import gcs_access
from deepmac_ablate.storage.disk import Entry
from deepmac_ablate.storage.gcs_errors import translating_errors

_T = TypeVar("_T")

# Concurrent requests. Each takes 1 ms here and tens of milliseconds in the store, so more would not
# be faster.
_CONCURRENT = 64


class TimeLimits(NamedTuple):
    """Time limits of requests, in seconds.

    Attributes:
        connect: Time to connect.
        read: Time between two pieces of a response.
        tries: Time after the first try in which a failed request is retried.
    """

    connect: float = 10.0
    read: float = 30.0
    tries: float = 40.0


class Generation(NamedTuple):
    """Generation of an object.

    Attributes:
        number: Number that changes whenever the object is written.
        metadata: Metadata written together with the content.
        age: Seconds since it was written, according to the store's clock.
    """

    number: int
    metadata: Mapping[str, str]
    age: float


class ObjectStore:
    """Access to all buckets with the application default credentials.

    Paths are "gs://bucket/name". Unless stated otherwise, all methods raise a `StorageError`. A
    missing bucket is an error, a missing object is not.

    Args:
        limits: Time limits of each request.
    """

    def __init__(self, limits: TimeLimits | None = None) -> None:
        limits = limits or TimeLimits()
        self._limits: dict[str, Any] = {
            "timeout": (limits.connect, limits.read),
            "retry": DEFAULT_RETRY.with_timeout(limits.tries).with_delay(0.5, 8.0)}
        with translating_errors("gs://"):
            self._new_client = gcs_access.client_factory()
        # A client has only one connection, so it serves one thread at a time.
        self._idle_clients: collections.deque[Client] = collections.deque()
        self._known_buckets: set[str] = set()

    def read(self, path: str, tail: int | None = None) -> bytes | None:
        """Return the content of an object, or its last `tail` bytes; None if it does not exist.

        All bytes belong to one generation, even while another process replaces the object.
        """
        start = None if tail is None else -tail
        with self._opened(path) as blob:
            try:
                # In a single request, as the client resumes an interrupted tail at a wrong byte.
                return blob.download_as_bytes(
                    start=start, single_shot_download=True, **self._limits)
            except exceptions.RequestRangeNotSatisfiable:
                # The object is empty.
                return b""
            except exceptions.NotFound:
                self._check_bucket(blob.bucket)
                return None

    def read_many(self, paths: Sequence[str], tail: int | None = None) -> list[bytes | None]:
        """Read objects concurrently; see `read`."""
        return _map_in_threads(functools.partial(self.read, tail=tail), paths)

    def write(self, path: str, data: bytes) -> None:
        """Write or replace an object atomically."""
        with self._opened(path) as blob:
            blob.upload_from_string(data, "application/octet-stream", **self._limits)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; missing ones are ignored."""
        _map_in_threads(self._delete_one, paths)

    def find_entry(self, path: str) -> Entry | None:
        """Return the object or folder at a path; None if there is neither."""
        with self._opened(path) as blob:
            found = blob.bucket.get_blob(blob.name, **self._limits) if blob.name else None
            if found is not None:
                return _entry(found)
            # Raises for a missing bucket.
            inside = self._list(blob.bucket, _folder_prefix(blob.name), max_results=1)
            if not list(inside):
                return None
        return Entry(path.rstrip("/").rpartition("/")[2], is_folder=True)

    def list_folder(self, path: str) -> list[Entry]:
        """Return the objects and folders in a folder, sorted by name; none if it does not exist."""
        with self._opened(path) as blob:
            prefix = _folder_prefix(blob.name)
            listing = self._list(
                blob.bucket, prefix, delimiter="/",
                fields="items(name,size,updated),prefixes,nextPageToken")
            # TensorFlow writes an object for the folder itself.
            found = [_entry(each) for each in listing if each.name != prefix]
            # Prefixes are known once all pages of the listing have been read.
            found += [Entry(_base_name(name), is_folder=True) for name in listing.prefixes]
        return sorted(found)

    def list_folders(self, paths: Sequence[str]) -> list[list[Entry]]:
        """List folders concurrently; see `list_folder`."""
        return _map_in_threads(self.list_folder, paths)

    def list_objects(self, path: str) -> list[str]:
        """Return the paths of all objects in a folder and its subfolders."""
        with self._opened(path) as blob:
            listing = self._list(
                blob.bucket, _folder_prefix(blob.name), fields="items(name),nextPageToken")
            return [f"gs://{blob.bucket.name}/{each.name}" for each in listing]

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the store without downloading it.

        Raises:
            FileNotFoundError: If the source does not exist.
        """
        with self._opened(source) as blob, self._opened(target) as copied:
            token = None
            try:
                while (token := copied.rewrite(blob, token, **self._limits)[0]) is not None:
                    pass
            except exceptions.NotFound:
                self._check_bucket(blob.bucket)
                self._check_bucket(copied.bucket)
                raise FileNotFoundError(errno.ENOENT, "No such object", source) from None

    def write_generation(
        self, path: str, data: bytes, metadata: Mapping[str, str], replaced: int
    ) -> int | None:
        """Write an object only if it still has the expected generation.

        Args:
            path: Path of the object.
            data: New content.
            metadata: Metadata that `find_generation` returns.
            replaced: Number of the generation to replace; 0 if the object must not exist yet.

        Returns:
            The number of the new generation; None if the object had another generation.
        """
        with self._opened(path) as blob:
            blob.metadata = dict(metadata)
            try:
                blob.upload_from_string(
                    data, "application/json", if_generation_match=replaced, **self._limits)
            except exceptions.PreconditionFailed:
                return None
            return blob.generation

    def append_objects(self, path: str, parts: Sequence[str], replaced: int) -> int | None:
        """Append up to 31 objects of a bucket to another one within the store; they remain.

        The object is created if `replaced` is 0, see `write_generation`. Returns the number of the
        new generation; None if the object had another one, or a part does not exist.
        """
        with self._opened(path) as blob:
            bucket = f"gs://{blob.bucket.name}/"
            sources = [blob] if replaced else []
            sources += [blob.bucket.blob(part.removeprefix(bucket)) for part in parts]
            try:
                blob.compose(sources, if_generation_match=replaced, **self._limits)
            except (exceptions.PreconditionFailed, exceptions.NotFound):
                return None
            return blob.generation

    def find_generation(self, path: str) -> Generation | None:
        """Return the current generation of an object; None if it does not exist."""
        with self._opened(path) as blob:
            found = blob.bucket.get_blob(blob.name, **self._limits)
            if found is None:
                return None
            # The client does not expose the store's time, but every response has it.
            ask = self._limits["retry"](requests.head)
            answer = ask(blob.client.api_endpoint, timeout=self._limits["timeout"])
        date = answer.headers.get("Date")
        # Without a time the object counts as new, so that a lock stays with its holder.
        now = email.utils.parsedate_to_datetime(date) if date else found.updated
        age = max(0.0, (now - found.updated).total_seconds())
        return Generation(found.generation, found.metadata or {}, age)

    def delete_generation(self, path: str, number: int) -> None:
        """Delete an object only if it still has the expected generation."""
        with self._opened(path) as blob, contextlib.suppress(
                exceptions.NotFound, exceptions.PreconditionFailed):
            blob.delete(if_generation_match=number, **self._limits)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[Blob]:
        """Yield the object at a path with a client of its own, and translate errors."""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        with translating_errors(path):
            try:
                client = self._idle_clients.pop()
            except IndexError:
                client = self._new_client()
            try:
                yield client.bucket(bucket).blob(name)
            finally:
                self._idle_clients.append(client)

    def _delete_one(self, path: str) -> None:
        with self._opened(path) as blob:
            try:
                blob.delete(**self._limits)
            except exceptions.NotFound:
                self._check_bucket(blob.bucket)

    def _list(self, bucket: Bucket, prefix: str, **options: Any) -> Any:  # noqa: ANN401
        return bucket.client.list_blobs(bucket, prefix=prefix, **options, **self._limits)

    def _check_bucket(self, bucket: Bucket) -> None:
        """Raise `exceptions.NotFound` if there is no such bucket."""
        if bucket.name not in self._known_buckets:
            # An account without permission to list may still read.
            with contextlib.suppress(exceptions.Forbidden):
                list(self._list(bucket, "", max_results=1))
            self._known_buckets.add(bucket.name)


def shared_store() -> ObjectStore:
    """Return the store of this process.

    Raises:
        StorageError: If it was found to be out of reach, see `gcs_access.give_up_unless_reachable`.
    """
    gcs_access.check_reachable()
    # Tests use several emulators, one after another.
    return _store(os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())


@functools.lru_cache(maxsize=1)
def _store(emulator: str | None, pid: int) -> ObjectStore:
    del emulator, pid
    return ObjectStore()


def _map_in_threads(work: Callable[[str], _T], paths: Sequence[str]) -> list[_T]:
    """Apply a function to paths concurrently; an error cancels the calls that have not started."""
    if len(paths) < 2:
        return [work(path) for path in paths]
    with concurrent.futures.ThreadPoolExecutor(min(_CONCURRENT, len(paths))) as threads:
        return list(threads.map(work, paths))


def _entry(blob: Blob) -> Entry:
    return Entry(_base_name(blob.name), False, blob.size, blob.updated.timestamp())


def _base_name(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _folder_prefix(name: str) -> str:
    return f"{name.rstrip('/')}/" if name else ""

"""Google's object store at ``gs://``: whole objects, many at a time, and never an old listing.

The client takes half a second to import, hence apart from `storage`, which waits for a first
``gs://`` path.
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

# Without this, the client asks for a bucket's location in a thread of its own, with a right that
# a user of objects need not have.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

import google.auth
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.storage import Blob, Bucket, Client
from google.cloud.storage.retry import DEFAULT_RETRY

from deepmac_ablate.storage.disk import Entry
from deepmac_ablate.storage.gcs_errors import translating_errors

_T = TypeVar("_T")

# Requests at a time. Each takes 1 ms of this process and some hundredths of a second of the store,
# so that more would not be faster.
_CONCURRENT = 64


class TimeLimits(NamedTuple):
    """Seconds after which a request fails.

    Attributes:
        connect: To connect.
        read: Between two pieces of an answer.
        tries: No request is repeated later than this after the first.
    """

    connect: float = 10.0
    read: float = 30.0
    tries: float = 40.0


class Generation(NamedTuple):
    """One generation of an object.

    Attributes:
        number: Changes whenever the object is written.
        metadata: Written together with the content.
        age: Seconds since it was written, by the store's clock.
    """

    number: int
    metadata: Mapping[str, str]
    age: float


class ObjectStore:
    """All buckets, with the credentials that Google's tools find.

    Paths are "gs://bucket/name". All methods raise a `StorageError` unless they say otherwise. A
    missing bucket is an error, a missing object is not.

    Args:
        limits: For each request.
    """

    def __init__(self, limits: TimeLimits | None = None) -> None:
        limits = limits or TimeLimits()
        self._limits: dict[str, Any] = {
            "timeout": (limits.connect, limits.read),
            "retry": DEFAULT_RETRY.with_timeout(limits.tries).with_delay(0.5, 8.0)}
        with translating_errors("gs://"):
            self._new_client = _client_factory()
        # A client has one connection at a time, so each is used by one thread at a time.
        self._idle_clients: collections.deque[Client] = collections.deque()
        self._known_buckets: set[str] = set()

    def read(self, path: str, tail: int | None = None) -> bytes | None:
        """Return an object, or its last `tail` bytes; None where there is none.

        All bytes are of one generation, even while another process replaces the object.
        """
        start = None if tail is None else -tail
        with self._opened(path) as blob:
            try:
                # A single shot, as the client continues an interrupted tail at a wrong byte.
                return blob.download_as_bytes(
                    start=start, single_shot_download=True, **self._limits)
            except exceptions.RequestRangeNotSatisfiable:
                # An empty object has no last bytes.
                return b""
            except exceptions.NotFound:
                self._check_bucket(blob.bucket)
                return None

    def read_many(self, paths: Sequence[str], tail: int | None = None) -> list[bytes | None]:
        """Return what `read` returns of each path."""
        return _map_in_threads(functools.partial(self.read, tail=tail), paths)

    def write(self, path: str, data: bytes) -> None:
        """Make or replace an object, in one step."""
        with self._opened(path) as blob:
            blob.upload_from_string(data, "application/octet-stream", **self._limits)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; those that are missing are gone already."""
        _map_in_threads(self._delete_one, paths)

    def find_entry(self, path: str) -> Entry | None:
        """Return the object or folder at a path; None where there is nothing."""
        with self._opened(path) as blob:
            found = blob.bucket.get_blob(blob.name, **self._limits) if blob.name else None
            if found is not None:
                return _entry(found)
            # A missing bucket is an error here.
            inside = self._list(blob.bucket, _folder_prefix(blob.name), max_results=1)
            if not list(inside):
                return None
        return Entry(path.rstrip("/").rpartition("/")[2], is_folder=True)

    def list_entries(self, path: str) -> list[Entry]:
        """Return the objects and folders in a folder, by name; nothing where there is none."""
        with self._opened(path) as blob:
            prefix = _folder_prefix(blob.name)
            listing = self._list(
                blob.bucket, prefix, delimiter="/",
                fields="items(name,size,updated),prefixes,nextPageToken")
            # TensorFlow makes an object for the folder itself.
            found = [_entry(each) for each in listing if each.name != prefix]
            # These come with the pages of the listing.
            found += [Entry(_base_name(name), is_folder=True) for name in listing.prefixes]
        return sorted(found)

    def list_entries_of_many(self, paths: Sequence[str]) -> list[list[Entry]]:
        """Return what `list_entries` returns of each path."""
        return _map_in_threads(self.list_entries, paths)

    def list_objects(self, path: str) -> list[str]:
        """Return the paths of all objects in a folder and its folders."""
        with self._opened(path) as blob:
            listing = self._list(
                blob.bucket, _folder_prefix(blob.name), fields="items(name),nextPageToken")
            return [f"gs://{blob.bucket.name}/{each.name}" for each in listing]

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the store, without fetching it.

        Raises:
            FileNotFoundError: If there is no source.
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
        """Write an object if it still is in a generation.

        Args:
            path: Of the object.
            data: Its content, for people.
            metadata: Read back by `find_generation`.
            replaced: Number of the generation to replace; 0 if there must be no object yet.

        Returns:
            The new generation's number; None if the object was in another generation.
        """
        with self._opened(path) as blob:
            blob.metadata = dict(metadata)
            try:
                blob.upload_from_string(
                    data, "application/json", if_generation_match=replaced, **self._limits)
            except exceptions.PreconditionFailed:
                return None
            return blob.generation

    def find_generation(self, path: str) -> Generation | None:
        """Return the present generation of an object; None where there is none."""
        with self._opened(path) as blob:
            found = blob.bucket.get_blob(blob.name, **self._limits)
            if found is None:
                return None
            # The client does not tell the store's time, but every answer of the store does.
            ask = self._limits["retry"](requests.head)
            answer = ask(blob.client.api_endpoint, timeout=self._limits["timeout"])
        date = answer.headers.get("Date")
        # An object of unknown age counts as new: its lock is left to its holder.
        now = email.utils.parsedate_to_datetime(date) if date else found.updated
        age = max(0.0, (now - found.updated).total_seconds())
        return Generation(found.generation, found.metadata or {}, age)

    def delete_generation(self, path: str, number: int) -> None:
        """Delete an object if it still is in a generation."""
        with self._opened(path) as blob, contextlib.suppress(
                exceptions.NotFound, exceptions.PreconditionFailed):
            blob.delete(if_generation_match=number, **self._limits)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[Blob]:
        """Yield a path's object, with a client of its own, and translates errors."""
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
            # An account that may not list it may yet read.
            with contextlib.suppress(exceptions.Forbidden):
                list(self._list(bucket, "", max_results=1))
            self._known_buckets.add(bucket.name)


def store() -> ObjectStore:
    """Return the store of this process."""
    # Tests have several, one after the other.
    return _store(os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())


@functools.lru_cache(maxsize=1)
def _store(emulator: str | None, pid: int) -> ObjectStore:
    del emulator, pid
    return ObjectStore()


def _client_factory() -> Callable[[], Client]:
    """Return the maker of clients, which share one set of credentials."""
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        endpoint = emulator if "://" in emulator else f"http://{emulator}"
        return functools.partial(
            Client, "emulated", AnonymousCredentials(), client_options={"api_endpoint": endpoint})
    return functools.partial(Client, None, _find_credentials())


def _find_credentials() -> Credentials:
    try:
        return google.auth.default(scopes=Client.SCOPE)[0]
    except DefaultCredentialsError:
        if "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
            raise
        # Public buckets can be read without any; the others refuse.
        return AnonymousCredentials()


def _map_in_threads(work: Callable[[str], _T], paths: Sequence[str]) -> list[_T]:
    """Apply `work` to many paths at a time; an error of one cancels those that wait."""
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

"""Google's object store at ``gs://``: whole objects, many at a time, and never an old listing.

gcsfs takes a second to import, hence apart from `storage`, which waits for a first ``gs://`` path.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

# Without this, gcsfs asks another service what kind of bucket each is, for a minute if need be.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

import aiohttp
import gcsfs
import google.auth.exceptions
import requests
from fsspec import asyn
from fsspec.exceptions import FSTimeoutError
from gcsfs.retry import HttpError, NonRetryableError

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.disk import Entry

_T = TypeVar("_T")

# Requests at a time; the store answers each in some hundredths of a second.
_CONCURRENT = 64
_SECONDS_TO_CONNECT = 15.0
# Between two pieces of an answer.
_SECONDS_TO_READ = 60.0

_LOG_IN = (
    "log in with `gcloud auth application-default login`, or name the file of a key in "
    "GOOGLE_APPLICATION_CREDENTIALS")

# What gcsfs and those below it raise beside `OSError`.
_ERRORS = (
    OSError, ValueError, HttpError, NonRetryableError, FSTimeoutError, asyncio.TimeoutError,
    aiohttp.ClientError, requests.RequestException, google.auth.exceptions.GoogleAuthError)


class StorageError(UserError, OSError):
    """The store does not do what it was asked; in one sentence.

    It is an `OSError` for those who go on without a file, and else a `UserError`, as mostly rights,
    a name or the network are wrong.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.strerror = sentence


class ObjectStore:
    """All buckets, with the credentials that Google's tools find.

    Paths are "gs://bucket/name". Everything raises a `StorageError` for whatever is not said
    otherwise. A bucket that does not exist is an error, what is missing in one is not.
    """

    def __init__(self) -> None:
        # What gcsfs raises is told in one sentence; its log has tracebacks of it.
        if "GCSFS_DEBUG" not in os.environ:
            logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
        with _told("gs://"):
            self._files = gcsfs.GCSFileSystem(
                token="anon" if os.environ.get("STORAGE_EMULATOR_HOST") else None,
                requests_timeout=aiohttp.ClientTimeout(
                    sock_connect=_SECONDS_TO_CONNECT, sock_read=_SECONDS_TO_READ),
                use_listings_cache=False, skip_instance_cache=True)
        self._known_buckets: set[str] = set()

    def read(self, path: str, tail: int | None = None) -> bytes | None:
        """Returns an object, or its last `tail` bytes; None where there is none.

        It is one generation of it, whoever replaces it meanwhile.
        """
        return self._wait(self._read(path, tail))

    def read_many(self, paths: Sequence[str], tail: int | None = None) -> list[bytes | None]:
        """Returns what `read` returns of each path."""
        return self._wait(_all([functools.partial(self._read, path, tail) for path in paths]))

    def write(self, path: str, data: bytes) -> None:
        """Makes or replaces an object, in one step."""
        with _told(path):
            try:
                self._files.pipe_file(path, data)
            except FileNotFoundError as error:
                raise _no_bucket(path) from error

    def delete(self, paths: Sequence[str]) -> None:
        """Deletes objects; those that are not there are gone already."""
        self._wait(_all([functools.partial(self._delete, path) for path in paths]))

    def look(self, path: str) -> Entry | None:
        """Returns what is at a path; None where there is nothing."""
        return self._wait(self._look(path))

    def entries(self, path: str) -> list[Entry]:
        """Returns what is in a folder, by name; nothing where there is no folder."""
        return self._wait(self._entries(path))

    def entries_of_many(self, paths: Sequence[str]) -> list[list[Entry]]:
        """Returns what `entries` returns of each path."""
        return self._wait(_all([functools.partial(self._entries, path) for path in paths]))

    def below(self, path: str) -> list[str]:
        """Returns the paths of all objects in a folder and its folders."""
        return self._wait(self._below(path))

    def copy(self, source: str, target: str) -> None:
        """Copies an object, without fetching it.

        Raises:
            FileNotFoundError: If there is none.
        """
        with _told(source):
            self._files.cp_file(source, target)

    def _wait(self, work: Awaitable[_T]) -> _T:
        async def run() -> _T:
            return await work

        return asyn.sync(self._files.loop, run)

    async def _read(self, path: str, tail: int | None) -> bytes | None:
        with _told(path):
            try:
                return await self._files._cat_file(path, start=None if tail is None else -tail)
            except FileNotFoundError:
                await self._check_bucket(path)
                return None
            except HttpError as error:
                if error.code == 416:
                    # An empty object has no last bytes.
                    return b""
                raise

    async def _delete(self, path: str) -> None:
        with _told(path):
            try:
                await self._files._rm_file(path)
            except FileNotFoundError:
                await self._check_bucket(path)

    async def _look(self, path: str) -> Entry | None:
        with _told(path):
            try:
                info = await self._files._info(path)
            except FileNotFoundError:
                await self._check_bucket(path)
                return None
        return _entry(info)

    async def _entries(self, path: str) -> list[Entry]:
        with _told(path):
            try:
                found = await self._files._ls(path, detail=True)
            except FileNotFoundError:
                found = []
            await self._check_bucket(path)
        # The folder itself is there as an object where TensorFlow has made it.
        itself = path.removeprefix("gs://").rstrip("/")
        return [_entry(info) for info in found if info["name"].rstrip("/") != itself]

    async def _below(self, path: str) -> list[str]:
        with _told(path):
            found = await self._files._find(path)
            await self._check_bucket(path)
        return [f"gs://{name}" for name in found]

    async def _check_bucket(self, path: str) -> None:
        """Raises if there is no such bucket, as gcsfs finds nothing in it either way."""
        bucket = _bucket(path)
        if bucket in self._known_buckets:
            return
        try:
            await self._files._call("GET", "b/{}/o", bucket, maxResults=1)
        except FileNotFoundError as error:
            raise _no_bucket(path) from error
        except OSError as error:
            # Whoever may not list it may yet read.
            if not str(error).startswith("Forbidden"):
                raise
        self._known_buckets.add(bucket)


def store() -> ObjectStore:
    """Returns the store of this process."""
    # Tests have several, one after the other.
    return _store(os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())


@functools.lru_cache(maxsize=1)
def _store(emulator: str | None, pid: int) -> ObjectStore:
    del emulator, pid
    return ObjectStore()


async def _all(works: Sequence[Callable[[], Awaitable[_T]]]) -> list[_T]:
    """Does some works at a time; raises what the first to fail raised, once none runs any more."""
    turns = asyncio.Semaphore(_CONCURRENT)

    async def one(work: Callable[[], Awaitable[_T]]) -> _T:
        async with turns:
            return await work()

    done = await asyncio.gather(*map(one, works), return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return done


def _entry(info: dict[str, Any]) -> Entry:
    name = info["name"].rstrip("/").rpartition("/")[2]
    if info["type"] == "directory":
        return Entry(name, is_folder=True)
    return Entry(name, False, info["size"], info["mtime"].timestamp())


def _bucket(path: str) -> str:
    return path.removeprefix("gs://").partition("/")[0]


def _no_bucket(path: str) -> StorageError:
    return StorageError(f"There is no bucket gs://{_bucket(path)}.")


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Says in a sentence what goes wrong with a path; what is missing stays an error of its own."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "No such object", path) from error
    except _ERRORS as error:
        raise StorageError(_sentence(path, error)) from error


def _sentence(path: str, error: Exception) -> str:
    code = getattr(error, "code", None)
    said = str(error).strip().removesuffix(f", {code}") or type(error).__name__
    # What follows the first line is Google's own.
    words = said.partition("\n")[2] or said
    if code == 401 or isinstance(
            error, google.auth.exceptions.GoogleAuthError | NonRetryableError):
        return f"Google wants other credentials for {path}; {_LOG_IN}."
    if said.startswith("Forbidden"):
        return f"Google forbids access to {path}: {words}"
    if code == 400 or said.startswith("Bad Request"):
        return f"Google takes {path} for no place: {words}"
    return f"Cannot reach {path}: {words}"

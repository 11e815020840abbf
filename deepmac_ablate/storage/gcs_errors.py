"""Errors of Google's object store, each told in one sentence."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import requests
import urllib3
from google.api_core import exceptions
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from deepmac_ablate.errors import UserError

_LOG_IN = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the "
    "file of a key")

# The client raises these, and lets through those of the libraries below it.
_ERRORS = (
    OSError, ValueError, exceptions.GoogleAPIError, auth.GoogleAuthError, DataCorruption,
    InvalidResponse, urllib3.exceptions.HTTPError)


class StorageError(UserError, OSError):
    """Failure of the store, told in one sentence.

    It is an `OSError` for those who go on without a file, and else a `UserError`, as mostly rights,
    a name or the network are wrong.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.strerror = sentence


@contextlib.contextmanager
def translating_errors(path: str) -> Iterator[None]:
    """Turn errors of the client into a `StorageError` that names a path.

    Raises:
        StorageError: If the context fails; a `FileNotFoundError` passes.
    """
    try:
        yield
    except (StorageError, FileNotFoundError):
        raise
    except exceptions.NotFound as error:
        # Methods handle missing objects themselves.
        bucket = path.removeprefix("gs://").partition("/")[0]
        raise StorageError(f"There is no bucket gs://{bucket}.") from error
    except exceptions.RetryError as error:
        raise StorageError(_sentence(path, error.cause or error)) from error
    except _ERRORS as error:
        raise StorageError(_sentence(path, error)) from error


def _sentence(path: str, error: Exception) -> str:
    response = getattr(error, "response", None)
    status = None if response is None else response.status_code
    words = _words(error, response)
    # The second is how the client says that there are none.
    if status == 401 or isinstance(error, auth.InvalidOperation):
        return f"Google needs valid credentials for {path}; {_LOG_IN}."
    if isinstance(error, auth.DefaultCredentialsError | auth.RefreshError):
        return f"The Google credentials for {path} cannot be used ({words}); {_LOG_IN}."
    if status == 403:
        return f"Access to {path} was denied: {words}"
    if status == 400 or (isinstance(error, ValueError) and not isinstance(error, OSError)):
        return f"{path} is not a valid location: {words}"
    return f"Cannot reach {path}: {words}"


def _words(error: BaseException, response: requests.Response | None) -> str:
    """Return the store's own words, or else those of the innermost error, in one line."""
    try:
        words = response.json()["error"]["message"]
    except (AttributeError, ValueError, LookupError, TypeError):
        while error.args and isinstance(error.args[0], BaseException):
            error = error.args[0]
        # Errors that the client makes of answers begin with the request.
        words = re.sub(r"^[A-Z]+ https?://\S+ ", "", str(getattr(error, "reason", None) or error))
    return " ".join(words.split()) or type(error).__name__

"""Errors of Google Cloud Storage, each translated into one sentence."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import requests
import urllib3
from google.api_core import exceptions
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from deepmac_ablate.storage.disk import StorageError

_LOG_IN = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key "
    "file")

# Errors of the client and of the libraries that it uses.
_ERRORS = (
    OSError, ValueError, exceptions.GoogleAPIError, auth.GoogleAuthError, DataCorruption,
    InvalidResponse, urllib3.exceptions.HTTPError)


@contextlib.contextmanager
def translating_errors(path: str) -> Iterator[None]:
    """Translate errors of the client into a `StorageError` that names a path.

    Raises:
        StorageError: If the context fails, except with a `FileNotFoundError`.
    """
    try:
        yield
    except (StorageError, FileNotFoundError):
        raise
    except exceptions.NotFound as error:
        # The methods of `ObjectStore` handle missing objects themselves.
        bucket = path.removeprefix("gs://").partition("/")[0]
        raise StorageError(f"There is no bucket gs://{bucket}.") from error
    except exceptions.RetryError as error:
        raise StorageError(_sentence(path, error.cause or error)) from error
    except _ERRORS as error:
        raise StorageError(_sentence(path, error)) from error


def _sentence(path: str, error: Exception) -> str:
    response = getattr(error, "response", None)
    status = None if response is None else response.status_code
    words = _message(error, response)
    # The client raises `InvalidOperation` if there are no credentials.
    if status == 401 or isinstance(error, auth.InvalidOperation):
        return f"Access to {path} needs valid Google credentials; {_LOG_IN}."
    if isinstance(error, auth.DefaultCredentialsError | auth.RefreshError):
        return f"The Google credentials for {path} cannot be used ({words}); {_LOG_IN}."
    if status == 403:
        return f"Access to {path} was denied: {words}"
    if status == 400 or (isinstance(error, ValueError) and not isinstance(error, OSError)):
        return f"{path} is not a valid location: {words}"
    return f"Cannot reach {path}: {words}"


def _message(error: BaseException, response: requests.Response | None) -> str:
    """Return the message of the store, or else that of the innermost error, on one line."""
    try:
        words = response.json()["error"]["message"]
    except (AttributeError, ValueError, LookupError, TypeError):
        while error.args and isinstance(error.args[0], BaseException):
            error = error.args[0]
        # Errors that the client derives from responses start with the request.
        words = re.sub(r"^[A-Z]+ https?://\S+ ", "", str(getattr(error, "reason", None) or error))
    return " ".join(words.split()) or type(error).__name__

"""Errors of Google's services as one-sentence messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from deepmac_ablate.errors import UserError

LOGIN = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"

_MAX_LENGTH = 600


@contextlib.contextmanager
def translating_errors(service: str, task: str, role: str) -> Iterator[None]:
    """Turn errors of Google's client libraries into a `UserError`.

    Args:
        service: Service and its location, such as "Vertex AI (project p, region r)".
        task: Task in the infinitive, such as "start the job x".
        role: Google Cloud role that permits the task.

    Raises:
        UserError: If the service refuses the task, credentials do not work, or it does not answer.
    """
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as credentials

    failed = f"{service} did not {task}"
    try:
        yield
    except credentials.TransportError as error:
        raise UserError(_no_answer(failed, error)) from error
    except credentials.GoogleAuthError as error:
        raise UserError(
            f"{failed}, as the Google Cloud credentials are invalid or have expired: {LOGIN} "
            f"({one_line(str(error.args[0] if error.args else error))}).") from error
    except exceptions.Unauthorized as error:
        raise UserError(
            f"{failed}, as it does not accept these Google Cloud credentials: {LOGIN} "
            f"({_service_message(error)}).") from error
    except exceptions.Forbidden as error:
        raise UserError(
            f"{failed}: {_service_message(error)} (PERMISSION_DENIED); the account needs the role "
            f"{role}, and the service's API must be enabled in the project.") from error
    except exceptions.NotFound as error:
        raise UserError(f"{failed}: {_service_message(error)} (NOT_FOUND).") from error
    except exceptions.TooManyRequests as error:
        raise UserError(_quota_exceeded(failed, error)) from error
    except exceptions.RetryError as error:
        if isinstance(error.cause, exceptions.TooManyRequests):
            raise UserError(_quota_exceeded(failed, error.cause)) from error
        raise UserError(_no_answer(failed, error.cause or error)) from error
    except (exceptions.ServerError, requests.exceptions.RequestException) as error:
        raise UserError(_no_answer(failed, error)) from error
    except exceptions.GoogleAPICallError as error:
        raise UserError(f"{failed}: {_service_message(error)}.") from error


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may help: the service did not answer or received too many requests."""
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as credentials

    return isinstance(error, (
        exceptions.ServerError, exceptions.TooManyRequests, credentials.TransportError,
        requests.exceptions.ConnectionError, requests.exceptions.Timeout,
        requests.exceptions.ChunkedEncodingError))


def one_line(text: str) -> str:
    """Return a message in one line, without its final period, cut if it is very long."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _MAX_LENGTH else f"{line[:_MAX_LENGTH]}..."


def _service_message(error: Exception) -> str:
    """Return the service's own message, without the method and URL that clients prepend."""
    text = str(getattr(error, "message", error))
    before, separator, after = text.partition(": ")
    return one_line(after if separator and "://" in before else text)


def _quota_exceeded(failed: str, error: Exception) -> str:
    return (f"{failed}: {_service_message(error)} (RESOURCE_EXHAUSTED); request more quota, or run "
            "fewer trials at a time.")


def _no_answer(failed: str, error: Exception) -> str:
    return (f"{failed}, as it does not answer ({_service_message(error)}); check the network and "
            "the spelling of the region, and try again.")

"""What Google's services answer where they do not do what they are asked, in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from deepmac_ablate.errors import UserError

LOGIN = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"

_LONGEST = 600


@contextlib.contextmanager
def told(service: str, task: str, role: str) -> Iterator[None]:
    """Turn errors of Google's clients into sentences.

    Args:
        service: Who is asked, and where, such as "Vertex AI (project p, region r)".
        task: What did not happen, such as "start the job x".
        role: Which one of Google's roles lets an account do that.

    Raises:
        UserError: For what the service refuses, for credentials that do not work, and where nobody
            answers.
    """
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as credentials

    failed = f"{service} did not {task}"
    try:
        yield
    except credentials.TransportError as error:
        raise UserError(_silence(failed, error)) from error
    except credentials.GoogleAuthError as error:
        raise UserError(
            f"{failed}, as the Google Cloud credentials do not work (any more): {LOGIN} "
            f"({one_line(str(error.args[0] if error.args else error))}).") from error
    except exceptions.Unauthorized as error:
        raise UserError(
            f"{failed}, as it does not know these Google Cloud credentials: {LOGIN} "
            f"({_words(error)}).") from error
    except exceptions.Forbidden as error:
        raise UserError(
            f"{failed}: {_words(error)} (PERMISSION_DENIED); the account needs the role {role}, "
            "and the project the service's API.") from error
    except exceptions.NotFound as error:
        raise UserError(f"{failed}, as there is none: {_words(error)} (NOT_FOUND).") from error
    except exceptions.TooManyRequests as error:
        raise UserError(_quota(failed, error)) from error
    except exceptions.RetryError as error:
        if isinstance(error.cause, exceptions.TooManyRequests):
            raise UserError(_quota(failed, error.cause)) from error
        raise UserError(_silence(failed, error.cause or error)) from error
    except (exceptions.ServerError, requests.exceptions.RequestException) as error:
        raise UserError(_silence(failed, error)) from error
    except exceptions.GoogleAPICallError as error:
        raise UserError(f"{failed}: {_words(error)}.") from error


def is_passing(error: BaseException) -> bool:
    """Return whether asking again may help: nobody answered, or too much was asked at once."""
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as credentials

    return isinstance(error, (
        exceptions.ServerError, exceptions.TooManyRequests, credentials.TransportError,
        requests.exceptions.ConnectionError, requests.exceptions.Timeout,
        requests.exceptions.ChunkedEncodingError))


def one_line(text: str) -> str:
    """Return a message in one line, without its full stop; a very long one is cut."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _words(error: Exception) -> str:
    """The service's own message; the clients put method and address of the request before it."""
    text = str(getattr(error, "message", error))
    before, separator, after = text.partition(": ")
    return one_line(after if separator and "://" in before else text)


def _quota(failed: str, error: Exception) -> str:
    return (f"{failed}: {_words(error)} (RESOURCE_EXHAUSTED); ask for more quota, or run fewer "
            "trials at a time.")


def _silence(failed: str, error: Exception) -> str:
    return (f"{failed}, as nobody answers there ({_words(error)}); look at the network and at the "
            "spelling of the region, and try again.")

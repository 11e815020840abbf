"""Who asks Google's services, where they are, and for which project."""

from __future__ import annotations

import ipaddress
import os
import urllib.parse
from typing import TYPE_CHECKING, Literal, NamedTuple

from deepmac_ablate.cloud.errors import LOGIN, one_line
from deepmac_ablate.errors import UserError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Access(NamedTuple):
    """What a client of Google's is made with.

    Attributes:
        endpoint: a host, or the URL of a server on this machine.
        credentials: of the application default; none for a server on this machine.
    """

    endpoint: str
    credentials: Credentials


def access(service: Literal["aiplatform", "secretmanager"], host: str) -> Access:
    """Return how a service is reached.

    gcloud's variables for its endpoints hold here too: CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM
    and CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER. Plain http is for servers on this machine,
    which get no credentials.

    Args:
        service: As in the names of the variables.
        host: Where the service is without them.

    Raises:
        UserError: If there are no credentials, or a variable names no endpoint.
    """
    from google.auth.credentials import AnonymousCredentials

    variable = f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}"
    override = os.environ.get(variable, "")
    if not override:
        return Access(host, _default()[0])
    url = urllib.parse.urlsplit(override)
    if url.scheme == "http" and url.netloc and _is_loopback(url.hostname):
        return Access(f"http://{url.netloc}", AnonymousCredentials())
    if url.scheme != "https" or not url.netloc:
        raise UserError(
            f"{variable} = {override!r} is no endpoint: give https://HOST/, or http://127.0.0.1:PORT/"
            " for a server on this machine, as credentials never go out over plain http.")
    return Access(url.netloc, _default()[0])


def project(given: str | None = None) -> str:
    """Return the Google Cloud project: the given one, GOOGLE_CLOUD_PROJECT, or the credentials'.

    Raises:
        UserError: If none of them names one.
    """
    named = given or os.environ.get("GOOGLE_CLOUD_PROJECT")
    if named:
        return named
    missing = ("No Google Cloud project is known: give --project, or set GOOGLE_CLOUD_PROJECT (the "
               "application default credentials name none).")
    try:
        found = _default()[1]
    except UserError as error:
        raise UserError(missing) from error
    if not found:
        raise UserError(missing)
    return found


def _default() -> tuple[Credentials, str | None]:
    """The application default credentials and their project."""
    import google.auth
    from google.auth import exceptions

    try:
        return google.auth.default(scopes=[_SCOPE])
    except (exceptions.GoogleAuthError, OSError) as error:
        named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if named:
            raise UserError(
                f"GOOGLE_APPLICATION_CREDENTIALS = {named!r} holds no credentials that can be used "
                f"({one_line(str(error))}).") from error
        raise UserError(
            f"There are no Google Cloud credentials: {LOGIN}; to see the requests without any, "
            "--dry-run.") from error


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False

"""Endpoints, credentials and project for Google's services."""

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


class ServiceAccess(NamedTuple):
    """Parameters of a client of a Google service.

    Attributes:
        endpoint: Host name, or the URL of a server on this machine.
        credentials: Application default credentials; anonymous for a server on this machine.
    """

    endpoint: str
    credentials: Credentials


def service_access(
    service: Literal["aiplatform", "secretmanager"], host: str
) -> ServiceAccess:
    """Return the endpoint and the credentials for a service.

    The endpoint variables of gcloud are respected: CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM and
    CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER. Plain http is for servers on this machine, which
    receive no credentials.

    Args:
        service: Name of the service as in these variables.
        host: Host name of the service if its variable is not set.

    Raises:
        UserError: If there are no credentials, or the variable is not a valid endpoint.
    """
    from google.auth.credentials import AnonymousCredentials

    variable = f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}"
    override = os.environ.get(variable, "")
    if not override:
        return ServiceAccess(host, _default_credentials()[0])
    url = urllib.parse.urlsplit(override)
    if url.scheme == "http" and url.netloc and _is_loopback(url.hostname):
        return ServiceAccess(f"http://{url.netloc}", AnonymousCredentials())
    if url.scheme != "https" or not url.netloc:
        raise UserError(
            f"{variable} must be https://HOST/, or http://127.0.0.1:PORT/ for a server on this "
            f"machine (credentials are never sent over plain http); got {override!r}.")
    return ServiceAccess(url.netloc, _default_credentials()[0])


def find_project(given: str | None = None) -> str:
    """Return the Google Cloud project: the given one, GOOGLE_CLOUD_PROJECT, or the credentials'.

    Raises:
        UserError: If none of them names a project.
    """
    named = given or os.environ.get("GOOGLE_CLOUD_PROJECT")
    if named:
        return named
    missing = ("The Google Cloud project is unknown: pass --project, or set GOOGLE_CLOUD_PROJECT "
               "(the application default credentials name none).")
    try:
        found = _default_credentials()[1]
    except UserError as error:
        raise UserError(missing) from error
    if not found:
        raise UserError(missing)
    return found


def _default_credentials() -> tuple[Credentials, str | None]:
    """Return the application default credentials and their project."""
    import google.auth
    from google.auth import exceptions

    try:
        return google.auth.default(scopes=[_SCOPE])
    except (exceptions.GoogleAuthError, OSError) as error:
        named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if named:
            raise UserError(
                f"GOOGLE_APPLICATION_CREDENTIALS must be a file with valid credentials, got "
                f"{named!r} ({one_line(str(error))}).") from error
        raise UserError(
            f"There are no Google Cloud credentials: {LOGIN}; to print the requests without "
            "credentials, use --dry-run.") from error


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False

"""References to secrets: a job is given a reference, and only the job itself reads the value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from deepmac_ablate.cloud import credentials, errors
from deepmac_ablate.errors import UserError
from deepmac_ablate.safe_text import is_secret, looks_secret

if TYPE_CHECKING:
    from google.cloud.secretmanager_v1 import SecretManagerServiceClient

ACCESSOR = "roles/secretmanager.secretAccessor"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_VERSION = re.compile(
    r"projects/[a-z0-9][a-z0-9.:-]*/secrets/[A-Za-z0-9_-]{1,255}/versions/(latest|[1-9][0-9]*)")
_SHORT = re.compile(r"[A-Za-z0-9_-]{1,255}")
_KUBERNETES = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9._-]{1,253}")

_FORMS = {
    "vertex": (re.compile(f"{_VERSION.pattern}|{_SHORT.pattern}"),
               "projects/PROJECT/secrets/SECRET/versions/VERSION, or the name of a secret in the "
               "job's project"),
    "gke": (_KUBERNETES, "SECRET/KEY, as in `kubectl create secret generic SECRET "
                         "--from-file=KEY=FILE`"),
}


def parse_references(options: Sequence[str], executor: Literal["vertex", "gke"]) -> dict[str, str]:
    """Return the references in `--secret VAR=REFERENCE` options by variable.

    Messages never show a reference, as it may be the secret itself by mistake.

    Args:
        options: Values of the options: "VAR=projects/P/secrets/S/versions/V" or "VAR=S" for Vertex
            AI, "VAR=SECRET/KEY" for GKE.
        executor: Cloud that the jobs run on.

    Raises:
        UserError: If an option is malformed or looks like a secret, or a variable is given twice.
    """
    form, expected = _FORMS[executor]
    references: dict[str, str] = {}
    for number, option in enumerate(options, 1):
        variable, separator, reference = option.partition("=")
        if not separator or not _VARIABLE.fullmatch(variable) or looks_secret(variable):
            raise UserError(
                f"--secret number {number} must be VAR=REFERENCE with the name of an environment "
                f"variable; on {executor}, REFERENCE is {expected}.")
        if variable in references:
            raise UserError(f"--secret {variable} is given twice; it may be given once.")
        if not form.fullmatch(reference):
            raise UserError(
                f"--secret {variable} must be a reference to a secret, which is {expected} on "
                f"{executor}; the value given {_describe_malformed(reference, executor)}.")
        if not _VERSION.fullmatch(reference) and looks_secret(reference):
            raise UserError(
                f"--secret {variable} looks like the secret itself, which would be written into "
                f"every job's description; store it and pass a reference: {expected}.")
        references[variable] = reference
    return references


def check_no_secrets(env: Mapping[str, str]) -> None:
    """Check that environment variables that jobs receive in clear text hold no secrets.

    Raises:
        UserError: If the name or the value of a variable suggests a secret; the message does not
            show the value.
    """
    for variable, value in env.items():
        if is_secret(variable, value):
            raise UserError(
                f"--env {variable} looks like a secret, and everyone who can see the job could "
                f"read it; pass a reference: --secret {variable}=REFERENCE.")


def full_reference(reference: str, project: str) -> str:
    """Return Secret Manager's full name of a secret's version.

    Args:
        reference: Reference for Vertex AI; a bare name is the latest version in the project.
        project: Project of the job.
    """
    if "/" in reference:
        return reference
    return f"projects/{project}/secrets/{reference}/versions/latest"


def fetch(references: Mapping[str, str], patience: float = 60.0) -> dict[str, str]:
    """Return the values of secrets in Secret Manager by variable.

    A newline at the end of a value is dropped, as keys stored with `echo` have one.

    Args:
        references: Full names, as `full_reference` returns them, by variable.
        patience: Seconds of retries while Secret Manager does not answer.

    Raises:
        UserError: If a secret cannot be read. Messages name the secret, never its value.
    """
    if not references:
        return {}
    from google.cloud import secretmanager_v1

    where = credentials.service_access("secretmanager", "secretmanager.googleapis.com")
    with errors.translating_errors("Secret Manager", "accept a connection", ACCESSOR):
        client = secretmanager_v1.SecretManagerServiceClient(
            credentials=where.credentials, transport="rest",
            client_options={"api_endpoint": where.endpoint})
    return {variable: _fetch_value(client, variable, reference, patience)
            for variable, reference in references.items()}


def _fetch_value(
    client: SecretManagerServiceClient, variable: str, reference: str, patience: float
) -> str:
    from google.api_core import retry

    if not _VERSION.fullmatch(reference):
        raise UserError(f"--secret {variable} must be a reference of the form "
                        "projects/PROJECT/secrets/SECRET/versions/VERSION.")
    again = retry.Retry(errors.is_transient, initial=0.2, maximum=10.0, timeout=patience)
    with errors.translating_errors("Secret Manager", f"give {reference} for {variable}", ACCESSOR):
        answer = client.access_secret_version(name=reference, retry=again, timeout=30.0)
    try:
        value = answer.payload.data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # The cause would contain the value.
        raise UserError(
            f"{reference} must be UTF-8 text to be the value of {variable}, but is not.") from None
    if not value or "\0" in value:
        raise UserError(
            f"{reference} must not be empty or contain a zero byte to be the value of {variable}.")
    return value


def _describe_malformed(reference: str, executor: str) -> str:
    """Return what is wrong with a malformed reference, as the end of a sentence."""
    if not reference:
        return "is empty"
    if looks_secret(reference):
        return "looks like the secret itself"
    other = next(name for name in _FORMS if name != executor)
    return f"is one for {other}" if _FORMS[other][0].fullmatch(reference) else "is malformed"

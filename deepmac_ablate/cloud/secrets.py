"""Secrets by reference: jobs are told where a key is, and only the job itself reads it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from deepmac_ablate.cloud import credentials, errors
from deepmac_ablate.errors import UserError

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
               "projects/PROJECT/secrets/SECRET/versions/VERSION or the name of a secret of the "
               "job's project"),
    "gke": (_KUBERNETES, "SECRET/KEY, as in `kubectl create secret generic SECRET "
                         "--from-file=KEY=FILE`"),
}

# How keys of well-known services begin, private keys, and the files of accounts.
_MARKED = re.compile(
    r"(sk-(?=\S*\d)|AIza|AKIA|ya29\.|gh[opsur]_|github_pat_|glpat-|hf_|xox[abprs]-|wandb_v\d_|eyJ)"
    r"[A-Za-z0-9_.-]{16}|-----BEGIN|\{.*private_key", re.DOTALL)
# Other keys are random characters; names of secrets are words.
_LONG = 20
_RANDOM_BITS = 3.0

_SAYS_SECRET = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(^|_)(API|ACCESS|AUTH|PRIVATE)?(KEY|TOKEN)S?(_|$)",
    re.IGNORECASE)


def parse(options: Sequence[str], executor: Literal["vertex", "gke"]) -> dict[str, str]:
    """Return the references of `--secret VAR=REFERENCE` by variable.

    No message shows a reference: somebody may have written the secret itself.

    Args:
        options: As they were given; "VAR=projects/P/secrets/S/versions/V" or "VAR=S" for Vertex
            AI, "VAR=SECRET/KEY" for GKE.
        executor: Where the jobs will run.

    Raises:
        UserError: If one is malformed, or holds what looks like a secret, or a variable is given
            twice.
    """
    form, right = _FORMS[executor]
    references: dict[str, str] = {}
    for number, option in enumerate(options, 1):
        variable, separator, reference = option.partition("=")
        if not separator or not _VARIABLE.fullmatch(variable) or _looks_secret(variable):
            raise UserError(
                f"The --secret number {number} does not begin with a variable and \"=\": give "
                f"VAR=REFERENCE, on {executor} with a reference such as {right}.")
        if variable in references:
            raise UserError(f"--secret {variable} is given twice; give it once.")
        if not form.fullmatch(reference):
            raise UserError(
                f"--secret {variable} is no reference to a secret{_what_else(reference, executor)};"
                f" on {executor} it is {right}.")
        if not _VERSION.fullmatch(reference) and _looks_secret(reference):
            raise UserError(
                f"--secret {variable} looks like the secret itself, which would be written into "
                f"every job's description; store it and refer to it: {right}.")
        references[variable] = reference
    return references


def check_plain(env: Mapping[str, str]) -> None:
    """Check variables that jobs are given in clear text, where many can read them.

    Raises:
        UserError: For the first that holds a secret, by its name or by its value; the value is not
            shown.
    """
    for variable, value in env.items():
        if _SAYS_SECRET.search(variable) or _MARKED.match(value):
            raise UserError(
                f"--env {variable} would be readable to everybody who sees the job; give it by "
                f"reference: --secret {variable}=REFERENCE.")


def version(reference: str, project: str) -> str:
    """Return Secret Manager's complete name of a reference for Vertex AI.

    Args:
        reference: As `parse` returns it; a bare name is the latest version in the project.
        project: The job's.
    """
    if "/" in reference:
        return reference
    return f"projects/{project}/secrets/{reference}/versions/latest"


def fetch(references: Mapping[str, str], patience: float = 60.0) -> dict[str, str]:
    """Return the values of secrets by variable, from Secret Manager.

    A line's end after a value is dropped: whoever stores a key with `echo` stores one too.

    Args:
        references: Complete names, as `version` returns them, by variable.
        patience: Seconds for which Secret Manager is asked again while it does not answer.

    Raises:
        UserError: If one cannot be had. Messages name the secret, and never its value.
    """
    if not references:
        return {}
    from google.cloud import secretmanager_v1

    where = credentials.access("secretmanager", "secretmanager.googleapis.com")
    with errors.told("Secret Manager", "let itself be asked", ACCESSOR):
        client = secretmanager_v1.SecretManagerServiceClient(
            credentials=where.credentials, transport="rest",
            client_options={"api_endpoint": where.endpoint})
    return {variable: _value(client, variable, reference, patience)
            for variable, reference in references.items()}


def _value(
    client: SecretManagerServiceClient, variable: str, reference: str, patience: float
) -> str:
    from google.api_core import retry

    if not _VERSION.fullmatch(reference):
        raise UserError(f"--secret {variable} is no reference to a version of a secret: give "
                        "projects/PROJECT/secrets/SECRET/versions/VERSION.")
    again = retry.Retry(errors.is_passing, initial=0.2, maximum=10.0, timeout=patience)
    with errors.told("Secret Manager", f"give {reference} for {variable}", ACCESSOR):
        answer = client.access_secret_version(name=reference, retry=again, timeout=30.0)
    try:
        value = answer.payload.data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # The cause would carry the value.
        raise UserError(
            f"{reference} is not UTF-8 text, which {variable} has to be.") from None
    if not value or "\0" in value:
        raise UserError(f"{reference} is empty or holds a zero byte, so {variable} cannot be it.")
    return value


def _what_else(reference: str, executor: str) -> str:
    """What a malformed reference is instead, if that is easily said."""
    if not reference:
        return ", but empty"
    other = next(name for name in _FORMS if name != executor)
    if _FORMS[other][0].fullmatch(reference) and not _looks_secret(reference):
        return f" on {executor}, but on {other}"
    return ", and looks like the secret itself" if _looks_secret(reference) else ""


def _looks_secret(text: str) -> bool:
    """Whether a part of it begins as keys do, or is long and in no order, digits among letters."""
    return bool(_MARKED.match(text)) or any(
        _MARKED.match(part) or any(map(_is_random, re.findall(r"[A-Za-z0-9]+", part)))
        for part in text.split("/"))


def _is_random(piece: str) -> bool:
    if len(piece) < _LONG or _entropy(piece) < _RANDOM_BITS:
        return False
    digits = sum(character.isdigit() for character in piece)
    return digits >= 3 or (digits > 0 and piece.lower() != piece != piece.upper())


def _entropy(text: str) -> float:
    """Bits a character, by how often each occurs."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())

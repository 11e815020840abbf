"""Stand-in for Secret Manager, from which versions of secrets can be read.

Clients find it where `VARIABLE` is set to its `url`.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from typing import Any

from tests.fakes import google_api

VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"

_ACCESS = re.compile(
    r"/v1/(?P<secret>projects/[^/]+/secrets/[^/]+)/versions/(?P<version>[^/:]+):access")


class Server:
    """Server of secrets by resource, each with its versions.

    Attributes:
        url: Address of the server.
        denied: Secrets for which reading is denied.
        asked: The requested paths.
        refusals: HTTP statuses that answer the next requests.
    """

    def __init__(self) -> None:
        self.url = ""
        self.denied: set[str] = set()
        self.asked: list[str] = []
        self.refusals: list[int] = []
        self._versions: dict[str, list[bytes]] = {}

    def add(self, secret: str, value: bytes) -> None:
        """Add a version of a secret, such as "projects/p/secrets/s"; versions count from 1."""
        self._versions.setdefault(secret, []).append(value)

    def answer(self, verb: str, path: str, query: dict[str, str], text: str) -> dict[str, Any]:
        """Answer one request."""
        self.asked.append(path)
        if self.refusals:
            raise google_api.Refused(self.refusals.pop(0), "refused by the test")
        asked = _ACCESS.fullmatch(path)
        if verb != "GET" or asked is None:
            raise google_api.Refused(404, f"{verb} {path} is no method of this API")
        secret = asked["secret"]
        if secret in self.denied:
            raise google_api.Refused(
                403, "Permission 'secretmanager.versions.access' denied for resource "
                f"'{secret}/versions/{asked['version']}' (or it may not exist).")
        versions = self._versions.get(secret, [])
        number = len(versions) if asked["version"] == "latest" else int(asked["version"])
        if not 1 <= number <= len(versions):
            raise google_api.Refused(404, f"Secret [{secret}] not found or has no versions.")
        data = base64.b64encode(versions[number - 1]).decode()
        return {"name": f"{secret}/versions/{number}", "payload": {"data": data}}


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Yield a server that answers at its `url` while the context lasts."""
    server = Server()
    with google_api.serving(server.answer) as server.url:
        yield server

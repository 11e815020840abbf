"""Access to Google Cloud Storage: credentials, clients, and whether the store can be reached."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable

import google.auth
import requests
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.storage import Client

from deepmac_ablate.storage.disk import StorageError

_ENDPOINT = "https://storage.googleapis.com"

_unreachable = ""


def give_up_unless_reachable(seconds: float) -> None:
    """Let every access of this process fail at once, unless the store answers now.

    Otherwise each access to a store that cannot be reached is tried again for most of a minute.

    Args:
        seconds: Time that the store has to answer anything.
    """
    global _unreachable
    answered = threading.Event()

    def ask() -> None:
        try:
            requests.head(_emulator() or _ENDPOINT, timeout=seconds)
        except requests.RequestException:
            return
        answered.set()

    # A thread, as a name server that does not answer knows no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answered.is_set():
        _unreachable = f"Google Cloud Storage did not answer within {seconds:g} s."
        # The search for credentials would ask the metadata server for seconds.
        os.environ.setdefault("NO_GCE_CHECK", "true")


def check_reachable() -> None:
    """Raise a `StorageError` if the store was found to be out of reach."""
    if _unreachable:
        raise StorageError(_unreachable)


def client_factory() -> Callable[[], Client]:
    """Return a function that makes clients with shared credentials."""
    if endpoint := _emulator():
        return functools.partial(
            Client, "emulated", AnonymousCredentials(), client_options={"api_endpoint": endpoint})
    return functools.partial(Client, None, _find_credentials())


def _find_credentials() -> Credentials:
    try:
        return google.auth.default(scopes=Client.SCOPE)[0]
    except DefaultCredentialsError:
        if "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
            raise
        # Public buckets need no credentials; others deny access.
        return AnonymousCredentials()


def _emulator() -> str | None:
    """Return the address of a stand-in for the store; None if there is none."""
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    return f"http://{emulator}" if emulator and "://" not in emulator else emulator

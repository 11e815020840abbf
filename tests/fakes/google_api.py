"""Common part of stand-ins for Google's services: REST with JSON, and its errors."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

# HTTP status: the name of gRPC's code, as Google's errors carry both.
CODES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    409: "ALREADY_EXISTS", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}


class Refused(Exception):  # noqa: N818 - an answer
    """Error that is sent as the answer.

    Args:
        status: HTTP status.
        message: Message in Google's words.
        code: Name of the gRPC code, if the HTTP status has several.
    """

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {
            "code": status, "message": message, "status": code or CODES[status]}}


class Hangup(Exception):  # noqa: N818 - an answer
    """Closed connection in place of an answer."""


# Method, path, query, and the body as text; returns what is answered.
Answer = Callable[[str, str, dict[str, str], str], dict[str, Any]]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Yield the URL of a server that answers while the context lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            path = urllib.parse.unquote(url.path)
            try:
                self.reply(200, answer(self.command, path, query, text))
            except Refused as refused:
                self.reply(refused.status, refused.body)
            except Hangup:
                self.close_connection = True

        def do_POST(self):
            self.do_GET()

        def reply(self, status, answered):
            body = json.dumps(answered).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        # It is shut down within the interval.
        threading.Thread(target=listener.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()

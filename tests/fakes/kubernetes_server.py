"""Stand-in for the API server of a cluster: the part that launching jobs uses.

    with kubernetes_server.serving() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_kubeconfig(tmp_path)))
        server.cluster.on_create = start  # ("Pod", {"metadata": ..., "spec": ...}) among others
        ...
        server.cluster.set_state(name, "running")
        server.cluster.exits(name, 75, disrupted=True)

It refuses what Kubernetes and JobSet refuse, see `kubernetes_schemas`; `kubernetes_cluster` holds
the jobs.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.fakes import kubernetes_schemas
from tests.fakes.kubernetes_cluster import Cluster

TOKEN = "let-me-in"
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>batch/v1|jobset\.x-k8s\.io/v1alpha2))/namespaces/"
    r"(?P<namespace>[^/]+)/(?P<plural>pods|jobs|jobsets)(?:/(?P<name>[^/]+))?")
_KINDS = {(None, "pods"): "Pod", ("batch/v1", "jobs"): "Job",
          ("jobset.x-k8s.io/v1alpha2", "jobsets"): "JobSet"}
_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists",
            422: "Invalid", 503: "ServiceUnavailable"}


class Refusal(NamedTuple):
    """Answer to one request; a status of 0 drops the connection."""

    status: int
    message: str
    method: str | None
    done: bool


class Server:
    """API server of a simulated cluster.

    Attributes:
        cluster: The objects of the cluster.
        url: Address of the server.
        namespaces: Names of the existing namespaces.
        has_jobset: Whether JobSet is installed.
        requests: Methods and paths of the requests in order, without queries.
        sent: Bodies of the POST requests in order.
    """

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.url = ""
        self.namespaces = {"default"}
        self.has_jobset = True
        self.requests: list[tuple[str, str]] = []
        self.sent: list[dict[str, Any]] = []
        self._refusals: list[Refusal] = []

    def refuse(self, status: int, message: str = "", *, times: int = 1,
               method: str | None = None, done: bool = False) -> None:
        """Answer the next requests with an error.

        Args:
            status: HTTP status; 0 drops the connection without an answer.
            message: Message in the words of Kubernetes.
            times: Number of requests.
            method: If given, only requests with this method.
            done: Whether the request is carried out nevertheless.
        """
        self._refusals += [Refusal(status, message, method, done)] * times

    def write_kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig with the context "here" for this server, and return its path."""
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}]}))
        return path

    def answer(self, method: str, target: str, body: Any, token: str) -> tuple[int, str]:
        """Return the status and the body of the answer to a request."""
        with self.cluster.lock:
            status, said = self._answer(method, target, body, token)
            return status, said if isinstance(said, str) else json.dumps(said)

    def _answer(self, method: str, target: str, body: Any, token: str) -> tuple[int, Any]:
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        self.requests.append((method, url.path))
        if token != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized")
        refusal = next((it for it in self._refusals if it.method in (None, method)), None)
        if refusal:
            self._refusals.remove(refusal)
            if refusal.done:
                self._do(method, url.path, query, body)
            return _status(refusal.status, refusal.message)
        return self._do(method, url.path, query, body)

    def _do(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        match = _PATH.fullmatch(path)
        kind = match and _KINDS.get((match["group"], match["plural"]))
        if not kind or (kind == "JobSet" and not self.has_jobset):
            return 404, "404 page not found\n"
        if method == "POST":
            return self._create(kind, match["namespace"], body)
        if match["namespace"] not in self.namespaces and match["name"] is None:
            return 200, {"kind": f"{kind}List", "items": []}
        if match["name"] is None:
            wanted = dict(it.split("=") for it in query["labelSelector"].split(","))
            return 200, {"kind": f"{kind}List", "items": self.cluster.find(kind, wanted)}
        found = self.cluster.look(kind, match["name"])
        if found is None or match["namespace"] not in self.namespaces:
            return _status(404, f'{match["plural"]} "{match["name"]}" not found')
        if method == "DELETE":
            propagation = (body or {}).get("propagationPolicy", query.get("propagationPolicy"))
            self.cluster.delete(kind, match["name"], propagation)
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return 200, found

    def _create(self, kind: str, namespace: str, body: Any) -> tuple[int, Any]:
        self.sent.append(body)
        if namespace not in self.namespaces:
            return _status(404, f'namespaces "{namespace}" not found')
        if body["kind"] != kind or body["metadata"].get("namespace", namespace) != namespace:
            return _status(422, "the kind or the namespace does not match the request")
        if errors := kubernetes_schemas.errors(body):
            return _status(422, f'{kind} is invalid: {"; ".join(errors)}')
        name = body["metadata"]["name"]
        if (kind, name) in self.cluster.objects:
            return _status(409, f'{kind.lower()}s "{name}" already exists')
        return 201, self.cluster.create(body)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Yield a server that answers at its `url` while the context lasts."""
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body go out together; otherwise the body waits for the client's 40 ms.
        wbufsize = -1

        def log_message(self, *args):
            pass

        def do_GET(self):
            self._answer("GET")

        def do_POST(self):
            self._answer("POST")

        def do_DELETE(self):
            self._answer("DELETE")

        def _answer(self, method):
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = server.answer(method, self.path, json.loads(sent) if sent else None,
                                         self.headers.get("Authorization", ""))
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type",
                             "application/json" if text[0] == "{" else "text/plain")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True
        # A client that keeps its connection alive would be waited for.
        block_on_close = False

    with Listener(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}"
        threading.Thread(target=listener.serve_forever, args=[0.01], daemon=True).start()
        yield server
        listener.shutdown()


def _status(code: int, message: str) -> tuple[int, Any]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                  "message": message, "reason": _REASONS.get(code, "Unknown")}

"""Stand-in for Google's object store: the part of its API that its clients use.

It speaks Google's JSON API, and the addresses of the XML API that are read from, over HTTP; it is
also a proxy that plays Google's hosts over TLS, for clients that ask nobody else.
"""

from __future__ import annotations

import contextlib
import datetime
import email.parser
import email.policy
import http.server
import itertools
import json
import re
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.fakes import certificate
from tests.fakes.gcs_objects import Bucket, Conflict, Missing, Stored

# What TensorFlow has compiled in.
_HOSTS = ("www.googleapis.com", "storage.googleapis.com")

_API = re.compile(
    r"(?:/(?P<kind>upload|download))?/storage/v1/b(?:/(?P<bucket>[^/]+)(?P<rest>.*))?")
_OBJECT = re.compile(
    r"/o/(?P<name>[^/]+)(?:/(?P<verb>\w+)(?:/b/(?P<to>[^/]+))?(?:/o/(?P<as>.+))?)?")
_XML = re.compile(r"/(?P<bucket>[^/]+)/(?P<name>.+)")
_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")

_REASONS = {
    400: "invalid", 401: "required", 403: "forbidden", 404: "notFound", 409: "conflict",
    412: "conditionNotMet", 429: "rateLimitExceeded", 503: "backendError"}
_WORDS = {
    400: "Invalid bucket name: 'B'.",
    401: "Anonymous caller does not have storage.objects.get access to the Google Cloud Storage "
    "object. Permission 'storage.objects.get' denied on resource (or it may not exist).",
    403: "somebody@example.com does not have storage.objects.get access to the Google Cloud "
    "Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).",
    412: "At least one of the pre-conditions you specified did not hold.",
    429: "The object exceeded the rate limit for object mutation operations.",
    503: "We encountered an internal error. Please try again."}


class Request(NamedTuple):
    """A request as it came, whatever was answered.

    Attributes:
        method: such as "GET".
        path: decoded.
        query: decoded; the last value where one was given several times.
        headers: by lower-case name.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class _Failure(NamedTuple):
    """Failure of some requests: `how` as in `GcsServer.fail`."""

    how: int | str
    method: str | None
    containing: str
    seconds: float


class GcsServer:
    """Buckets in memory, served on loopback while the context lasts.

    Args:
        *buckets: Their names; there are no others.

    Attributes:
        url: Where it is.
        objects: Contents by "bucket/name"; tests read and change them as they like.
        requests: All that came, in order.
        seconds_ahead: How far its clock is ahead of this machine's.
        page_size: Of listings, at most.
    """

    def __init__(self, *buckets: str) -> None:
        self.buckets = {name: Bucket() for name in buckets or ("bucket",)}
        self.objects = _Objects(self)
        self.requests: list[Request] = []
        self.seconds_ahead = 0.0
        self.page_size = 1000
        self.url = ""
        self.lock = threading.RLock()
        self.uploads: dict[str, _Upload] = {}
        self.numbers = itertools.count(1)
        self.tls: ssl.SSLContext | None = None
        self._failures: list[_Failure] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> GcsServer:
        handler = type("Handler", (_Handler,), {"store": self})
        listener = _Listener(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{listener.server_port}"
        # Stops within this time.
        thread = threading.Thread(target=listener.serve_forever, args=[0.02], daemon=True)
        thread.start()
        self._stack.callback(listener.server_close)
        self._stack.callback(listener.shutdown)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def environment(self) -> dict[str, str]:
        """Return the variables with which Google's Python client comes here."""
        return {"STORAGE_EMULATOR_HOST": self.url, "NO_GCE_CHECK": "true", **_NO_CREDENTIALS}

    def tensorflow_environment(self) -> dict[str, str]:
        """Return the variables with which TensorFlow's own file system comes here too."""
        if self.tls is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self._pem = certificate.write(folder, _HOSTS)
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(self._pem)
        return {
            **self.environment(), "HTTPS_PROXY": self.url, "https_proxy": self.url,
            "CURL_CA_BUNDLE": str(self._pem), "GCS_RETRY_CONFIG_MAX_RETRIES": "2"}

    def fail(
        self, how: int | str, times: int = 1, *, method: str | None = None, containing: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Make the next requests go wrong.

        Args:
            how: A status to answer; "drop" to hang up on a request instead of doing it; "mute" to
                do it, and then hang up; "cut" to do it, and hang up within the answer's body;
                "slow" to do it after `seconds`.
            times: How many requests.
            method: Only these, such as "POST".
            containing: Only those whose path and query, as they were sent, contain this.
            seconds: See above.
        """
        with self.lock:
            self._failures += [_Failure(how, method, containing, seconds)] * times

    @property
    def failing(self) -> bool:
        """True while more requests will fail."""
        return bool(self._failures)

    def heal(self) -> None:
        """Forget what was to fail."""
        with self.lock:
            self._failures.clear()

    def now(self) -> datetime.datetime:
        """Return the server's time."""
        return datetime.datetime.fromtimestamp(time.time() + self.seconds_ahead, datetime.UTC)

    def failure(self, method: str, path: str) -> _Failure | None:
        """Take and return what goes wrong with a request."""
        with self.lock:
            for failure in self._failures:
                if failure.method in (None, method) and failure.containing in path:
                    self._failures.remove(failure)
                    return failure
        return None


# Nobody's own credentials are found, whatever the machine has.
_NO_CREDENTIALS = {"CLOUDSDK_CONFIG": "/nonexistent", "GOOGLE_CLOUD_PROJECT": "p"}


class _Objects(MutableMapping[str, bytes]):
    """The contents of all buckets by "bucket/name"."""

    def __init__(self, server: GcsServer) -> None:
        self._server = server

    def __getitem__(self, key: str) -> bytes:
        bucket, name = key.split("/", 1)
        return self._server.buckets[bucket].objects[name].data

    def __setitem__(self, key: str, data: bytes) -> None:
        bucket, name = key.split("/", 1)
        with self._server.lock:
            self._server.buckets[bucket].put(name, data, self._server.now())

    def __delitem__(self, key: str) -> None:
        bucket, name = key.split("/", 1)
        with self._server.lock:
            del self._server.buckets[bucket].objects[name]

    def __iter__(self) -> Iterator[str]:
        with self._server.lock:
            return iter([
                f"{bucket}/{name}" for bucket, it in self._server.buckets.items()
                for name in sorted(it.objects)])

    def __len__(self) -> int:
        return sum(len(it.objects) for it in self._server.buckets.values())


class _Upload:
    """A resumable upload that has begun."""

    def __init__(self, bucket: str, name: str, query: dict[str, str], fields: dict) -> None:
        self.bucket, self.name, self.query, self.fields = bucket, name, query, fields
        self.data = b""


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # A sweep's reader opens dozens of connections at once.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up, and are killed."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Its small answers would wait for the client's acknowledgement otherwise.
    disable_nagle_algorithm = True
    store: GcsServer

    def log_message(self, *args: object) -> None:
        """Print nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.store.now().timestamp())

    def do_CONNECT(self) -> None:
        """Plays one of Google's hosts from here on."""
        if self.store.tls is None or self.path.partition(":")[0] not in _HOSTS:
            self._fail(403, f"There is no way from here to {self.path}.")
            return
        self.send_response_only(200)
        self.end_headers()
        self.connection = self.store.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _handle(self) -> None:
        split = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(split.query, keep_blank_values=True))
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.store.requests.append(
            Request(self.command, urllib.parse.unquote(split.path), query, headers))
        failure = self.store.failure(self.command, self.path)
        if failure and failure.how == "slow":
            time.sleep(failure.seconds)
        elif failure and failure.how == "drop":
            self.close_connection = True
            return
        elif failure and isinstance(failure.how, int):
            self._fail(failure.how)
            return
        self._mute = failure is not None and failure.how == "mute"
        self._cut = failure is not None and failure.how == "cut"
        try:
            with self.store.lock:
                answer = self._answer(split.path, query, body)
            answer()
        except Missing as missing:
            self._fail(404, str(missing))
        except Conflict as conflict:
            self._fail(conflict.status)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, path: str, query: dict[str, str], body: bytes) -> Any:
        """Do what was asked, and return what sends the answer."""
        if match := _API.fullmatch(path):
            if match["bucket"] is None:
                return self._buckets(body)
            bucket = urllib.parse.unquote(match["bucket"])
            if bucket not in self.store.buckets:
                raise Missing("The specified bucket does not exist.")
            if match["kind"] == "upload":
                return self._upload(bucket, query, body)
            if match["rest"] in ("", "/"):
                return self._json({"kind": "storage#bucket", "id": bucket, "name": bucket,
                                   "location": "US-CENTRAL1", "locationType": "region"})
            if match["rest"] == "/o":
                page = self.store.buckets[bucket].page(query, self.store.page_size)
                items = [it.resource(bucket, name) for name, it in page.pop("items")]
                return self._json({"kind": "storage#objects", "items": items, **page})
            if found := _OBJECT.fullmatch(match["rest"]):
                parts = {key: urllib.parse.unquote(it) if it else it
                         for key, it in found.groupdict().items()}
                media = match["kind"] == "download" or query.get("alt") == "media"
                return self._object(bucket, parts, query, body, media)
        elif (match := _XML.fullmatch(path)) and self.command in ("GET", "HEAD"):
            bucket, name = map(urllib.parse.unquote, (match["bucket"], match["name"]))
            if bucket not in self.store.buckets:
                raise Missing("The specified bucket does not exist.")
            return self._media(self.store.buckets[bucket].get(bucket, name, query))
        raise Missing(f"There is no {path} here.")

    def _buckets(self, body: bytes) -> Any:
        if self.command == "POST":
            name = json.loads(body)["name"]
            self.store.buckets.setdefault(name, Bucket())
            return self._json({"kind": "storage#bucket", "name": name})
        items = [{"kind": "storage#bucket", "name": name} for name in self.store.buckets]
        return self._json({"kind": "storage#buckets", "items": items})

    def _object(
        self, bucket: str, parts: dict[str, str], query: dict[str, str], body: bytes, media: bool
    ) -> Any:
        there, name, now = self.store.buckets[bucket], parts["name"], self.store.now()
        fields = json.loads(body) if body else {}
        if parts["verb"] == "compose":
            sources = [there.get(bucket, it["name"], {}).data for it in fields["sourceObjects"]]
            if not 1 <= len(sources) <= 32:
                raise Conflict(400)
            there.check(name, query)
            return self._put(bucket, name, b"".join(sources), fields.get("destination", {}))
        if parts["verb"] in ("rewriteTo", "copyTo", "moveTo"):
            source = there.get(bucket, name, _of_source(query))
            to = parts["to"] or bucket
            if to not in self.store.buckets:
                raise Missing("The specified bucket does not exist.")
            self.store.buckets[to].check(parts["as"], query)
            copy = self.store.buckets[to].put(
                parts["as"], source.data, now, source.content_type, source.metadata)
            if parts["verb"] == "moveTo" and (to, parts["as"]) != (bucket, name):
                del there.objects[name]
            resource, size = copy.resource(to, parts["as"]), str(len(source.data))
            return self._json(resource if parts["verb"] != "rewriteTo" else {
                "kind": "storage#rewriteResponse", "done": True, "objectSize": size,
                "totalBytesRewritten": size, "resource": resource})
        found = there.get(bucket, name, query)
        if self.command == "DELETE":
            del there.objects[name]
            return lambda: self._send(204, b"", {})
        if self.command == "PATCH":
            return self._json(there.patch(name, fields, now).resource(bucket, name))
        return self._media(found) if media else self._json(found.resource(bucket, name))

    def _put(self, bucket: str, name: str, data: bytes, fields: dict) -> Any:
        stored = self.store.buckets[bucket].put(
            name, data, self.store.now(), fields.get("contentType") or "application/octet-stream",
            fields.get("metadata"))
        return self._json(stored.resource(bucket, name))

    def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> Any:
        if "upload_id" in query:
            return self._go_on(query["upload_id"], body)
        there = self.store.buckets[bucket]
        if query["uploadType"] == "resumable":
            fields = json.loads(body) if body else {}
            name = query.get("name") or fields["name"]
            there.check(name, query)
            number = f"upload-{next(self.store.numbers)}"
            self.store.uploads[number] = _Upload(bucket, name, query, fields)
            # TensorFlow asks another host than the one that it calls this.
            host = self.headers["Host"]
            scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
            address = f"{scheme}://{host}/upload/storage/v1/b/{urllib.parse.quote(bucket)}/o"
            location = f"{address}?uploadType=resumable&upload_id={number}"
            return lambda: self._send(200, b"", {"Location": location})
        fields, data = {"contentType": self.headers.get("Content-Type")}, body
        if query["uploadType"] == "multipart":
            fields, data = _parts(self.headers["Content-Type"], body)
        name = query.get("name") or fields["name"]
        there.check(name, query)
        return self._put(bucket, name, data, fields)

    def _go_on(self, number: str, body: bytes) -> Any:
        """Take one part of a resumable upload, or say how far it is."""
        if number not in self.store.uploads:
            raise Missing("The upload is over.")
        upload = self.store.uploads[number]
        if self.command == "DELETE":
            del self.store.uploads[number]
            return lambda: self._send(499, b"", {})
        said = self.headers.get("Content-Range")
        match = _CONTENT_RANGE.fullmatch(said) if said else None
        first = int(match["first"]) if match and match["first"] else 0
        if body:
            upload.data = upload.data[:first] + body
        total = match["total"] if match else str(len(body))
        if total == "*" or len(upload.data) < int(total):
            so_far = {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}
            return lambda: self._send(308, b"", so_far)
        self.store.buckets[upload.bucket].check(upload.name, upload.query)
        del self.store.uploads[number]
        return self._put(upload.bucket, upload.name, upload.data, upload.fields)

    def _media(self, stored: Stored) -> Any:
        data, status = stored.data, 200
        headers = {
            "Content-Type": stored.content_type, "x-goog-generation": str(stored.generation),
            "Last-Modified": self.date_time_string(), "ETag": stored.etag}
        if match := _RANGE.fullmatch(self.headers.get("Range") or ""):
            first, last = _span(match, len(data))
            if first >= len(data):
                return lambda: self._fail(416, "The requested range cannot be satisfied.")
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{len(data)}"
            data, status = data[first:last], 206
        return lambda: self._send(status, data, headers)

    def _json(self, content: dict[str, Any]) -> Any:
        body = json.dumps(content).encode()
        return lambda: self._send(200, body, {"Content-Type": "application/json; charset=UTF-8"})

    def _fail(self, status: int, message: str = "") -> None:
        message = message or _WORDS.get(status, "It is not to be.")
        reason = {"message": message, "domain": "global", "reason": _REASONS.get(status, "other")}
        content = {"error": {"code": status, "message": message, "errors": [reason]}}
        self._mute = False
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if self._mute:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self._cut:
            self.close_connection = True
            body = body[:len(body) // 2]
        if self.command != "HEAD":
            self.wfile.write(body)

    _mute = _cut = False


def _of_source(query: dict[str, str]) -> dict[str, str]:
    """Return what a copy asks of its source, as if it were to be read."""
    return {
        name.replace("Source", "") if name.startswith("ifSource") else "generation": value
        for name, value in query.items() if name.startswith(("ifSource", "sourceGeneration"))}


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the resource and the data of a multipart upload."""
    text = b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    boundary = email.parser.BytesHeaderParser(policy=email.policy.HTTP).parsebytes(
        text).get_boundary()
    delimiter = b"--" + boundary.encode()
    # The data may hold anything but the delimiter at the beginning of a line.
    _, first, second = body.split(delimiter, 2)
    fields = json.loads(_without_head(first))
    head, data = re.split(rb"\r?\n\r?\n", second, maxsplit=1)
    data = re.sub(rb"\r?\n" + re.escape(delimiter) + rb"--\s*\Z", b"", data)
    type_ = re.search(rb"(?i)content-type: *([^\r\n]+)", head)
    return {"contentType": type_[1].decode() if type_ else None, **fields}, data


def _without_head(part: bytes) -> bytes:
    return re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1]


def _span(match: re.Match[str], size: int) -> tuple[int, int]:
    """Return the first byte and the one after the last of a range that was asked for."""
    if not match["first"]:
        return max(0, size - int(match["last"])), size
    last = int(match["last"]) + 1 if match["last"] else size
    return int(match["first"]), min(last, size)

"""Stand-in for Vertex AI: custom jobs can be created, read, listed and cancelled.

Clients find it if `VARIABLE` is set to its `url`. The states of a job follow a script (`play`), or
are set by the test (`on_create`, `on_cancel`, `set_state`).

Requests are parsed into the real protobuf and checked by published rules, see `vertex_rules`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from google.protobuf import json_format

from tests.fakes import google_api, vertex_rules

VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"

# What Vertex AI calls a project in its resources, whatever the project was called in the request.
PROJECT_NUMBER = "424242"

_ENDED = {"succeeded", "failed", "cancelled", "expired", "partially_succeeded"}
_JOBS = re.compile(r"/v1/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/customJobs")
_JOB = re.compile(r"/v1/(?P<resource>projects/[^/]+/locations/[^/]+/customJobs/[^/:]+)"
                  r"(?P<verb>:cancel)?")
_CLAUSE = re.compile(r'labels\.(?P<key>[a-z0-9_-]+)="?(?P<value>[^"\s]*)"?|'
                     r'display_name="(?P<name>[^"]*)"')

Method = Literal["create", "get", "list", "cancel"]


@dataclasses.dataclass
class _Job:
    body: dict[str, Any]
    state: str = "queued"
    error: str = ""
    created: str = ""
    started: str = ""
    ended: str = ""


@dataclasses.dataclass
class _Script:
    states: list[str]
    error: str
    each_get: bool


class Server:
    """Server of custom jobs by resource.

    Attributes:
        url: Address of the server.
        bodies: Requests to create jobs as text, including refused ones.
        asked: Names of the requested methods in order.
        on_create: is called with each new job as JSON ("name" is its resource), before it is
            answered; it starts what the job does, and returns at once.
        on_cancel: is called with the job that shall be cancelled, which stays in "cancelling" until
            `set_state`. Without it the job is cancelled at once.
        hangups: Number of created jobs for which the connection is closed without an answer.
    """

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[str] = []
        self.asked: list[Method] = []
        self.on_create: Callable[[dict[str, Any]], None] | None = None
        self.on_cancel: Callable[[dict[str, Any]], None] | None = None
        self.hangups = 0
        self._lock = threading.RLock()
        self._jobs: dict[str, _Job] = {}
        self._scripts: dict[str, _Script] = {}
        self._refusals: dict[Method, list[tuple[int, str]]] = defaultdict(list)

    def play(
        self, job: str, states: Sequence[str], error: str = "", each_get: bool = True
    ) -> None:
        """Set the states that a job goes through; it stays in the last one.

        Args:
            job: Its display name, which need not exist yet, or its resource.
            states: Vertex AI's without "JOB_STATE_", in lower case.
            error: Error of the last state.
            each_get: Whether each `get` answers the next state; else `advance` moves on.
        """
        with self._lock:
            self._scripts[job] = _Script([*states], error, each_get)

    def advance(self, job: str) -> None:
        """Move a job, by resource or display name, to the next state of its script."""
        with self._lock:
            for resource in self.resources(job):
                self._move(resource)

    def set_state(self, resource: str, state: str, error: str = "") -> None:
        """Put a job into a state, with the error that Vertex AI would report."""
        now = _now()
        with self._lock:
            job = self._jobs[resource]
            job.state, job.error = state, error
            if state == "running":
                job.started = job.started or now
            job.ended = now if state in _ENDED else ""

    def state(self, resource: str) -> str:
        """Return the state of a job."""
        with self._lock:
            return self._jobs[resource].state

    def resources(self, job: str = "") -> list[str]:
        """Return the jobs with a display name or resource, or all jobs, the oldest first."""
        with self._lock:
            return [resource for resource, it in self._jobs.items()
                    if job in {"", resource, it.body["displayName"]}]

    def forget(self, resource: str) -> None:
        """Delete a job, as a user can."""
        with self._lock:
            del self._jobs[resource]

    def refuse(self, method: Method, *statuses: int, message: str = "") -> None:
        """Answer the next requests for a method with HTTP statuses, in this order."""
        with self._lock:
            self._refusals[method] += [(status, message or "refused by the test")
                                       for status in statuses]

    def answer(self, verb: str, path: str, query: dict[str, str], text: str) -> dict[str, Any]:
        """Answer one request."""
        many, one = _JOBS.fullmatch(path), _JOB.fullmatch(path)
        if many and verb == "POST":
            return self._create(many["project"], many["region"], text)
        if many and verb == "GET":
            return self._list(many["region"], query)
        if one and verb == "GET" and not one["verb"]:
            return self._get(one["resource"])
        if one and verb == "POST" and one["verb"]:
            return self._cancel(one["resource"])
        raise google_api.Refused(404, f"{verb} {path} is no method of this API")

    def _create(self, project: str, region: str, text: str) -> dict[str, Any]:
        with self._lock:
            self.bodies.append(text)
            self._note("create")
            try:
                job = vertex_rules.parse(text)
            except json_format.ParseError as error:
                raise google_api.Refused(400, f"Invalid JSON payload received. {error}") from error
            if problems := vertex_rules.broken(job):
                raise google_api.Refused(400, "; ".join(problems))
            number = 1000 + len(self.bodies)
            resource = f"projects/{PROJECT_NUMBER}/locations/{region}/customJobs/{number}"
            self._jobs[resource] = _Job(json_format.MessageToDict(job), created=_now())
            made = self._json(resource)
        if self.on_create is not None:
            self.on_create(made)
        with self._lock:
            if self.hangups:
                self.hangups -= 1
                raise google_api.Hangup
        return made

    def _list(self, region: str, query: dict[str, str]) -> dict[str, Any]:
        with self._lock:
            self._note("list")
            clauses = []
            for text in filter(None, query.get("filter", "").split(" AND ")):
                clause = _CLAUSE.fullmatch(text)
                if clause is None:
                    raise google_api.Refused(400, f"Invalid filter: {text}")
                clauses.append(clause)
            # The newest first, as there.
            found = [
                self._json(resource) for resource, job in reversed(self._jobs.items())
                if f"/locations/{region}/" in resource
                and all(_meets(job.body, clause) for clause in clauses)]
        first = int(query.get("pageToken") or 0)
        last = first + (int(query.get("pageSize") or 0) or 2)
        more = {"nextPageToken": str(last)} if last < len(found) else {}
        return {"customJobs": found[first:last], **more}

    def _get(self, resource: str) -> dict[str, Any]:
        with self._lock:
            self._note("get")
            resource = self._known(resource)
            script = self._script(resource)
            if script is not None and script.each_get:
                self._move(resource)
            return self._json(resource)

    def _cancel(self, resource: str) -> dict[str, Any]:
        with self._lock:
            self._note("cancel")
            resource = self._known(resource)
            if self._jobs[resource].state in _ENDED | {"cancelling"}:
                raise google_api.Refused(
                    400, f"The job {resource} cannot be cancelled in its state.",
                    "FAILED_PRECONDITION")
            self.set_state(resource, "cancelling" if self.on_cancel else "cancelled")
            cancelled = self._json(resource)
        if self.on_cancel is not None:
            self.on_cancel(cancelled)
        return {}

    def _note(self, method: Method) -> None:
        self.asked.append(method)
        if self._refusals[method]:
            raise google_api.Refused(*self._refusals[method].pop(0))

    def _known(self, resource: str) -> str:
        """Return a job's resource with the project's number, for any form of its name."""
        full = re.sub(r"^projects/[^/]+", f"projects/{PROJECT_NUMBER}", resource)
        if full not in self._jobs:
            raise google_api.Refused(404, f"The CustomJob does not exist. {resource}")
        return full

    def _script(self, resource: str) -> _Script | None:
        name = self._jobs[resource].body["displayName"]
        return self._scripts.get(resource) or self._scripts.get(name)

    def _move(self, resource: str) -> None:
        script = self._script(resource)
        if script is not None and script.states:
            state = script.states.pop(0)
            self.set_state(resource, state, "" if script.states else script.error)

    def _json(self, resource: str) -> dict[str, Any]:
        job = self._jobs[resource]
        times = {"createTime": job.created, "startTime": job.started, "endTime": job.ended}
        error = {"error": {"code": 3, "message": job.error}} if job.error else {}
        return {**job.body, "name": resource, "state": f"JOB_STATE_{job.state.upper()}", **error,
                **{key: time for key, time in times.items() if time}}


def _meets(body: dict[str, Any], clause: re.Match[str]) -> bool:
    if clause["key"]:
        return body.get("labels", {}).get(clause["key"]) == clause["value"]
    return body["displayName"] == clause["name"]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Yield a server that answers at its `url` while the context lasts."""
    server = Server()
    with google_api.serving(server.answer) as server.url:
        yield server

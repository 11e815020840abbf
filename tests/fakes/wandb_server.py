"""Stand-in for W&B's server: the part that its client uses to upload runs."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
# Not every request says it apart from its query.
_NAME = re.compile(r"(?:query|mutation)\s*(?P<name>\w*)")


class Run:
    """State of a run on the server."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.lines: dict[int, str] = {}
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """Values by name, without those that the client adds."""
        config = json.loads(self.fields["config"])
        return {name: it["value"] for name, it in config.items() if name != "_wandb"}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history, in the order of its lines."""
        return [json.loads(self.lines[number]) for number in sorted(self.lines)]


class Server:
    """Server of runs by project and id.

    Attributes:
        refused: Ids of runs whose requests are refused.
        busy: Whether lines of files are turned away for now, so that clients send them again.
        others: Paths of requests that do not concern a run.
    """

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], Run] = {}
        self.refused: set[str] = set()
        self.busy = False
        self.url = ""
        self.others: list[str] = []

    def graphql(self, operation: str | None, variables: dict[str, Any]) -> Any:
        """Answer a GraphQL query of the client; the one for an artifact's type has no name."""
        key = (variables.get("project"), variables.get("name"))
        if operation == "RunResumeStatus":
            run = self.runs.get(key)
            return {"model": {"id": "m", "name": key[0], "entity": {"id": "e", "name": "me"},
                              "bucket": run and _bucket(key, run)}}
        if operation == "GetViewer":
            return {"viewer": {
                "id": "v", "name": "Me", "username": "me", "email": "me@example.org",
                "admin": False, "entity": "me", "flags": "{}", "deletedAt": None,
                "apiKeys": {"edges": []}, "teams": {"edges": []}}}
        if operation == "Viewer":
            return {"viewer": {"entity": "me", "username": "me", "teams": {"edges": []}}}
        if operation == "GetDefaultEntity":
            return {"viewer": {"id": "v", "entity": "me"}}
        if operation == "Runs":
            return {"project": self._page(variables)}
        if operation == "UpsertBucket":
            new = key not in self.runs
            run = self.runs.setdefault(key, Run())
            run.fields |= {name: it for name, it in variables.items() if it is not None}
            return {"upsertBucket": {"bucket": _bucket(key, run), "inserted": new}}
        if operation == "CreateArtifact":
            sequence = {"latestArtifact": {"id": "a"}}
            return {"createArtifact": {
                "artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}}
        if operation == "CreateRunFiles":
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": [
                {"name": name, "uploadUrl": f"{self.url}/upload"} for name in variables["files"]]}}
        return {"project": None}

    def _page(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        """Return a page of a project's runs; None if there is no such project."""
        runs = [(key[1], run) for key, run in self.runs.items() if key[0] == variables["project"]]
        if not runs:
            return None
        first = int(variables.get("cursor") or 0)
        last = min(first + variables["perPage"], len(runs))
        edges = [{"node": _node(*runs[at]), "cursor": str(at + 1)} for at in range(first, last)]
        more = {"endCursor": str(last), "hasNextPage": last < len(runs)}
        return {"internalId": "1", "runCount": len(runs), "readOnly": False,
                "runs": {"edges": edges, "pageInfo": more}}

    def stream(self, path: str, sent: dict[str, Any]) -> None:
        """Append lines to the files of a run."""
        _, _, _, project, run_id, _ = path.split("/")
        run = self.runs[project, run_id]
        files = sent.get("files", {})
        if history := files.get("wandb-history.jsonl"):
            run.lines |= dict(enumerate(history["content"], history["offset"]))
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]


def _bucket(key: tuple[str, str], run: Run) -> dict[str, Any]:
    return {
        "id": "b", "name": key[1], "displayName": key[1], "description": "", "sweepName": None,
        "notes": None, "tags": run.fields.get("tags"), "config": run.fields.get("config", "{}"),
        "project": {"id": "p", "name": key[0], "entity": {"id": "e", "name": "me"}},
        "summaryMetrics": json.dumps(run.summary), "logLineCount": 0, "eventsLineCount": 0,
        "historyLineCount": len(run.lines), "eventsTail": "[]",
        "historyTail": json.dumps([run.lines[max(run.lines)]] if run.lines else []),
        # Says that the run has been written to.
        "wandbConfig": json.dumps({"t": 1}),
    }


def _node(run_id: str, run: Run) -> dict[str, Any]:
    state = {None: "running", 0: "finished"}.get(run.exit_code, "failed")
    return {
        "projectId": "1", "id": run_id, "name": run_id, "state": state,
        "displayName": run.fields.get("displayName"), "group": run.fields.get("groupName"),
        "jobType": run.fields.get("jobType"), "tags": run.fields.get("tags"),
        "config": run.fields.get("config", "{}"), "summaryMetrics": json.dumps(run.summary)}


def upload_copy(folder: Path) -> dict[tuple[str, str], Run]:
    """Upload a copy of a trial's folder to a new server, and return the server's runs."""
    with tempfile.TemporaryDirectory() as home, serving() as server:
        copy = shutil.copytree(folder, Path(home, "trial"))
        environment = {n: v for n, v in os.environ.items() if not n.startswith("WANDB")}
        environment |= {
            "HOME": home, "PYTHONPATH": str(_ROOT), "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": "x" * 40}
        subprocess.run(
            [sys.executable, "-m", "deepmac_ablate.cli", "sync", copy], env=environment, cwd=home,
            check=True, stdout=subprocess.DEVNULL)
        return server.runs


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Yield a server that answers at its `url` while the context lasts."""
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer = {}
            if self.path == "/graphql":
                sent = json.loads(body)
                operation = sent.get("operationName") or _NAME.search(sent["query"])["name"]
                variables = sent.get("variables", {})
                if variables.get("name") in server.refused:
                    self._answer(400, {"errors": [{"message": "refused"}]})
                    return
                answer = {"data": server.graphql(operation, variables)}
            elif self.path.endswith("/file_stream"):
                if server.busy:
                    self._answer(503, {})
                    return
                server.stream(self.path, json.loads(body))
            else:
                server.others.append(self.path)
            self._answer(200, answer)

        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(200, {})

        def _answer(self, status, answer):
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}"
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield server
        listener.shutdown()

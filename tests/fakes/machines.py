"""Machines of a simulated cloud, whose containers are local processes.

With the stand-ins for Vertex AI and Kubernetes they make up a whole cloud.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fakes import kubernetes_cluster, vertex_server

ROOT = Path(__file__).resolve().parents[2]


class Machines:
    """Pool of machines that run containers.

    Args:
        entry_point: Entry point of the images.
        environment: Additional environment variables of all containers.
        folder: Working directory of containers, and folder of their output.
        secrets: Secrets of the cluster, "name/key" -> value.
    """

    def __init__(
        self, entry_point: Sequence[str], environment: Mapping[str, str], folder: Path,
        secrets: Mapping[str, str],
    ) -> None:
        self._entry_point = [*entry_point]
        self._environment = {
            "HOME": os.environ["HOME"], "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT),
            **environment}
        self._secrets = secrets
        self._folder = folder
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._taken_away: set[str] = set()
        self.processes: dict[str, subprocess.Popen] = {}

    def serve_kubernetes(self, cluster: kubernetes_cluster.Cluster) -> None:
        """Start the pods of a cluster, and end them on request."""

        def created(kind: str, body: dict[str, Any]) -> None:
            if kind != "Pod":
                return
            name, [container] = body["metadata"]["name"], body["spec"]["containers"]
            # The kubelet replaces $(NAME), and gives $ for $$.
            args = [arg.replace("$$", "$") for arg in container.get("args", ())]
            variables = {
                variable["name"]: self._value(variable) for variable in container.get("env", ())}

            def live() -> None:
                cluster.pod_runs(name)
                code = self._run(name, args, variables)
                cluster.pod_exits(name, code, disrupted=name in self._taken_away)

            self._background(live)

        def deleted(kind: str, body: dict[str, Any]) -> None:
            if kind == "Pod":
                self.end(body["metadata"]["name"])

        cluster.on_create, cluster.on_delete = created, deleted

    def serve_vertex(self, server: vertex_server.Server) -> None:
        """Start the containers of custom jobs with one machine, and end them on request."""

        def created(job: dict[str, Any]) -> None:
            resource = job["name"]
            container = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
            variables = {
                variable["name"]: variable["value"] for variable in container.get("env", ())}

            def live() -> None:
                server.set_state(resource, "running")
                code = self._run(job["displayName"], container["args"], variables)
                if server.state(resource) == "cancelling":
                    server.set_state(resource, "cancelled")
                elif code:
                    server.set_state(resource, "failed", (
                        f"The replica workerpool0-0 exited with a non-zero status of {code}."))
                else:
                    server.set_state(resource, "succeeded")

            self._background(live)

        server.on_create = created
        server.on_cancel = lambda job: self.end(job["displayName"])

    def end(self, name: str) -> None:
        """Ask a container to end, as a cloud does half a minute before it takes the machine."""
        if (process := self.processes.get(name)) is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)

    def take_away(self, name: str, grace: bool = True) -> None:
        """Preempt the machine of a container.

        Args:
            name: Name of the pod or the job, or its beginning.
            grace: Whether the container is asked to end; else its processes are killed.
        """
        [full] = [other for other in self.running() if other.startswith(name)]
        self._taken_away.add(full)
        if grace:
            self.end(full)
        else:
            os.killpg(self.processes[full].pid, signal.SIGKILL)

    def running(self) -> list[str]:
        """Return the names of running containers."""
        with self._lock:
            return [
                name for name, process in self.processes.items() if process.poll() is None]

    def close(self) -> None:
        """Kill all containers and wait for their threads."""
        for name in self.running():
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, args: Sequence[str], variables: Mapping[str, str]) -> int:
        with (self._folder / f"{name}.out").open("wb") as output, self._lock:
            self.processes[name] = process = subprocess.Popen(
                [*self._entry_point, *args], cwd=self._folder,
                env={**self._environment, **variables}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True)
        code = process.wait()
        # A killed process has the code that a container runtime gives it.
        return code if code >= 0 else 128 - code

    def _value(self, variable: Mapping[str, Any]) -> str:
        if "value" in variable:
            return variable["value"].replace("$$", "$")
        reference = variable["valueFrom"]["secretKeyRef"]
        return self._secrets[f"{reference['name']}/{reference['key']}"]

    def _background(self, work: Any) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

"""Trials in a project on W&B's server."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.records.sources import wandb_runs
from deepmac_ablate.results.records.sources.record import Record
from deepmac_ablate.results.records.sources.wandb_runs import Run
from deepmac_ablate.sweep.standing import Status

_PROJECT = re.compile(r"[^/\s]+/[^/\s]+")
_RUNS_PER_PAGE = 200
_SECONDS_TO_ANSWER = 60
# Beyond the client's own patience with a server that is busy.
_SECONDS_BETWEEN_TRIES = (2.0, 8.0, 30.0)

_STATES: dict[str, Status] = {
    "finished": "finished", "failed": "failed", "running": "running", "preempting": "running",
    "pending": "new", "crashed": "interrupted", "killed": "interrupted",
    "preempted": "interrupted"}


class Server(Protocol):
    """What is asked of W&B's server."""

    def runs(self, project: str) -> Iterable[Any]:
        """Yields the runs of a project, "entity/project", the oldest first.

        Each has ``id``, ``name``, ``group``, ``job_type``, ``state``, ``tags``, ``config`` and
        ``summary_metrics``, as `wandb.apis.public.Run` does.
        """


class WandbServer:
    """The server that W&B's client is set up for."""

    def runs(self, project: str) -> Iterable[Any]:
        """Yields the runs of a project; one request a page, with all that is asked of them."""
        import wandb

        # Anew each time: it keeps the pages that it has, also of a list that broke off.
        api = wandb.Api(timeout=_SECONDS_TO_ANSWER)
        return api.runs(project, per_page=_RUNS_PER_PAGE, lazy=False)


class Project:
    """A source of the trials of a project.

    Args:
        name: "entity/project".
        server: Whom to ask; None: W&B's.
        sleep: Waits for seconds.

    Raises:
        UserError: If that is no name of a project.
    """

    def __init__(
        self, name: str, server: Server | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not _PROJECT.fullmatch(name):
            raise UserError(
                f"'wandb:{name}' names no project of W&B's; write wandb:ENTITY/PROJECT, such as "
                "wandb:my-team/heads.")
        self._name = name
        self._server = server or WandbServer()
        self._sleep = sleep

    def axes(self) -> Sequence[str]:
        """Returns none; see `Source`."""
        return ()

    def trials(self) -> Iterable[Record]:
        """Returns the trials in the order in which they were created.

        Raises:
            UserError: If the server cannot be asked, or has no such project.
        """
        project = self._name.partition("/")[2]
        return wandb_runs.records(_run(project, run) for run in self._runs())

    def _runs(self) -> list[Any]:
        import wandb

        for seconds in (*_SECONDS_BETWEEN_TRIES, None):
            try:
                return list(self._server.runs(self._name))
            except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
                raise UserError(
                    f"W&B does not let you in ({error}): run `wandb login`, or set WANDB_API_KEY."
                ) from error
            except ValueError as error:
                raise UserError(
                    f"W&B has no project {self._name} that you may see ({error}).") from error
            except _failures() as error:
                if seconds is None:
                    raise UserError(
                        f"W&B does not say what is in {self._name}: {error}.") from error
                self._sleep(seconds)
        raise AssertionError


def _failures() -> tuple[type[Exception], ...]:
    """Returns how a server that is busy, or a network that is down, shows itself."""
    import requests
    from wandb.errors import CommError
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    return CommError, WandbApiFailedError, requests.RequestException, TimeoutError


def _run(project: str, run: Any) -> Run:  # noqa: ANN401 - of W&B's
    summary = _mapping(run.summary_metrics)
    status = _STATES.get(run.state, "interrupted")
    if status == "failed" and summary.get("_ablate/state") == "interrupted":
        # W&B knows two ends: exit status 0 and all others.
        status = "interrupted"
    return Run(
        run.id, project, run.group or "", run.name or run.id, run.job_type or "",
        tuple(run.tags or ()), _config(run.config), summary, status,
        "" if status in ("finished", "running", "new") else f"W&B says that it is {run.state}")


def _config(config: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Returns values by name; the server wraps each one."""
    return {
        name: value["value"] if isinstance(value, dict) and "value" in value else value
        for name, value in _mapping(config).items()}


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
    """Returns a mapping, which of runs that were not loaded whole is still text."""
    value = json.loads(value) if isinstance(value, str | bytes) and value else value
    return value if isinstance(value, Mapping) else {}

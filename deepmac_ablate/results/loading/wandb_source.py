"""Trials in a project on W&B's server."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.status_rows import Status
from deepmac_ablate.results.loading.source import Record, is_metric

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
        """Yield the runs of a project, "entity/project", the oldest first.

        Each has ``id``, ``name``, ``group``, ``job_type``, ``state``, ``tags``, ``config`` and
        ``summary_metrics``, as `wandb.apis.public.Run` does.
        """


class WandbServer:
    """The server that W&B's client is set up for."""

    def runs(self, project: str) -> Iterable[Any]:
        """Yield the runs of a project; one request a page, with all that is asked of them."""
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
        """Return none; see `Source`."""
        return ()

    def trials(self) -> Iterable[Record]:
        """Return the trials in the order in which they were created.

        Raises:
            UserError: If the server cannot be asked, or has no such project.
        """
        project = self._name.partition("/")[2]
        return records(_run(project, run) for run in self._runs())

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
    """Return how a server that is busy, or a network that is down, show itself."""
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
    """Return values by name; the server wraps each one."""
    return {
        name: value["value"] if isinstance(value, dict) and "value" in value else value
        for name, value in _mapping(config).items()}


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
    """Return a mapping, which of runs that were not loaded whole is still text."""
    value = json.loads(value) if isinstance(value, str | bytes) and value else value
    return value if isinstance(value, Mapping) else {}


_OWN = "_ablate/"
# As `standing` has it: whatever still runs comes first.
_PRECEDENCE: tuple[Status, ...] = ("running", "failed", "interrupted", "new")


class Run(NamedTuple):
    """A run.

    Attributes:
        run_id: Unique in its project; of a trial's, the trial's id with or without "-eval".
        project: Where it is listed; that of a trial is its sweep.
        group: The runs that it is shown with; that of a trial is its arm.
        name: What people read.
        job_type: "eval" for one that evaluates only.
        tags: As they were given; "baseline" says that it is of the baseline.
        config: Values by name.
        summary: The last value of everything.
        status: What became of it; "finished" if it ended well.
        cause: Why it did not.
    """

    run_id: str
    project: str
    group: str
    name: str
    job_type: str
    tags: Sequence[str]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    status: Status
    cause: str = ""

    @property
    def trial(self) -> str:
        """The id of its trial; its own where it is nobody's."""
        return self.config.get(f"{_OWN}id") or self.run_id

    @property
    def has_result(self) -> bool:
        """Whether it ended well and knows the numbers that its trial came to.

        Numbers of evaluations during training have the same names. The mirror adds `step` when it
        logs result.json, and at no other time.
        """
        is_own = f"{_OWN}id" in self.config
        return self.status == "finished" and (not is_own or "step" in self.summary)


def records(runs: Iterable[Run]) -> list[Record]:
    """Return the trials that runs are of, in the order of their first runs.

    Args:
        runs: Of several that one trial has, such as a trainer and an evaluator, in any order.
    """
    by_trial: dict[str, list[Run]] = {}
    for run in runs:
        by_trial.setdefault(run.trial, []).append(run)
    return [_record(trial, of_trial) for trial, of_trial in by_trial.items()]


def _record(trial: str, runs: Sequence[Run]) -> Record:
    # The trainer's, which comes first, knows most.
    runs = sorted(runs, key=lambda run: run.job_type == "eval")
    first = runs[0]
    config, finished = first.config, [run for run in runs if run.has_result]
    status, cause = ("finished", "") if finished else _unfinished(runs)
    summary = (finished or runs)[0].summary
    levels = config.get(f"{_OWN}levels")
    return Record(
        trial=trial, sweep=first.project,
        arm=str(config.get(f"{_OWN}arm") or first.group or first.name),
        baseline="baseline" in first.tags,
        seed=_whole(config.get(f"{_OWN}seed", config.get("seed"))),
        levels={
            axis: str(level) for axis, level in levels.items()} if isinstance(levels, dict) else {},
        status=status, cause=cause,
        step=_first_whole(summary, "step", "global_step", "_step"),
        steps=_whole(config.get("Training.steps")),
        attempts=sum(run.job_type != "eval" for run in runs),
        train_seconds=_number(summary.get("train_seconds")),
        dataset=it if isinstance(it := summary.get("dataset"), str) else None,
        metrics=_metrics(summary) if finished else {})


def _unfinished(runs: Sequence[Run]) -> tuple[Status, str]:
    """Say what became of a trial without a result, and why."""
    for status in _PRECEDENCE:
        for run in runs:
            if run.status == status:
                return status, run.cause
    return "interrupted", "its runs ended well, but none of them has logged a result"


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a summary, NaN for what is undefined: null, or no finite number."""
    metrics = {}
    for name, value in summary.items():
        if is_metric(name) and (value in (None, "NaN") or type(value) in (int, float)):
            number = _number(value)
            metrics[name] = math.nan if number is None else number
    return metrics


def _number(value: Any) -> float | None:  # noqa: ANN401 - JSON
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _whole(value: Any) -> int | None:  # noqa: ANN401 - JSON
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _first_whole(summary: Mapping[str, Any], *names: str) -> int | None:
    return next((it for name in names if (it := _whole(summary.get(name))) is not None), None)

"""Source for the trials of a W&B project."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.status_rows import Status
from deepmac_ablate.results.loading.source import TrialRecord
from deepmac_ablate.trial.trial_files import is_metric

_PROJECT = re.compile(r"[^/\s]+/[^/\s]+")
_RUNS_PER_PAGE = 200
_TIMEOUT_SECONDS = 60
# Pauses between attempts, in addition to the retries of the W&B client.
_SECONDS_BETWEEN_ATTEMPTS = (2.0, 8.0, 30.0)

_STATES: dict[str, Status] = {
    "finished": "finished", "failed": "failed", "running": "running", "preempting": "running",
    "pending": "new", "crashed": "interrupted", "killed": "interrupted",
    "preempted": "interrupted"}

# The prefix of the fields that the tracking mirror adds to a run.
_OWN = "_ablate/"
# The status of a trial with several unfinished runs is the first of these that one of them has.
_PRECEDENCE: tuple[Status, ...] = ("running", "failed", "interrupted", "new")


class Server(Protocol):
    """The part of the W&B API that is used."""

    def runs(self, project: str) -> Iterable[Any]:
        """Yield the runs of a project, "entity/project", the oldest first.

        Each has ``id``, ``name``, ``group``, ``job_type``, ``state``, ``tags``, ``config`` and
        ``summary_metrics``, like `wandb.apis.public.Run`.
        """


class WandbServer:
    """The server that the W&B client is configured for."""

    def runs(self, project: str) -> Iterable[Any]:
        """Yield the runs of a project, with one request per page and none per run."""
        import wandb

        # A new client each time, because it caches pages, even of a listing that failed.
        api = wandb.Api(timeout=_TIMEOUT_SECONDS)
        return api.runs(project, per_page=_RUNS_PER_PAGE, lazy=False)


class WandbProjectSource:
    """A source of the trials of a W&B project.

    Args:
        name: The name of the project as "entity/project".
        server: The server to ask; None means that of W&B.
        sleep: A function that waits for a number of seconds.

    Raises:
        UserError: If the name does not have the form "entity/project".
    """

    def __init__(
        self, name: str, server: Server | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not _PROJECT.fullmatch(name):
            raise UserError(
                f"'wandb:{name}' is not a W&B project; pass wandb:ENTITY/PROJECT, such as "
                "wandb:my-team/heads.")
        self._name = name
        self._server = server or WandbServer()
        self._sleep = sleep

    def axes(self) -> Sequence[str]:
        """Return none; see `Source`."""
        return ()

    def trials(self) -> Iterable[TrialRecord]:
        """Return the trials in the order in which they were created.

        Raises:
            UserError: If the server cannot be reached, or has no such project.
        """
        project = self._name.partition("/")[2]
        return records_of_runs(_parse_run(project, run) for run in self._list_runs())

    def _list_runs(self) -> list[Any]:
        import wandb

        for seconds in (*_SECONDS_BETWEEN_ATTEMPTS, None):
            try:
                return list(self._server.runs(self._name))
            except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
                raise UserError(
                    f"W&B refused the login ({error}): run `wandb login`, or set WANDB_API_KEY."
                ) from error
            except ValueError as error:
                raise UserError(
                    f"W&B project {self._name} does not exist, or you have no access to it "
                    f"({error}).") from error
            except _transient_errors() as error:
                if seconds is None:
                    raise UserError(
                        f"Cannot list the runs of W&B project {self._name}: {error}.") from error
                self._sleep(seconds)
        raise AssertionError


def _transient_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a busy server or a broken network connection."""
    import requests
    from wandb.errors import CommError
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    return CommError, WandbApiFailedError, requests.RequestException, TimeoutError


class WandbRun(NamedTuple):
    """A W&B run.

    Attributes:
        run_id: Its id, unique in its project; for a run of a trial, the trial's id, followed by
            "-eval" if it only evaluates.
        project: The name of its project, which is the trial's sweep.
        group: The name of its group, which is the trial's arm.
        name: Its display name.
        job_type: "eval" if it only evaluates.
        tags: Its tags; "baseline" marks runs of the baseline.
        config: The values of its configuration by name.
        summary: The last value of each logged quantity by name.
        status: The status of the trial as far as this run shows; "finished" if it ended well.
        cause: The reason if it did not end well.
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
        """The id of its trial, or its own id if it was not logged by this project."""
        return self.config.get(f"{_OWN}id") or self.run_id

    @property
    def has_result(self) -> bool:
        """True if it ended well and its summary holds the final metrics of the trial.

        Evaluations during training log metrics of the same names; only the final result is logged
        together with `step`.
        """
        is_own = f"{_OWN}id" in self.config
        return self.status == "finished" and (not is_own or "step" in self.summary)


def records_of_runs(runs: Iterable[WandbRun]) -> list[TrialRecord]:
    """Return one record per trial, in the order of their first runs.

    Args:
        runs: The runs of all trials; a trial may have several, such as one that trains and one
            that evaluates.
    """
    runs_by_trial: dict[str, list[WandbRun]] = {}
    for run in runs:
        runs_by_trial.setdefault(run.trial, []).append(run)
    return [_merge_runs(trial, of_trial) for trial, of_trial in runs_by_trial.items()]


def _parse_run(project: str, run: Any) -> WandbRun:  # noqa: ANN401 - a run of the W&B client
    summary = _mapping(run.summary_metrics)
    status = _STATES.get(run.state, "interrupted")
    if status == "failed" and summary.get(f"{_OWN}state") == "interrupted":
        # W&B knows only exit status 0 and others.
        status = "interrupted"
    return WandbRun(
        run.id, project, run.group or "", run.name or run.id, run.job_type or "",
        tuple(run.tags or ()), _config(run.config), summary, status,
        "" if status in ("finished", "running", "new") else f"W&B reports the state {run.state!r}")


def _config(config: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the values of a configuration by name, without the server's wrapping."""
    return {
        name: value["value"] if isinstance(value, dict) and "value" in value else value
        for name, value in _mapping(config).items()}


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
    """Return a mapping, from JSON text if the run was not loaded completely."""
    value = json.loads(value) if isinstance(value, str | bytes) and value else value
    return value if isinstance(value, Mapping) else {}


def _merge_runs(trial: str, runs: Sequence[WandbRun]) -> TrialRecord:
    # Runs that train come first; their configuration is the most complete.
    runs = sorted(runs, key=lambda run: run.job_type == "eval")
    first = runs[0]
    config, finished = first.config, [run for run in runs if run.has_result]
    status, cause = ("finished", "") if finished else _unfinished_status(runs)
    summary = (finished or runs)[0].summary
    levels, dataset = config.get(f"{_OWN}levels"), summary.get("dataset")
    return TrialRecord(
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
        dataset=dataset if isinstance(dataset, str) else None,
        images=_whole(summary.get("images")), dataset_images=_whole(summary.get("dataset_images")),
        metrics=_metrics(summary) if finished else {})


def _unfinished_status(runs: Sequence[WandbRun]) -> tuple[Status, str]:
    """Return the status and cause of a trial without a result."""
    for status in _PRECEDENCE:
        for run in runs:
            if run.status == status:
                return status, run.cause
    return "interrupted", "its W&B runs finished, but none of them logged a result"


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a summary, with NaN for null and for values that are not finite."""
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
    values = (_whole(summary.get(name)) for name in names)
    return next((value for value in values if value is not None), None)

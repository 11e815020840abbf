"""Interface of a cloud that runs jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.errors import UserError

JobState = Literal["queued", "running", "preempted", "succeeded", "failed", "expired", "cancelled",
                   "gone"]

# Final states. A preempted job is not final: it waits for machines to continue.
ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "expired", "cancelled", "gone"})


class NoAnswerError(UserError):
    """The provider does not answer now; asking again may help, and a job may have reached it."""


class JobStatus(NamedTuple):
    """Status of a job as its cloud reports it.

    Attributes:
        state: State of the job; "gone" if the cloud does not know the job (any more).
        message: The cloud's own message in one line; may be empty.
    """

    state: JobState
    message: str = ""


class Provider(Protocol):
    """Cloud that runs jobs; it remembers nothing between calls."""

    def render(self, request: JobRequest) -> dict[str, Any]:
        """Return the exact body of the request that `submit` sends, as JSON values.

        Raises:
            UserError: If this cloud does not support such a job.
        """

    def submit(self, request: JobRequest) -> str:
        """Start a job, or find the one that was started with this name before.

        Returns:
            Resource name that the cloud has given the job, for the other methods.

        Raises:
            UserError: If the cloud refuses the job or does not answer, or credentials are missing.
        """

    def find_job(self, name: str) -> str | None:
        """Return the resource name of the job that was submitted with a name, or None.

        Raises:
            UserError: If the cloud does not answer.
        """

    def status(self, resource: str) -> JobStatus:
        """Return the status of a job.

        Raises:
            UserError: If the cloud does not answer.
        """

    def cancel(self, resource: str) -> None:
        """End a job, unless it has ended or is gone.

        Raises:
            UserError: If the cloud does not answer.
        """


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """Request for one job: one command on one device.

    Attributes:
        name: Unique name: at most 40 of a-z, 0-9 and "-", a letter first. A second job with the
            same name is not started.
        image: Container image with a tag or a digest; its entry point is `deepmac-ablate`.
        args: Arguments of the entry point, passed on unchanged.
        device: Device that the job runs on.
        env: Further environment variables; no secrets.
        secrets: References to secrets by environment variable, see `secrets`.
        labels: Labels for people and bills; keys and values consist of a-z, 0-9, "_" and "-".
        spot: Whether to use spot machines, which may be preempted.
        service_account: Service account of the job; None for the cloud's default.
        hours: Time limit in hours.
        grace: Seconds between SIGTERM and SIGKILL.
        end_notice: File by which the hosts of a TPU slice tell the job's worker, which runs on
            another machine, that they are asked to end.
    """

    name: str
    image: str
    args: tuple[str, ...]
    device: Device
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spot: bool = False
    service_account: str | None = None
    hours: float = 168.0
    grace: float = 30.0
    end_notice: str | None = None


def check_one_capacity(
    cloud: str, spot: bool, reservation: str | None, flex_start: bool
) -> None:
    """Check that the machines of a job come from at most one kind of capacity.

    Raises:
        UserError: If several are requested.
    """
    ways = {
        "spot machines": spot, "a reservation": reservation is not None, "flex start": flex_start}
    if len(chosen := [name for name, is_chosen in ways.items() if is_chosen]) > 1:
        raise UserError(
            f"{cloud} provides machines in one way only; choose one of {' and '.join(chosen)}.")

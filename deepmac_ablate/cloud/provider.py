"""What every cloud can be asked, and what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from deepmac_ablate.cloud.devices import Device

State = Literal["queued", "running", "preempted", "succeeded", "failed", "expired", "cancelled",
                "gone"]

# A job in one of the others will change yet. A preempted one waits for machines to go on.
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "expired", "cancelled", "gone"})


class JobLook(NamedTuple):
    """A job as its cloud sees it.

    Attributes:
        state: what it does; "gone" where the cloud knows no such job (any more).
        message: the cloud's own words on it, in one line; empty where it has none.
    """

    state: State
    message: str = ""


class Provider(Protocol):
    """A cloud. All that it says and does is over the network; nothing is remembered."""

    def render(self, request: JobRequest) -> dict[str, Any]:
        """Return the exact body of the request that `submit` sends, as JSON has it.

        Raises:
            UserError: If this cloud has no such job.
        """

    def submit(self, request: JobRequest) -> str:
        """Start a job, or find the one that was started by this name before.

        Returns:
            The cloud's name for it, by which the other methods know it.

        Raises:
            UserError: If the cloud refuses it, there are no credentials, or nobody answers.
        """

    def find(self, name: str) -> str | None:
        """Return the cloud's name for the job that was submitted by a name, or None.

        Raises:
            UserError: If nobody answers.
        """

    def look(self, resource: str) -> JobLook:
        """Return how a job is doing.

        Raises:
            UserError: If nobody answers.
        """

    def cancel(self, resource: str) -> None:
        """End a job; one that has ended or is gone stays so.

        Raises:
            UserError: If nobody answers.
        """


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """One job: one command on one device.

    Attributes:
        name: unique; at most 40 of a-z, 0-9 and "-", a letter first. Submitting a name again is
            submitting nothing.
        image: the container's, with a tag or a digest; its entry point is `deepmac-ablate`.
        args: what the entry point is given, as it is written.
        device: what it runs on.
        env: further variables; no secrets.
        secrets: references to secrets by the names of variables, see `secrets`.
        labels: for people and bills; keys and values are a-z, 0-9, "_" and "-".
        spot: whether the machines may be taken away.
        service_account: whose rights it has; None: the cloud's default.
        hours: after which it is ended whatever it does.
        grace: seconds between being asked to end and being killed.
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

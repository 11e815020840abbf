"""What a job in a cloud shall be, whichever cloud it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from deepmac_ablate.cloud.devices import Device


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

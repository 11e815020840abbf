"""How jobs get into a cluster: where they belong, and on whose account they get machines."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Placement:
    """What is the same for all jobs of a launch.

    Attributes:
        namespace: of the jobs, their secrets and their service account.
        reservation: name of the reservation of accelerators that is used up; None for none.
        flex_start: whether machines are asked for by Dynamic Workload Scheduler, which gives them
            when there are some, for at most seven days.
        queue: name of Kueue's LocalQueue that decides when a job starts; None where there is none.
        pull_secrets: names of the secrets with which images are pulled from other registries.
    """

    namespace: str = "default"
    reservation: str | None = None
    flex_start: bool = False
    queue: str | None = None
    pull_secrets: tuple[str, ...] = ()

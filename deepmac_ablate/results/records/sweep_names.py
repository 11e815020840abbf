"""What sweeps are called where several workdirs are read together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from deepmac_ablate.results.records.sources.record import Record

Workdirs = Sequence[str | os.PathLike[str]]


def told_apart(
    workdirs: Workdirs, of_workdirs: Sequence[Sequence[Record]]
) -> Iterator[Record]:
    """Yields all records; a sweep that is another one in another workdir has the workdir's name.

    Args:
        workdirs: What was read.
        of_workdirs: The records of each.
    """
    trials: dict[tuple[str, str, int | None], dict[str, int]] = {}
    for number, records in enumerate(of_workdirs):
        for record in records:
            first = trials.setdefault((record.sweep, record.arm, record.seed), {})
            first.setdefault(record.trial, number)
    twofold = {sweep for (sweep, *_), first in trials.items() if len(set(first.values())) > 1}
    for workdir, records in zip(workdirs, of_workdirs, strict=True):
        for record in records:
            if record.sweep and record.sweep in twofold:
                yield record._replace(sweep=with_workdir(record.sweep, workdir, workdirs))
            else:
                yield record


def with_workdir(sweep: str, workdir: str | os.PathLike[str], workdirs: Workdirs) -> str:
    """Returns what a sweep is called that is another one in another workdir.

    Args:
        sweep: Its name.
        workdir: Where it is.
        workdirs: All that are read together; the last part of the path stands for it where no
            other ends in the same.
    """
    def last_part(path: str | os.PathLike[str]) -> str:
        return os.fspath(path).rstrip("/").rpartition("/")[2]

    alike = [it for it in workdirs if last_part(it) == last_part(workdir)]
    return f"{sweep} ({last_part(workdir) if len(alike) == 1 else os.fspath(workdir)})"

"""Keeps a mistake that all trials share from being made by all of them."""

from __future__ import annotations

from deepmac_ablate.errors import check_at_least
from deepmac_ablate.sweep.causes import normalised
from deepmac_ablate.sweep.rows import TrialRow, log_path


class Breaker:
    """Decides whether one more trial of a launch may start.

    The first one runs alone until it has shown that a trial can work at all. After `limit` trials
    in a row have failed of the same cause no more start. Trials end in an order of their own; "in a
    row" is in the order in which `note` hears of them.

    Args:
        limit: How many trials; the same one failing again counts once. 0: never stop.

    Attributes:
        message: Why no more trials start and how to go on; empty while they do.
    """

    def __init__(self, limit: int = 3) -> None:
        check_at_least(0, limit=limit)
        self.message = ""
        self._limit = limit
        self._proven = False
        self._cause = ""
        self._failed: set[str] = set()

    def may_start(self, running: int, has_metrics: bool = False) -> bool:
        """Returns whether one more trial may start now.

        Args:
            running: How many are running.
            has_metrics: Whether a trial that was started in this launch has noted a first line of
                metrics in it. Once is enough.
        """
        self._proven = self._proven or has_metrics
        if self.message:
            return False
        return self._proven or running == 0

    def note(self, result: TrialRow) -> None:
        """Takes in how a trial ended; one that was interrupted says nothing about the others."""
        if result.status == "finished":
            self._proven = True
            self._failed.clear()
        elif result.status == "failed":
            cause = normalised(result.cause)
            if cause != self._cause:
                self._failed.clear()
            self._cause = cause
            self._failed.add(result.id)
            if self._limit and len(self._failed) >= self._limit:
                self.message = (
                    f"{len(self._failed)} trials in a row have failed of the same cause, so no "
                    f"more are started: {result.cause or 'no cause is known'} (last {result.id}: "
                    f"{log_path(result)}). Mend it and launch the sweep again: what is finished "
                    "stays, and what was interrupted goes on.")

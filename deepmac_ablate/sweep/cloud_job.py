"""One job of a trial in a cloud, from its submission to its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable

from deepmac_ablate.cloud.job_request import JobRequest
from deepmac_ablate.cloud.provider import Provider, State
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.submission import Submission

# After which it is noted again that a job is as it was, so that a reader knows how old the news is.
_SECONDS_BETWEEN_NOTES = 60.0
# A cloud that does not answer for as long is not waited for any more; its jobs go on.
_SECONDS_WITHOUT_ANSWER = 600.0


class CloudJob:
    """Follows one submission and notes what becomes of it in the trial's folder.

    Args:
        provider: Where it is, or is to be.
        folder: The trial's.
        submission: What was noted of it last.
        seconds: Between two looks.
        left: Set once nobody waits for it any more.
        companion: The job without which this one is in vain; None: there is none.

    Attributes:
        submission: What is noted of it.
    """

    def __init__(
        self,
        provider: Provider,
        folder: str,
        submission: Submission,
        seconds: float,
        left: asyncio.Event,
        companion: CloudJob | None = None,
    ) -> None:
        self._provider = provider
        self._folder = folder
        self.submission = submission
        self._seconds = seconds
        self._left = left
        self._companion = companion
        self._answered = time.monotonic()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended, but not well."""
        return self.submission.has_ended and self.submission.state != "succeeded"

    async def follow(self, request: JobRequest, noted: Callable[[str], None]) -> State:
        """Submits the job unless it has been, and returns its state once it is over, or left.

        Args:
            request: What to submit.
            noted: Is told the cloud's name for it.

        Raises:
            UserError: If the cloud refuses it or gives no answer.
            OSError: If the trial's folder cannot be written.
        """
        if self.submission.resource is None:
            # Before the cloud hears of it: whoever finds the note asks the cloud for it by name.
            await self._note(self.submission)
            resource = await asyncio.to_thread(self._provider.submit, request)
            await self._note(dataclasses.replace(self.submission, resource=resource))
        noted(self.submission.resource)
        while True:
            await self._look()
            if self.submission.has_ended or self._left.is_set():
                return self.submission.state
            if self._companion is not None and self._companion.has_failed:
                await asyncio.to_thread(self._provider.cancel, self.submission.resource)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), self._seconds)

    async def _look(self) -> None:
        try:
            look = await asyncio.to_thread(self._provider.look, self.submission.resource)
        except UserError:
            if time.monotonic() - self._answered > _SECONDS_WITHOUT_ANSWER:
                raise
            return
        self._answered, before, now = time.monotonic(), self.submission, time.time()
        news = before.seen(look, now)
        changed = (news.state, news.message) != (before.state, before.message)
        if changed or now - before.looked > _SECONDS_BETWEEN_NOTES:
            await self._note(news)

    async def _note(self, submission: Submission) -> None:
        await asyncio.to_thread(submission.write, self._folder)
        self.submission = submission

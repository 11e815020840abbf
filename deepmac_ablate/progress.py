"""Output on a terminal: progress of long loops, and text without control characters of others.

Progress is a bar on a terminal, and a line every 15 seconds in a log.
A log that got such lines gets another one at the end, so that the last one has the final count.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, TextIO, TypeVar

from rich import progress as rich_progress
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from deepmac_ablate.safe_text import visible

_Item = TypeVar("_Item")
_SECONDS_BETWEEN_LINES = 15.0


class PlainStream:
    """Text stream in which everything that is written is `visible`.

    Attributes:
        stream: The stream that it writes to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text and return its length."""
        self.stream.write(visible(text))
        return len(text)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Make what this process prints in the block `visible`.

    Letters that the output's encoding does not have are written as codes, too.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (stream and PlainStream(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class PlainConsole(Console):
    """Console whose texts are `visible`; only rich itself controls the terminal.

    Args:
        stream: Stream to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(file=stream.stream if isinstance(stream, PlainStream) else stream)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


class Reached(NamedTuple):
    """State of a loop.

    Attributes:
        activity: Name of the activity, such as "Evaluating".
        done: Number of items that are done.
        total: Number of items.
        seconds: Time since the loop began.
    """

    activity: str
    done: int
    total: int
    seconds: float


_OBSERVERS: contextvars.ContextVar[tuple[Callable[[Reached], None], ...]] = contextvars.ContextVar(
    "observers", default=())


@contextlib.contextmanager
def observing(observe: Callable[[Reached], None], seconds: float = 1.0) -> Iterator[None]:
    """Tell a function, too, how far loops in the block are.

    Args:
        observe: Called after the first item, the last, and others at least `seconds` apart.
        seconds: Least time between calls.
    """
    last = float("-inf")

    def throttled(reached: Reached) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds or reached.done >= reached.total:
            last = time.monotonic()
            observe(reached)

    token = _OBSERVERS.set((*_OBSERVERS.get(), throttled))
    try:
        yield
    finally:
        _OBSERVERS.reset(token)


class Progress:
    """Progress display, shown while the context lasts.

    Attributes:
        done: Number of items that are done.
    """

    def __init__(
        self, description: str, total: int, done: int = 0, console: Console | None = None
    ) -> None:
        """Prepare the display.

        Args:
            description: Name of the activity, such as "Training".
            total: Number of items.
            done: Number of items that were done before.
            console: Console to use instead of stderr.
        """
        self.done = done
        self._description = description
        self._total = total
        self._console = console or PlainConsole(sys.stderr)
        self._started = self._last_line = 0.0
        self._unprinted: str | None = None
        self._any_printed = False
        self._bar: rich_progress.Progress | None = None
        if self._console.is_terminal:
            self._bar = rich_progress.Progress(
                *rich_progress.Progress.get_default_columns(),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TextColumn("{task.fields[numbers]}"),
                console=self._console, transient=True)
            self._task = self._bar.add_task(description, total=total, completed=done, numbers="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        self._started = self._last_line = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._any_printed and self._unprinted is not None:
            self._print(self._unprinted)

    def update(self, done: int, **numbers: float) -> None:
        """Show the number of items that are done, and further numbers such as losses."""
        self.done = done
        for observe in _OBSERVERS.get():
            seconds = time.monotonic() - self._started
            observe(Reached(self._description, done, self._total, seconds))
        shown = " ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, numbers=shown)
            return
        line = f"{self._description}: {done} of {self._total}"
        self._unprinted = f"{line}, {shown}" if shown else line
        if time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._print(self._unprinted)

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False)
        self._any_printed, self._unprinted = True, None


def track(
    items: Iterable[_Item], total: int, description: str, console: Console | None = None
) -> Iterator[_Item]:
    """Yield `items` while showing how many of them are done.

    Args:
        items: Items to yield.
        total: Number of items.
        description: Name of the activity, such as "Converting".
        console: Console to use instead of stderr.

    Yields:
        The items.
    """
    with Progress(description, total, console=console) as progress:
        for item in items:
            yield item
            progress.update(progress.done + 1)

"""How far a long loop is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

_Item = TypeVar("_Item")
_SECONDS_BETWEEN_LINES = 15.0


def track(
    items: Iterable[_Item], total: int, description: str, console: Console | None = None
) -> Iterator[_Item]:
    """Yields `items` and reports how many of `total` are done, on stderr.

    Args:
        items: What the loop runs over.
        total: How many items there are.
        description: What is being done, such as "Converting".
        console: Where to report instead of stderr.

    Yields:
        The items.
    """
    console = console or Console(stderr=True)
    if console.is_terminal:
        yield from rich_track(items, description, total=total, console=console, transient=True)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            console.print(f"{description}: {done} of {total}", highlight=False)

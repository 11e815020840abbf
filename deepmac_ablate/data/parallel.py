"""Parallel map over processes that keeps order and limits how far it runs ahead."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_CHUNK = 8
_CHUNKS_AHEAD = 4


def ordered_map(
    function: Callable[[_Task], _Result], tasks: Iterable[_Task], num_processes: int
) -> Iterator[_Result]:
    """Yield ``function(task)`` in the order of `tasks`, computed by `num_processes` processes.

    With one process, the calls are made in the caller's process. An exception of `function` is
    raised here and ends the map.

    Args:
        function: Function to apply; every process imports its module, which should be quick.
        tasks: Arguments that can be pickled.
        num_processes: Number of processes, at least 1.
    """
    if num_processes <= 1:
        yield from map(function, tasks)
        return
    # Fresh interpreters, because forking a process that runs TensorFlow's threads may hang. They
    # ignore Ctrl-C, which the parent handles.
    pool = futures.ProcessPoolExecutor(
        num_processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        # Finished chunks are held in memory (COCO has 19 GB), so only a few are computed ahead.
        waiting: collections.deque[futures.Future[list[_Result]]] = collections.deque()
        for chunk in _chunks(tasks):
            waiting.append(pool.submit(_apply, function, chunk))
            if len(waiting) >= _CHUNKS_AHEAD * num_processes:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(tasks: Iterable[_Task]) -> Iterator[list[_Task]]:
    remaining = iter(tasks)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield chunk


def _apply(function: Callable[[_Task], _Result], chunk: list[_Task]) -> list[_Result]:
    return [function(task) for task in chunk]

"""Asks TensorFlow about configurations, in another process, and only about those that are new."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.progress import Progress
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.storage.user_cache import user_cache_path
from deepmac_ablate.sweep.validation import cache as verdict_cache
from deepmac_ablate.sweep.validation.verdict import Candidate, Verdict, with_data


def verdicts(candidates: Sequence[Candidate], cache: Path | None = None) -> list[Verdict]:
    """Return a verdict for each candidate; see `judging`."""
    with judging(candidates, cache) as found:
        pass
    return found


@contextlib.contextmanager
def judging(candidates: Sequence[Candidate], cache: Path | None = None) -> Iterator[list[Verdict]]:
    """Judge candidates as `validation.validate` does, while its block goes on with other work.

    The first seconds of a judge are TensorFlow's imports, in which a sweep can be resolved.

    Args:
        candidates: What to judge; those with the same content are judged once.
        cache: A file of verdicts found before, which new ones are added to; None: in the user's
            cache folder.

    Yields:
        A list which holds a verdict for each candidate once the block has been left.

    Raises:
        UserError: If the process that judges dies; what it found until then is kept.
    """
    path = cache or user_cache_path("verdicts.jsonl")
    problems: dict[int, str] = {}
    keys: dict[int, str] = {}
    for index, candidate in enumerate(candidates):
        try:
            keys[index] = verdict_cache.key(
                bindings.read(candidate.gin_files, candidate.bindings))
        except UserError as problem:
            problems[index] = str(problem)
    known = verdict_cache.load(path) if keys else {}
    new = {key: candidates[index] for index, key in keys.items() if key not in known}
    found: list[Verdict] = []
    with _judging(new, path) as judged:
        yield found
    known |= judged
    found += with_data([
        Verdict(candidate.label, (problems[index],)) if index in problems
        else dataclasses.replace(known[keys[index]], label=candidate.label)
        for index, candidate in enumerate(candidates)
    ])


@contextlib.contextmanager
def _judging(candidates: Mapping[str, Candidate], cache: Path) -> Iterator[dict[str, Verdict]]:
    """Has candidates judged, by key, and keeps what is found by the end of the block."""
    found: dict[str, Verdict] = {}
    if not candidates:
        yield found
        return
    try:
        with Progress("Checking", len(candidates)) as progress, \
                tempfile.TemporaryFile() as errors, ThreadPoolExecutor(1) as pool, \
                _process(errors) as process:
            running = pool.submit(_ask, process, candidates, found, progress)
            yield found
            running.result()
            process.wait()
            if process.returncode or len(found) < len(candidates):
                raise UserError(_death(process.returncode, errors))
    finally:
        verdict_cache.add(cache, found)


@contextlib.contextmanager
def _process(errors: IO[bytes]) -> Iterator[subprocess.Popen]:
    """Start the process that judges; it is gone once the context is left, done or not."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "deepmac_ablate.sweep.validation"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _ask(
    process: subprocess.Popen,
    candidates: Mapping[str, Candidate],
    found: dict[str, Verdict],
    progress: Progress,
) -> None:
    """Has candidates judged, and notes each verdict as it comes."""
    keys = list(candidates)
    _send(process, list(candidates.values()))
    for line in process.stdout:
        answer = json.loads(line)
        found[keys[answer["index"]]] = Verdict.from_json(answer["verdict"])
        progress.update(len(found))


def _send(process: subprocess.Popen, candidates: Sequence[Candidate]) -> None:
    try:
        with process.stdin as stdin:
            for candidate in candidates:
                stdin.write(f"{to_json(vars(candidate))}\n")
    except BrokenPipeError:
        # It died; its last words say why.
        return


def _environment() -> dict[str, str]:
    """Return this process's, in which the other finds the same modules and no accelerator."""
    # Plans are made on machines whose GPUs others use, and TensorFlow would take all their memory.
    paths = [path or os.getcwd() for path in sys.path]  # noqa: PTH109
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _death(returncode: int, errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it left no message"
    return f"The process that checks the arms died with status {returncode}: {last}"

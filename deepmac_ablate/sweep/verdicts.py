"""Asks TensorFlow about configurations, in another process, and only about those that are new."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.plain_json import to_json
from deepmac_ablate.progress import Progress
from deepmac_ablate.sweep import verdict_cache
from deepmac_ablate.verdict import Candidate, Verdict, with_data

# From so many on, a second process earns the seconds back that its imports take.
_WORTH_A_PROCESS = 3000


def verdicts(candidates: Sequence[Candidate], cache: Path | None = None) -> list[Verdict]:
    """Returns a verdict for each candidate, as `validation.validate` does.

    Args:
        candidates: what to judge; those with the same content are judged once.
        cache: a file of verdicts found before, which new ones are added to; None: in the user's
            cache folder.

    Raises:
        UserError: If the process that judges dies; what it found until then is kept.
    """
    path = cache or verdict_cache.default_path()
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
    if new:
        known |= _judge(new, path)
    found = [
        Verdict(candidate.label, (problems[index],)) if index in problems
        else dataclasses.replace(known[keys[index]], label=candidate.label)
        for index, candidate in enumerate(candidates)
    ]
    return with_data(found)


def _judge(candidates: dict[str, Candidate], cache: Path) -> dict[str, Verdict]:
    """Has candidates judged, by key, and keeps what is found."""
    keys = list(candidates)
    found: dict[str, Verdict] = {}
    # Neighbours share a process, as they mostly share an architecture, which is built in each.
    workers = min(os.cpu_count() or 1, max(1, len(keys) // _WORTH_A_PROCESS))
    shares = [keys[len(keys) * i // workers:len(keys) * (i + 1) // workers]
              for i in range(workers)]
    try:
        with Progress("Checking", len(keys)) as progress, ThreadPoolExecutor(workers) as pool:
            def note(key: str, verdict: Verdict) -> None:
                found[key] = verdict
                progress.update(len(found))

            running = [pool.submit(_ask, share, candidates, note) for share in shares]
            for future in running:
                future.result()
    finally:
        verdict_cache.add(cache, found)
    return found


def _ask(
    keys: Sequence[str],
    candidates: Mapping[str, Candidate],
    note: Callable[[str, Verdict], None],
) -> None:
    """Has one process judge some candidates, and notes each verdict as it comes."""
    count = 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deepmac_ablate.validation"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment())
        try:
            _send(process, [candidates[key] for key in keys])
            for line in process.stdout:
                answer = json.loads(line)
                note(keys[answer["index"]], Verdict.from_json(answer["verdict"]))
                count += 1
            process.wait()
        finally:
            process.kill()
            process.wait()
        if process.returncode or count < len(keys):
            raise UserError(_death(process.returncode, errors))


def _send(process: subprocess.Popen, candidates: Sequence[Candidate]) -> None:
    try:
        with process.stdin as stdin:
            for candidate in candidates:
                stdin.write(f"{to_json(dataclasses.asdict(candidate))}\n")
    except BrokenPipeError:
        # It died; its last words say why.
        return


def _environment() -> dict[str, str]:
    """Returns this process's, in which the other finds the same modules and no accelerator."""
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

"""Validation in another process, which imports TensorFlow; known results come from a cache."""

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
from deepmac_ablate.sweep.validation import result_cache
from deepmac_ablate.sweep.validation.dataset_checks import check_datasets
from deepmac_ablate.sweep.validation.validation_result import ArmConfig, ValidationResult


@contextlib.contextmanager
def validating(
    configs: Sequence[ArmConfig], cache: Path | None = None
) -> Iterator[list[ValidationResult]]:
    """Validate configurations in another process while the block does other work.

    That process takes seconds to import TensorFlow, enough to resolve a sweep meanwhile.

    Args:
        configs: The configurations; those with the same content are validated once.
        cache: The file of known results, to which new ones are added; by default a file in the
            user's cache folder.

    Yields:
        A list that holds a result for each configuration after the block, their datasets included.

    Raises:
        UserError: If the process dies; the results that it has found are kept.
    """
    path = cache or user_cache_path("validation.jsonl")
    problems: dict[int, str] = {}
    keys: dict[int, str] = {}
    for index, config in enumerate(configs):
        try:
            keys[index] = result_cache.content_key(
                bindings.read(config.gin_files, config.bindings))
        except UserError as problem:
            problems[index] = str(problem)
    known = result_cache.load_results(path) if keys else {}
    new = {key: configs[index] for index, key in keys.items() if key not in known}
    results: list[ValidationResult] = []
    with _validating_new(new, path) as found:
        yield results
    known |= found
    results += check_datasets([
        ValidationResult(config.label, (problems[index],)) if index in problems
        else dataclasses.replace(known[keys[index]], label=config.label)
        for index, config in enumerate(configs)
    ])


@contextlib.contextmanager
def _validating_new(
    configs: Mapping[str, ArmConfig], cache: Path
) -> Iterator[dict[str, ValidationResult]]:
    """Validate configurations by key, and add the results to the cache after the block."""
    found: dict[str, ValidationResult] = {}
    if not configs:
        yield found
        return
    try:
        with Progress("Checking", len(configs)) as progress, \
                tempfile.TemporaryFile() as errors, ThreadPoolExecutor(1) as pool, \
                _validation_process(errors) as process:
            running = pool.submit(_exchange, process, configs, found, progress)
            yield found
            running.result()
            process.wait()
            if process.returncode or len(found) < len(configs):
                raise UserError(_death_message(process.returncode, errors))
    finally:
        result_cache.add_results(cache, found)


@contextlib.contextmanager
def _validation_process(errors: IO[bytes]) -> Iterator[subprocess.Popen]:
    """Start the process, and kill it when the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "deepmac_ablate.sweep.validation"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _exchange(
    process: subprocess.Popen,
    configs: Mapping[str, ArmConfig],
    found: dict[str, ValidationResult],
    progress: Progress,
) -> None:
    """Send configurations to the process, and collect each result as it arrives."""
    keys = list(configs)
    _send(process, list(configs.values()))
    for line in process.stdout:
        answer = json.loads(line)
        found[keys[answer["index"]]] = ValidationResult.from_json(answer["result"])
        progress.update(len(found))


def _send(process: subprocess.Popen, configs: Sequence[ArmConfig]) -> None:
    # A process that died early is reported with its exit status and last line of stderr.
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        for config in configs:
            stdin.write(f"{to_json(vars(config))}\n")


def _environment() -> dict[str, str]:
    """Return the environment of the process: it finds the same modules, and no accelerator."""
    # GPUs of this machine may be in use, and TensorFlow would take all of their memory.
    paths = [path or os.getcwd() for path in sys.path]  # noqa: PTH109
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _death_message(returncode: int, errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it left no message"
    return f"The process that checks the arms died with status {returncode}: {last}"

"""Provenance of numbers: the code, versions and machine behind each launch and each attempt.

A launch writes ``provenance.json`` and ``changes.patch``, from which its code can be restored.
Whenever a trainer starts, it adds a line to ``attempts.jsonl`` in the trial's folder, by which
tables recognise numbers of mixed code, or of other code than the present one.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from etils import epath

from deepmac_ablate.bindings.gin_files import find_gin_file
from deepmac_ablate.errors import UserError
from deepmac_ablate.safe_text import redact_command
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.trial.code_fingerprint import (
    ROOT,
    code_fingerprint,
    library_versions,
    lock_hash,
)
from deepmac_ablate.trial.git_state import git_state, uncommitted_changes

# The fields of an attempt that `code_state` and `current_code` need.
CODE_FIELDS = ("mode", "step", "steps", "code", "modules")

CodeState = Literal["", "other code", "mixed code"]


def describe_code(
    modules: Iterable[str] = (), gin_files: Iterable[str] = (), root: Path = ROOT
) -> dict[str, Any]:
    """Return a description of the code that runs in this process.

    Args:
        modules: Names of the modules that the gin files import.
        gin_files: Names of the gin files of a trial, as for `bindings.read`; none for a launch of
            many trials.
        root: The root of the checkout.

    Returns:
        ``code`` (the fingerprint), ``modules``, ``gin_files`` (name -> path, relative to the root
        if it is in the checkout), ``commit``, ``branch`` and ``dirty`` (None outside a checkout),
        ``lock`` (hash of the lock file, or None), ``versions``, ``host`` and ``folder`` (the
        current one, in which relative paths of the configuration begin).
    """
    modules = sorted(set(modules))
    places = {name: _relative_path(find_gin_file(name)) for name in gin_files}
    state = git_state(root)
    return {
        "code": code_fingerprint(*modules, gin_files=_locate(places)),
        "modules": modules,
        "gin_files": places,
        "commit": state and state.commit,
        "branch": state and state.branch,
        "dirty": state and state.dirty,
        "lock": lock_hash(),
        "versions": library_versions(),
        "host": socket.gethostname(),
        "folder": os.getcwd(),  # noqa: PTH109
    }


def write_provenance(
    folder: str | os.PathLike[str], modules: Iterable[str] = (), root: Path = ROOT
) -> None:
    """Write provenance.json and, if the checkout holds changes, changes.patch.

    provenance.json is written last, so its existence implies that the patch is complete. On a clean
    checkout of its commit, ``git apply changes.patch`` restores the code.

    Args:
        folder: The folder to write to; created if it does not exist.
        modules: Names of the modules that the gin files import.
        root: The root of the checkout.

    Raises:
        UserError: If the folder cannot be written, or if git fails.
    """
    # The time comes first, as the code may change while the rest is collected.
    fields = {
        "time": time.time(), **describe_code(modules, root=root),
        "command": redact_command(sys.orig_argv)}
    patch = uncommitted_changes(root)
    path = epath.Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if patch:
            file_io.write(path / "changes.patch", patch)
        file_io.write(path / "provenance.json", to_json(fields, indent=2) + "\n")
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot write provenance.json to {path}: {error}.") from error


def current_code(attempts: Sequence[Mapping[str, Any]]) -> str:
    """Return the fingerprint that a trial would get if this process started it.

    Args:
        attempts: The trial's attempts. The last one names the user's modules and the gin files,
            which earlier versions did not record.
    """
    last = attempts[-1] if attempts else {}
    return code_fingerprint(
        *(last.get("modules") or ()), gin_files=_locate(last.get("gin_files") or {}))


def code_state(attempts: Sequence[Mapping[str, Any]], current: str) -> CodeState:
    """Return whether a trial's numbers are comparable with those of the present code.

    Only attempts whose work is still in use count: not those whose steps were all repeated from an
    earlier checkpoint, nor evaluations that were repeated.

    Args:
        attempts: The lines from `TrialWorkdir.read_attempts`, with ``mode``, ``step``, ``steps``
            and ``code``.
        current: The fingerprint from `current_code`. A process that runs for days keeps the one of
            its start.

    Returns:
        "mixed code" if several states of the code contributed, "other code" if it was a single one
        but not the current; empty if it was the current one, it is unknown, or nothing has started.
    """
    if any(attempt.get(name) is None for attempt in attempts for name in CODE_FIELDS):
        # Recorded by an early version, or imported.
        return ""
    codes = {attempt["code"] for attempt in _contributing_attempts(attempts)}
    if len(codes) > 1:
        return "mixed code"
    return "other code" if codes - {current} else ""


def list_platforms(attempts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the different platforms on which the work of a trial that is still in use was done.

    Args:
        attempts: As for `code_state`, with ``platform``, see `Runtime.describe_platform`.
    """
    if any(attempt.get(name) is None for attempt in attempts for name in CODE_FIELDS):
        return []
    found = (attempt.get("platform") for attempt in _contributing_attempts(attempts))
    return sorted(set(filter(None, found)))


def continued_from(attempts: Sequence[Mapping[str, Any]]) -> str:
    """Return the shorter trial that a trial continued from, with the step; "" if it began at 0.

    Args:
        attempts: The lines from `TrialWorkdir.read_attempts`; those of shorter trials, which were
            copied, name their ``trial``.
    """
    shorter = [attempt["trial"] for attempt in attempts if attempt.get("trial")]
    own = [attempt.get("step") for attempt in attempts if not attempt.get("trial")]
    # A copied checkpoint that turns out to be damaged is not used.
    return f"{shorter[-1]} at step {own[0]}" if shorter and own and own[0] else ""


def _relative_path(path: Path) -> str:
    """Return the path of a gin file relative to the checkout, if it is in there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _locate(places: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paths of gin files, or their names where a path does not exist on this machine."""
    paths = {name: ROOT / place for name, place in places.items()}
    return tuple(str(path) if _is_file(path) else name for name, path in paths.items())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # A path of another machine may be too long for this one, or hidden from this user.
        return False


def _contributing_attempts(attempts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the attempts whose work is still in use, the last one first."""
    redone_from, evaluated = math.inf, False
    for attempt in reversed(attempts):
        trains = attempt["mode"] in ("train", "train_and_eval")
        evaluates = attempt["mode"] != "train" and not evaluated
        if evaluates or (trains and attempt["step"] < min(redone_from, attempt["steps"])):
            yield attempt
        evaluated = evaluated or evaluates
        if trains:
            redone_from = min(redone_from, attempt["step"])

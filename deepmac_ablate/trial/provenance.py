"""Where numbers come from: the code, the versions and the machine behind a launch and a start.

A launch leaves ``provenance.json`` and ``changes.patch``, from which its code can be had again. A
trial's folder gets a line in ``attempts.jsonl`` whenever a trainer starts, from which tables see
whether all of its numbers were made by one code, and by the present one.
"""

from __future__ import annotations

import math
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.bindings.gin_files import find_gin_file
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.trial.code_fingerprint import ROOT, code_fingerprint, lock_hash, versions
from deepmac_ablate.trial.git_state import GitState, changes, git_state

__all__ = [
    "CodeState", "GitState", "changes", "code_fingerprint", "code_state", "current_code",
    "describe", "git_state", "lock_hash", "masked", "record", "versions",
]

CodeState = Literal["", "other code", "mixed code"]

_SECRET = r"[\w.-]*(?:key|token|secret|passw|credential)[\w.-]*"
# NAME=value, --name=value, "name": "value"; a value in quotes may hold spaces.
_ASSIGNED = re.compile(
    rf"({_SECRET}[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s\"'&;]+)", re.IGNORECASE)
_IN_URL = re.compile(r"(\w+://)[^\s/@]+@")
_OPTION = re.compile(rf"--?{_SECRET}", re.IGNORECASE)
_MASK = "***"


def describe(
    modules: Iterable[str] = (), gin_files: Iterable[str] = (), root: Path = ROOT
) -> dict[str, Any]:
    """Return what a reader needs to know of the code that runs in this process.

    Args:
        modules: What the gin files import, as `code_fingerprint` takes it.
        gin_files: That a trial reads, as `bindings.read` takes them; none for many trials at once.
        root: Of the checkout.

    Returns:
        ``code`` (the fingerprint), ``modules``, ``gin_files`` (by the name of each, where it lies,
        from the root of the checkout if it is there), ``commit``, ``branch`` and ``dirty`` (None
        outside a checkout), ``lock`` (of the lock file, or None), ``versions`` and ``host``.
    """
    modules = sorted(set(modules))
    places = {name: _place(find_gin_file(name)) for name in gin_files}
    state = git_state(root)
    return {
        "code": code_fingerprint(*modules, gin_files=_found(places)),
        "modules": modules,
        "gin_files": places,
        "commit": state and state.commit,
        "branch": state and state.branch,
        "dirty": state and state.dirty,
        "lock": lock_hash(),
        "versions": versions(),
        "host": socket.gethostname(),
    }


def record(
    folder: str | os.PathLike[str], modules: Iterable[str] = (), root: Path = ROOT
) -> None:
    """Write provenance.json, and changes.patch where the checkout holds changes.

    The patch comes first: once provenance.json is there, all is. On a clean checkout of its commit,
    ``git apply changes.patch`` gives the code again.

    Args:
        folder: Created where it does not exist.
        modules: As those of `describe`.
        root: As that of `describe`.

    Raises:
        UserError: If the folder cannot be written, or if git cannot tell the changes.
    """
    # The time first: the code may be changed while the rest is found out.
    fields = {"time": time.time(), **describe(modules, root=root), "command": masked(sys.orig_argv)}
    patch = changes(root)
    path = epath.Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if patch:
            storage.write(path / "changes.patch", patch)
        storage.write(path / "provenance.json", to_json(fields, indent=2) + "\n")
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot write provenance.json into {path}: {error}.") from error


def masked(command: Sequence[str]) -> list[str]:
    """Return a command line without its secrets.

    Hidden is what is assigned to, or follows an option of, a name that has key, token, secret,
    passw or credential in it, and the user in an address. It rather hides too much.
    """
    shown = []
    hide_next = False
    for argument in command:
        hidden = _MASK if hide_next else _ASSIGNED.sub(rf"\g<1>{_MASK}", argument)
        shown.append(_IN_URL.sub(rf"\g<1>{_MASK}@", hidden))
        hide_next = _OPTION.fullmatch(argument) is not None
    return shown


def current_code(attempts: Sequence[Mapping[str, Any]]) -> str:
    """Return the fingerprint that a trial would get if it were started by this process.

    Args:
        attempts: Of the trial; its last start names the user's modules and the gin files that take
            part, which earlier versions did not note.
    """
    last = attempts[-1] if attempts else {}
    return code_fingerprint(
        *last.get("modules", ()), gin_files=_found(last.get("gin_files") or {}))


def code_state(attempts: Sequence[Mapping[str, Any]], current: str) -> CodeState:
    """Say whether a trial's numbers can be set beside those of the present code.

    Only starts count whose work is still there: not one after whose checkpoint another went on, nor
    an evaluation that was repeated.

    Args:
        attempts: What `TrialWorkdir.read_attempts` returned: of each start ``mode``, ``step``,
            ``steps`` and ``code``.
        current: The code that the reader's process has, from `current_code`. A reader that lives
            for days knows the sources as they were when it first asked.

    Returns:
        "mixed code" where more than one code had a hand in it, "other code" where it was one but
        not the current; empty where all is well, or nothing has started.
    """
    codes = {attempt["code"] for attempt in _makers(attempts)}
    if len(codes) > 1:
        return "mixed code"
    return "other code" if codes - {current} else ""


def _place(path: Path) -> str:
    """Return where a gin file lies, by a name that does not depend on the working directory."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _found(places: Mapping[str, str]) -> tuple[str, ...]:
    """Return gin files where they were noted or else, as on another machine, by their names."""
    paths = {name: ROOT / place for name, place in places.items()}
    return tuple(str(path) if path.is_file() else name for name, path in paths.items())


def _makers(attempts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the starts that made what is there, the last one first."""
    redone_from, evaluated = math.inf, False
    for attempt in reversed(attempts):
        trains = attempt["mode"] in ("train", "train_and_eval")
        evaluates = attempt["mode"] != "train" and not evaluated
        if evaluates or (trains and attempt["step"] < min(redone_from, attempt["steps"])):
            yield attempt
        evaluated = evaluated or evaluates
        if trains:
            redone_from = min(redone_from, attempt["step"])

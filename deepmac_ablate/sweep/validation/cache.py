"""Verdicts that were found before, in one file: a plan that is made again costs no TensorFlow.

The file holds a JSON line for each content that was ever judged. It only saves time: where it is
broken, or cannot be written, everything is judged anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from etils import epath

from deepmac_ablate import bindings, storage
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.sweep.validation.verdict import Verdict
from deepmac_ablate.trial.code_fingerprint import COMPUTING, code_fingerprint

# Those judged last; so many verdicts are 3 megabytes.
_KEPT = 5_000
# What judges, and words the problems that it finds, beside what is judged.
_JUDGING = ("sweep/validation", "errors.py")


def judging_code(modules: Iterable[str]) -> str:
    """Return a hash of the code that verdicts depend on.

    Args:
        modules: What gin files import, as `code_fingerprint` takes it.
    """
    return code_fingerprint(*modules, sources=(*COMPUTING, *_JUDGING))


def key(text: bindings.Text) -> str:
    """Return a hash of everything that the verdict on a configuration depends on.

    That is every binding with its place, as problems are told with it, replaced ones included; the
    syntax of what computes and judges in this package and of the modules that the gin files import;
    and the versions of what computes. It is not the data: with that, verdicts are completed each
    time.
    """
    digest = hashlib.sha256(judging_code(statement.module for statement in text.imports).encode())
    for statement in text.imports:
        digest.update(f"{statement.where} {statement.statement}\n".encode())
    for binding in text.bindings:
        digest.update(f"{binding.where} {binding.name} = {binding.value!r}\n".encode())
    return digest.hexdigest()


def load(path: Path) -> dict[str, Verdict]:
    """Return the verdicts in a file by key; none where there is no such file."""
    known: dict[str, Verdict] = {}
    for line in _lines(path):
        # What cannot be read is no verdict of this version.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            fields = json.loads(line)
            known[fields["key"]] = Verdict.from_json(fields["verdict"])
    return known


def add(path: Path, verdicts: Mapping[str, Verdict]) -> None:
    """Add verdicts to a file; those of other processes stay.

    Args:
        path: the file; created with its folders where it does not exist.
        verdicts: without their data, by key.
    """
    added = [to_json({"key": key, "verdict": it.to_json()}) for key, it in verdicts.items()]
    # A home without room or rights is no reason to plan nothing.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            lines = [*_lines(path), *(line.encode() for line in added)]
            storage.write(
                epath.Path(path), b"".join(line + b"\n" for line in lines[-_KEPT:]))


def _lines(path: Path) -> list[bytes]:
    try:
        return storage.read_lines(epath.Path(path))
    except OSError:
        return []


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers out; readers meet a whole file at any time."""
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

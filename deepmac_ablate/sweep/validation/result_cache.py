"""Cache of validation results in one file, so that planning again needs no TensorFlow.

The file holds a JSON line for each content that was validated. It only saves time: if it is broken
or cannot be written, everything is validated again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from etils import epath

from deepmac_ablate import bindings
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.sweep.validation.validation_result import ValidationResult
from deepmac_ablate.trial.code_fingerprint import COMPUTING, code_fingerprint

# The latest results that the file keeps, about 3 MB.
_MAX_RESULTS = 5_000
# Code that validates and words problems, beside the code that is validated.
_VALIDATING = ("sweep/validation", "errors.py")


def validation_fingerprint(modules: Iterable[str]) -> str:
    """Return a hash of the code that validation results depend on.

    Args:
        modules: The modules that gin files import, as `code_fingerprint` takes them.
    """
    return code_fingerprint(*modules, sources=(*COMPUTING, *_VALIDATING))


def content_key(text: bindings.Text) -> str:
    """Return a hash of everything that the result of a configuration depends on.

    That is every binding with its place, since problems name it, replaced bindings included; the
    syntax of the computing and validating code of this package and of the modules that the gin
    files import; and the versions of the libraries that compute. Datasets are not included: they
    are checked each time.
    """
    modules = (statement.module for statement in text.imports)
    digest = hashlib.sha256(validation_fingerprint(modules).encode())
    for statement in text.imports:
        digest.update(f"{statement.where} {statement.statement}\n".encode())
    for binding in text.bindings:
        digest.update(f"{binding.where} {binding.name} = {binding.value!r}\n".encode())
    return digest.hexdigest()


def load_results(path: Path) -> dict[str, ValidationResult]:
    """Return the results in a file by key; none if there is no file."""
    known: dict[str, ValidationResult] = {}
    for line in _read_lines(path):
        # Lines of other versions, or broken ones, are skipped.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            fields = json.loads(line)
            known[fields["key"]] = ValidationResult.from_json(fields["result"])
    return known


def add_results(path: Path, results: Mapping[str, ValidationResult]) -> None:
    """Add results to a file, keeping those of other processes.

    Args:
        path: The file; it is created, with its folders, if it does not exist.
        results: Results without anything about datasets, by key.
    """
    added = [
        to_json({"key": key, "result": result.to_json()})
        for key, result in results.items() if not result.of_this_machine]
    # A full or read-only home must not prevent planning.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            lines = [*_read_lines(path), *(line.encode() for line in added)]
            file_io.write(
                epath.Path(path), b"".join(line + b"\n" for line in lines[-_MAX_RESULTS:]))


def _read_lines(path: Path) -> list[bytes]:
    try:
        return (file_io.read(path) or b"").split(b"\n")[:-1]
    except OSError:
        return []


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude other writers; readers need no lock, as the file is replaced as a whole."""
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

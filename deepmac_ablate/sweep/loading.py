"""Reads a sweep from the Python file that defines it."""

from __future__ import annotations

import copy
import importlib.util
import sys
import traceback
from pathlib import Path

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.sweep.spec import Sweep


def load(path: str) -> Sweep:
    """Runs a sweep's file and returns the sweep in it.

    Args:
        path: Of a Python file with one `Sweep` at module level. Its name, without ".py", is the
            sweep's, and its docstring begins with the question that the sweep asks.

    Raises:
        UserError: If there is no such file, it fails, or it holds no sweep or several.
    """
    file = Path(path)
    if not file.is_file():
        beside = [str(p) for p in (*file.parent.glob("*.py"), *Path("sweeps").glob("*.py"))]
        raise UserError(f"There is no sweep {path!r}.{did_you_mean(path, beside)}")
    spec = importlib.util.spec_from_file_location(f"_sweep_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{path!r} is no Python file; a sweep's name ends in '.py'.")
    module = importlib.util.module_from_spec(spec)
    # As if it had been run as a script: a sweep may share axes with a file beside it.
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path}{_line(error, file)}: {error}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}{_line(error, file)}: {reason}") from error
    finally:
        sys.path.pop(0)
    sweeps = {name: it for name, it in vars(module).items() if isinstance(it, Sweep)}
    if len({id(sweep) for sweep in sweeps.values()}) != 1:
        there = f"several: {', '.join(sweeps)}" if sweeps else "none"
        raise UserError(
            f"{path} must define one sweep, as in 'SWEEP = Sweep(...)'; it has {there}.")
    return named(next(iter(sweeps.values())), path, module.__doc__)


def named(sweep: Sweep, path: str, question: str | None) -> Sweep:
    """Returns a sweep that knows its file's name and question."""
    sweep = copy.copy(sweep)
    sweep.name = Path(path).stem
    sweep.question = " ".join((question or "").strip().partition("\n\n")[0].split())
    return sweep


def _line(error: BaseException, file: Path) -> str:
    """The last line of the sweep's file that was being run, as ":12"."""
    resolved = str(file.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if str(Path(f.filename).resolve()) == resolved]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    return f":{lines[-1]}" if lines else ""

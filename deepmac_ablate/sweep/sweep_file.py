"""Sweep file: a Python file that defines a sweep, or several, and begins with their question."""

from __future__ import annotations

import codecs
import copy
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from deepmac_ablate import sweep as sweep_names
from deepmac_ablate.bindings.gin_files import is_file
from deepmac_ablate.errors import UserError, did_you_mean, did_you_mean_path, shorten
from deepmac_ablate.sweep.sweep import Sweep

# The sweep of a file that needs no name on the command line.
_DEFAULT = "SWEEP"


def load_sweep(path: str) -> Sweep:
    """Run a sweep's file and return its sweep.

    A file may define several sweeps, such as one question at several sizes. ``sweeps/x.py`` is then
    the one named ``SWEEP``, and ``sweeps/x.py:SHAPES`` the one named ``SHAPES``.

    Args:
        path: The path of a Python file with a `Sweep` at module level, with ":" and the name of the
            sweep if it is not ``SWEEP``. The name of the file, without ".py", is the sweep's name,
            for another sweep than ``SWEEP`` followed by "_" and its name in lower case. The file's
            docstring begins with the question.

    Raises:
        UserError: If there is no such file or sweep, it fails, or it defines several sweeps of
            which none is chosen.
    """
    file, chosen = _split_name(path)
    module = _run_file(file)
    sweeps = {name: value for name, value in vars(module).items() if isinstance(value, Sweep)}
    if not sweeps:
        raise UserError(
            f"{file} must define a sweep, as in 'SWEEP = Sweep(...)'; it defines none.")
    if chosen and chosen not in sweeps:
        hint = did_you_mean(chosen, sweeps) or f" It has {', '.join(sweeps)}."
        raise UserError(f"{file} has no sweep {chosen!r}.{hint}")
    if not chosen and _DEFAULT not in sweeps and len({id(sweep) for sweep in sweeps.values()}) > 1:
        raise UserError(
            f"{file} defines {len(sweeps)} sweeps, {', '.join(sweeps)}; choose one, as in "
            f"{file}:{next(iter(sweeps))}.")
    name = chosen or (_DEFAULT if _DEFAULT in sweeps else next(iter(sweeps)))
    sweep = copy.copy(sweeps[name])
    sweep.name = Path(file).stem + (f"_{chosen.lower()}" if chosen and chosen != _DEFAULT else "")
    sweep.question = " ".join((module.__doc__ or "").strip().partition("\n\n")[0].split())
    return sweep


def _split_name(path: str) -> tuple[str, str]:
    """Return the file and the name of the sweep in it, "" if none is given."""
    file, _, name = path.rpartition(":")
    return (file, name) if file.endswith(".py") and name.isidentifier() else (path, "")


def _run_file(path: str) -> ModuleType:
    file = Path(path)
    if not is_file(file):
        known = [str(p) for p in (*file.parent.glob("*.py"), *Path("sweeps").glob("*.py"))]
        raise UserError(f"There is no sweep file {shorten(path)}.{did_you_mean_path(path, known)}")
    spec = importlib.util.spec_from_file_location(f"_sweep_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"The name of a sweep file must end in '.py', got {path!r}.")
    module = importlib.util.module_from_spec(spec)
    # As for a script: a sweep may import axes from a file beside it.
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path}{_line_of(error, file)}: {error}") from error
    except SystemExit as error:
        raise UserError(
            f"{path}{_line_of(error, file)}: the file ends the process; a sweep file only defines "
            "a sweep.") from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "deepmac_ablate.sweep.script":
            raise UserError(
                f"{path}{_line_of(error, file)}: deepmac_ablate.sweep.script was removed; delete "
                "this import and the line 'main = script_main(SWEEP, __doc__)', which are no "
                "longer needed.") from error
        if file.read_bytes()[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise UserError(f"{path} is UTF-16 text; save it as UTF-8.") from error
        reason = _wrong_call(error) or f"{type(error).__name__}: {error}"
        raise UserError(f"{path}{_line_of(error, file)}: {reason}") from error
    finally:
        sys.path.pop(0)
    return module


def _wrong_call(error: Exception) -> str:
    """Return a call of a function for sweeps with other arguments than it has as a sentence."""
    called = re.match(r"(\w+)(?:\.__init__)?\(\) (.*)", str(error))
    if not isinstance(error, TypeError) or not called or called[1] not in sweep_names.__all__:
        return ""
    parameters = inspect.signature(getattr(sweep_names, called[1])).parameters
    unknown = re.search("unexpected keyword argument '(.*)'", called[2])
    hint = did_you_mean(unknown[1], parameters) if unknown else ""
    return f"{called[1]}() {called[2]}; it takes {', '.join(parameters)}.{hint}"


def _line_of(error: BaseException, file: Path) -> str:
    """Return the line of the sweep's file that raised an error, as ":12"."""
    resolved = str(file.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if str(Path(f.filename).resolve()) == resolved]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    return f":{lines[-1]}" if lines else ""

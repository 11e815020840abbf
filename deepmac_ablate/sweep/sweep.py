"""A sweep as its file defines it: gin files and bindings, arms, seeds, one baseline."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.sweep.axes import Axis, split_settings
from deepmac_ablate.sweep.combinators import Arms, Seeds, filled, grid, seed_tuple


@dataclasses.dataclass(frozen=True)
class Arm:
    """One row of the ablation table.

    Attributes:
        label: The levels joined by "+", such as "hourglass20+groundtruth".
        levels: The name of a level by the name of each axis of the sweep.
        seeds: One trial each.
        gin_files: Those of the sweep, then those of its levels in the order of the axes.
        bindings: The same, then those of the command line.
    """

    label: str
    levels: Mapping[str, str]
    seeds: tuple[int, ...]
    gin_files: tuple[str, ...]
    bindings: tuple[str, ...]


class Sweep:
    """An ordered set of trials with one baseline arm.

    ::

        SWEEP = Sweep(
            "gin/experiments/shapes_small.gin", "STEPS = 250",
            arms=grid(MASK_HEAD, BOX_SOURCE), seeds=3)

    Attributes:
        name: Of the sweep's file.
        question: What the sweep asks: the first paragraph of the docstring of its file.
        gin_files: What all trials read first.
        bindings: What all trials bind after all gin files.
        axes: The axes by name, in the order of the table's columns.
        baseline: The label of the arm that the others are compared with; it may have been taken out
            by `edited`.
        arms: The arms in order.
    """

    def __init__(
        self,
        *settings: str,
        arms: Arms | Axis,
        seeds: Seeds = 1,
        baseline: Mapping[str, str] | None = None,
    ) -> None:
        """Make a sweep.

        Args:
            *settings: Gin files and bindings of all arms.
            arms: What a combinator returned, or an axis, each level of which is an arm.
            seeds: Replicates: that many, from 0 on, or the seeds themselves.
            baseline: Level by axis of the arm to compare with; axes that are left out have their
                first level. By default the arm of all first levels, or where there is no such arm,
                the first.

        Raises:
            UserError: If there is no arm, or the baseline is none of them.
        """
        self.name = self.question = ""
        self.gin_files, self.bindings = split_settings(settings)
        self._overrides: tuple[str, ...] = ()
        self.axes = dict((arms if isinstance(arms, Arms) else grid(arms)).axes)
        base = {name: an_axis.level_names[0] for name, an_axis in self.axes.items()}
        for name, level in (baseline or {}).items():
            base[name] = self._axis(name).level(level).name
        self._axes_with = Counter(n for a in self.axes.values() for n in a.level_names)
        every = seed_tuple(seeds)
        self.arms = tuple(
            self._arm(row.levels, row.seeds or every) for row in filled(arms, base).rows)
        if not self.arms:
            raise UserError("The sweep has no arm; its where() keeps none.")
        labels = [arm.label for arm in self.arms]
        self.baseline = self._label(base)
        if self.baseline not in labels:
            if baseline is not None:
                some = ", ".join(labels[:10]) + (" ..." if len(labels) > 10 else "")
                raise UserError(f"The baseline {self.baseline} is none of the arms {some}.")
            self.baseline = labels[0]

    def edited(
        self,
        bindings: Sequence[str] = (),
        seeds: Seeds | None = None,
        only: Sequence[str] = (),
        steps: int | None = None,
    ) -> Sweep:
        """Return the sweep with what a command line changes.

        Args:
            bindings: Win over everything else in all arms, and take the place of the sweep's own of
                the same name.
            seeds: Replace all seeds.
            only: ``axis=level`` or ``axis=level,level``: arms with another level are left out.
                Several axes must all hold.
            steps: Binds the recipe's macro STEPS.

        Raises:
            UserError: If there is no such axis or level, or no arm is left.
        """
        sweep = copy.copy(self)
        if steps is not None:
            bindings = (*bindings, f"STEPS = {steps}")
        # Of two bindings of one name the first would have no effect, which is refused elsewhere.
        given = {_bound_name(binding): binding for binding in (*self._overrides, *bindings)}
        sweep._overrides = tuple(given.values())
        sweep.bindings = tuple(it for it in self.bindings if _bound_name(it) not in given)
        arms = [arm for arm in self.arms if all(self._holds(arm, item) for item in only)]
        if not arms:
            raise UserError(f"No arm is left by --only {' --only '.join(only)}.")
        chosen = None if seeds is None else seed_tuple(seeds)
        sweep.arms = tuple(sweep._arm(arm.levels, chosen or arm.seeds) for arm in arms)
        return sweep

    def _label(self, levels: Mapping[str, str]) -> str:
        """Return the levels joined by "+"; a name that two axes share comes with its axis."""
        return "+".join(
            levels[name] if self._axes_with[levels[name]] == 1 else f"{name}={levels[name]}"
            for name in self.axes)

    def _arm(self, levels: Mapping[str, str], seeds: tuple[int, ...]) -> Arm:
        chosen = [self.axes[name].level(levels[name]) for name in self.axes]
        ordered = {name: levels[name] for name in self.axes}
        gin_files = [name for level in chosen for name in level.gin_files]
        bindings = [binding for level in chosen for binding in level.bindings]
        return Arm(
            self._label(levels), ordered, seeds,
            (*self.gin_files, *gin_files), (*self.bindings, *bindings, *self._overrides))

    def _axis(self, name: str) -> Axis:
        if name not in self.axes:
            hint = did_you_mean(name, self.axes) or f" It has {', '.join(self.axes)}."
            raise UserError(f"The sweep has no axis {name!r}.{hint}")
        return self.axes[name]

    def _holds(self, arm: Arm, condition: str) -> bool:
        name, equals, levels = condition.partition("=")
        if not equals:
            raise UserError(
                f"--only {condition} names no level; write axis=level, such as "
                f"{next(iter(self.axes))}={next(iter(self.axes.values())).level_names[0]}.")
        chosen = [self._axis(name).level(level).name for level in levels.split(",")]
        return arm.levels[name] in chosen


def _bound_name(binding: str) -> str:
    """Return the left-hand side of a binding."""
    return binding.partition("=")[0].strip()


def load(path: str) -> Sweep:
    """Run a sweep's file and return the sweep in it.

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
        if isinstance(error, ModuleNotFoundError) and error.name == "deepmac_ablate.sweep.script":
            raise UserError(
                f"{path}{_line(error, file)}: deepmac_ablate.sweep.script is gone; delete this "
                "import and the line 'main = script_main(SWEEP, __doc__)', which are no longer "
                "needed.") from error
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}{_line(error, file)}: {reason}") from error
    finally:
        sys.path.pop(0)
    sweeps = {name: it for name, it in vars(module).items() if isinstance(it, Sweep)}
    if len({id(sweep) for sweep in sweeps.values()}) != 1:
        there = f"several: {', '.join(sweeps)}" if sweeps else "none"
        raise UserError(
            f"{path} must define one sweep, as in 'SWEEP = Sweep(...)'; it has {there}.")
    sweep = copy.copy(next(iter(sweeps.values())))
    sweep.name = file.stem
    sweep.question = " ".join((module.__doc__ or "").strip().partition("\n\n")[0].split())
    return sweep


def _line(error: BaseException, file: Path) -> str:
    """The last line of the sweep's file that was being run, as ":12"."""
    resolved = str(file.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if str(Path(f.filename).resolve()) == resolved]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    return f":{lines[-1]}" if lines else ""

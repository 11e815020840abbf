"""Imports between rooms: downward only, and TensorFlow only in rooms that compute."""

from __future__ import annotations

import ast
import functools
import graphlib
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "deepmac_ablate"

# The architecture: each line may import the lines below it, and nothing of its own line. README.md
# and docs/architecture.md show the same list.
ROOMS = """
cli
commands
results
launch
sweep serving model_garden
training
evaluation
data
modeling trial
cloud bindings storage
errors safe_text class_splits box_jitter progress
"""

# What computes, or writes and reads records; everything else starts in a second.
NEEDS_TENSORFLOW = [
    "training.checkpointing", "training.device_check", "training.multi_worker",
    "training.reevaluate", "training.rehearsal", "training.run",
    "training.runtime", "training.session", "training.session_cache", "training.tpu_server",
    "training.trainer", "training.trial_evaluation",
    "evaluation.artifacts", "evaluation.evaluator", "evaluation.given_boxes",
    "evaluation.overlays", "evaluation.predictor",
    "data.check", "data.convert_coco", "data.evaluation_data", "data.model_input", "data.records",
    "data.shapes.generate", "data.training_data", "model_garden.contents",
    "model_garden.importing", "model_garden.layout", "model_garden.matching",
    "model_garden.trees", "modeling", "results.report.pixels", "serving.export", "serving.predict",
    "serving.pseudo_masks", "serving.signatures", "serving.trained",
    "sweep.validation.architecture", "sweep.validation.limits", "sweep.validation.multiply_adds",
    "sweep.validation.validator",
]

TENSORFLOW = {"tensorflow", "tf_keras", "official", "orbit"}


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The modules by their names without the package's: "data.coco"; the package itself is ""."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text())
    return found


def imports(name: str) -> set[str]:
    """Complete names of everything that a module imports; `from a import b` gives `a` and `a.b`.

    Imports inside functions count: they are no way around the floors.
    """
    found = set()
    for node in ast.walk(trees()[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own_imports(name: str) -> set[str]:
    """The modules of this package that a module imports."""
    own = {full.removeprefix(f"{PACKAGE}.") for full in imports(name) if full.startswith(PACKAGE)}
    return own & trees().keys()


def belongs(name: str, entries: list[str]) -> bool:
    return any(name == entry or (entry and name.startswith(f"{entry}.")) for entry in entries)


def lines() -> list[list[str]]:
    """The rooms and loose modules, from the top line down."""
    return [line.split() for line in ROOMS.strip().splitlines()]


def level(name: str) -> int:
    """The line on which a module's room stands, 0 being the top; the package itself is last."""
    if not name:
        return len(lines())
    room = name.partition(".")[0]
    return next(number for number, line in enumerate(lines()) if room in line)


def test_every_room_stands_in_the_list():
    """A new room or loose module is put somewhere on purpose, and the list names nothing else."""
    rooms = {name.partition(".")[0] for name in trees()} - {""}
    assert sorted(itertools.chain(*lines())) == sorted(rooms)


def test_rooms_and_loose_modules_are_few():
    """At most 14 folders and 6 loose modules at the top of the package."""
    top = {name.partition(".")[0] for name in trees()} - {""}
    folders = {name.partition(".")[0] for name in trees() if "." in name}
    assert (len(folders) <= 14, len(top - folders) <= 6) == (True, True)


def test_imports_go_down():
    """No module imports a room above its own or beside it; the loose modules may use each other."""
    last = len(lines()) - 1
    wrong = {}
    for name in trees():
        room = name.partition(".")[0]
        others = [o for o in own_imports(name) if o.partition(".")[0] not in (room, "")]
        if found := [
                o for o in others
                if level(o) < level(name) or (level(o) == level(name) != last)]:
            wrong[name] = found
    assert {} == wrong


def test_documents_show_the_same_list():
    """README.md and docs/architecture.md show the rooms in the order that is tested here."""
    for document in ("README.md", "docs/architecture.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        shown = [
            re.findall(r"[a-z_]+", line.partition("  ")[0])
            for block in re.findall(r"<!-- rooms -->\n+```text\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines()]
        assert lines() == shown, document


def test_there_is_no_cycle():
    """Modules can be read in an order in which each needs only earlier ones."""
    packages = {name for name in trees() if any(n.startswith(f"{name}.") for n in trees())}
    # `from package import module` names the package too, and a package's __init__ its modules.
    graph = {name: own_imports(name) - packages for name in trees() if name not in packages}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(graph) <= set(order)


def test_tensorflow_is_imported_where_something_is_computed():
    """Nowhere else, not even inside a function."""
    others = [name for name in trees() if not belongs(name, NEEDS_TENSORFLOW)]
    assert {} == {
        name: found for name in others
        if (found := TENSORFLOW & {full.partition(".")[0] for full in imports(name)})
    }


@pytest.mark.slow
def test_everything_else_starts_without_tensorflow():
    """Importing all modules that need no TensorFlow loads none of it, not through others either."""
    names = [name for name in trees() if not belongs(name, NEEDS_TENSORFLOW)]
    assert {
        "cli", "bindings", "trial.trial_workdir", "evaluation.metrics.summary", "commands.data",
    } <= set(names)
    code = "import sys\n" + "\n".join(f"import {PACKAGE}.{n}" for n in names if n)
    code += f"\nprint(sorted({TENSORFLOW!r} & sys.modules.keys()), {PACKAGE}.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"[] {ROOT / PACKAGE / '__init__.py'}" == run.stdout.strip()


def test_xmanager_stays_in_the_launcher():
    """Only the modules of the XManager executor import XManager."""
    users = [
        name for name in trees()
        if any(full.partition(".")[0] == "xmanager" for full in imports(name))
    ]
    assert [] == [name for name in users if not name.startswith("launch.xmanager.")]


def test_the_replaced_system_stays_outside():
    """`official.projects` is what this project is compared with, never what it is built on."""
    assert [] == [
        name for name in trees()
        if any(full.startswith("official.projects") for full in imports(name))
    ]


def test_modules_are_short():
    """No module of more than 300 lines, and none for leftovers."""
    lengths = {
        path.name: len(path.read_text().splitlines())
        for path in (ROOT / PACKAGE).rglob("*.py")
    }
    assert {} == {name: length for name, length in lengths.items() if length > 300}
    assert "utils.py" not in lengths

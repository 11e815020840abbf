"""Who may import whom: down the floors only, and TensorFlow only where something is computed."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "deepmac_ablate"

# From the roof down. A module may import modules of lower floors, and of its own floor as long as
# there is no cycle. A package stands for all of its modules.
FLOORS = {
    "the command line": ["cli"],
    "many trials": ["listing", "results", "sweep"],
    "rented machines": ["cloud"],
    "a whole trial": ["model_garden", "reevaluation", "serving", "training", "validation"],
    "its objects": ["saving", "session"],
    "its parts": [
        "evaluation", "evaluation_files", "given_boxes", "overlays", "predictions", "runtime",
        "tpu_server", "trainer", "tracking", "workers"],
    "images": ["data", "verdict"],
    "the model": ["modeling"],
    "exact numbers": ["metrics"],
    "what a trial is": [
        "cost", "runtime_bindings", "workdir", "step_log", "trial", "class_splits", "jitter",
        "bindings"],
    "where numbers come from": ["provenance", "checkout", "fingerprint"],
    "ground": [
        "progress", "plain_json", "storage", "object_path", "object_store", "disk", "errors",
        "exit_status", "tf_config", "tpu_environment", ""],
}

# What computes, or writes and reads records; everything else starts in a second.
NEEDS_TENSORFLOW = [
    "reevaluation", "saving", "training", "session", "evaluation", "evaluation_files",
    "given_boxes", "overlays", "predictions", "runtime", "trainer", "data.check", "data.coco",
    "data.evaluation_data", "data.model_input", "data.records", "data.shapes",
    "data.training_data", "model_garden.contents",
    "model_garden.importing", "model_garden.layout", "model_garden.matching",
    "model_garden.trees", "modeling", "results.report.pixels", "serving.export", "serving.predict",
    "serving.signatures", "serving.trained", "tpu_server", "validation", "workers",
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


def floors_of(name: str) -> list[int]:
    """Where a module stands, 0 being the roof."""
    return [level for level, entries in enumerate(FLOORS.values()) if belongs(name, entries)]


def test_every_module_stands_on_one_floor():
    """A new module is put somewhere on purpose, and the table names nothing that is gone."""
    assert {} == {name: floors_of(name) for name in trees() if len(floors_of(name)) != 1}
    entries = [entry for floor in FLOORS.values() for entry in floor]
    assert [] == [e for e in entries if not any(belongs(name, [e]) for name in trees())]


def test_imports_go_down():
    """No module knows of a higher floor."""
    assert {} == {
        name: higher for name in trees()
        if (higher := [o for o in own_imports(name) if floors_of(o) < floors_of(name)])
    }


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


def test_everything_else_starts_without_tensorflow():
    """Importing all modules that need no TensorFlow loads none of it, not through others either."""
    names = [name for name in trees() if not belongs(name, NEEDS_TENSORFLOW)]
    assert {"cli", "bindings", "workdir", "metrics.readings", "data.commands"} <= set(names)
    code = "import sys\n" + "\n".join(f"import {PACKAGE}.{n}" for n in names if n)
    code += f"\nprint(sorted({TENSORFLOW!r} & sys.modules.keys()), {PACKAGE}.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"[] {ROOT / PACKAGE / '__init__.py'}" == run.stdout.strip()


def test_xmanager_stays_in_the_launcher():
    """XManager launches and does nothing else: only executors import it."""
    users = [
        name for name in trees()
        if any(full.partition(".")[0] == "xmanager" for full in imports(name))
    ]
    assert [] == [name for name in users if not name.startswith("sweep.executors.")]


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

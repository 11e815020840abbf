"""The code of a launch is kept in the workdir, and used on another machine."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate import bindings
from deepmac_ablate.bindings import gin_files
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import code_snapshot
from tests.helpers import supervised, working

QUESTION = "gin/question.gin"
# Of the checkout.
RECIPE = "gin/experiments/shapes_small.gin"

# A user's folder: a question in gin, heads in modules, and what has nothing to do with it.
PROJECT = {
    "gin/question.gin": "import my_heads\nimport my_package.losses\ninclude 'parts/head.gin'\n",
    "gin/parts/head.gin": "include '../shared.gin'\nTraining.steps = 7\n",
    "gin/shared.gin": "MaskRCNN.image_size = 64\n",
    "gin/unused.gin": "Training.steps = 9\n",
    "my_heads.py": "import json\nimport numpy\ndef make():\n    from my_parts import layer\n",
    "my_parts.py": "layer = 1\n",
    "my_package/__init__.py": "",
    "my_package/losses.py": "from my_package import weights\n",
    "my_package/weights.py": "WEIGHTS = 'größer'\n",
    "unused.py": "",
    "sweeps/question.py": "",
}
KEPT = {
    "gin/question.gin", "gin/parts/head.gin", "gin/shared.gin", "my_heads.py", "my_parts.py",
    "my_package/__init__.py", "my_package/losses.py", "my_package/weights.py"}

RESOLVE = """
import json, os, sys
from deepmac_ablate import bindings
from deepmac_ablate.trial import code_fingerprint
from deepmac_ablate.trial.trial import trial_id
sys.path.append(os.getcwd())
files = sys.argv[1:]
bound = bindings.explicit_bindings(bindings.read(files, ()).bindings)
print(json.dumps({
    "id": trial_id(bound, 0), "steps": bound["Training.steps"],
    "code": code_fingerprint.code_fingerprint(*bindings.imported_modules(files)),
    "files": [str(file.path) for file in bindings.all_gin_files(files)]}))
"""


def write(folder: Path, files=PROJECT) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def resolved(folder: Path) -> dict:
    """Return the identity and the files of a trial, as read in some folder."""
    return json.loads(subprocess.check_output(
        [sys.executable, "-c", RESOLVE, RECIPE, QUESTION], cwd=folder, env=supervised.ENVIRONMENT))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The user's folder, in which the launcher runs."""
    folder = write(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_same_trial_is_found_elsewhere(project, tmp_path):
    """A trial has the same id and code fingerprint on a machine with the snapshot only."""
    uri = code_snapshot.CodeSnapshot([RECIPE, QUESTION]).write(tmp_path / "w")
    elsewhere = tmp_path / "elsewhere"
    code_snapshot.fetch(uri, elsewhere)
    here = resolved(project)
    assert str(project / QUESTION) in here["files"]
    project.rename(tmp_path / "gone")
    there = resolved(elsewhere)
    assert (here["id"], here["code"], "7") == (there["id"], there["code"], there["steps"])
    assert all(Path(path).is_relative_to(elsewhere) for path in there["files"])
    assert len(here["files"]) == len(there["files"]) > 3


def test_what_a_question_needs_is_kept_and_nothing_else(project, tmp_path):
    """A snapshot contains exactly the needed files, and is written once per content."""
    uri = Path(code_snapshot.CodeSnapshot([QUESTION]).write(tmp_path / "w"))
    assert {*KEPT, "snapshot.json"} == files(uri)
    assert (uri.parent, 12) == (tmp_path / "w" / "code", len(uri.name))
    assert all(PROJECT[name] == (uri / name).read_text() for name in KEPT)
    before = {path: path.stat().st_mtime_ns for path in uri.rglob("*")}
    assert str(uri) == code_snapshot.CodeSnapshot([QUESTION]).write(tmp_path / "w")
    assert before == {path: path.stat().st_mtime_ns for path in uri.rglob("*")}
    (project / "my_parts.py").write_text("layer = 2\n")
    assert str(uri) != code_snapshot.CodeSnapshot([QUESTION]).write(tmp_path / "w")


def test_bindings_include_and_import_too(project, tmp_path):
    """Files that only a binding includes or imports are in the snapshot."""
    uri = Path(code_snapshot.CodeSnapshot((), ["include 'gin/unused.gin'"]).write(tmp_path / "w"))
    assert {"gin/unused.gin", "snapshot.json"} == files(uri)
    uri = Path(code_snapshot.CodeSnapshot((), ["import unused"]).write(tmp_path / "w"))
    assert {"unused.py", "snapshot.json"} == files(uri)


def test_files_of_the_checkout_keep_their_names(project, tmp_path):
    """The package's own gin files keep their names, as the image may lack `gin/`."""
    uri = Path(code_snapshot.CodeSnapshot([RECIPE]).write(tmp_path / "w"))
    for file in bindings.all_gin_files([RECIPE]):
        name = file.path.relative_to(supervised.ROOT)
        assert file.path.read_bytes() == (uri / name).read_bytes()


def test_gin_files_of_an_installed_package_keep_their_names(project, tmp_path, monkeypatch):
    """Gin files of installed packages keep their names, even below the user's folder."""
    root = project / ".venv/lib/python3.11/site-packages/deepmac_ablate"
    shutil.copytree(supervised.ROOT / "gin", root / "gin")
    monkeypatch.setattr(gin_files, "ROOT", root)
    uri = Path(code_snapshot.CodeSnapshot([RECIPE, QUESTION]).write(tmp_path / "w"))
    assert (root / RECIPE).read_bytes() == (uri / RECIPE).read_bytes()
    assert {"gin"} == {name.partition("/")[0] for name in files(uri) if name.endswith(".gin")}


def test_an_unfinished_snapshot_is_finished(project, tmp_path):
    """A snapshot whose launcher was killed is refused, and completed by the next launch."""
    uri = Path(code_snapshot.CodeSnapshot([QUESTION]).write(tmp_path / "w"))
    (uri / "snapshot.json").unlink()
    (uri / "my_parts.py").write_text("half")
    with pytest.raises(UserError, match=r"has no snapshot\.json, so it is not a complete"):
        code_snapshot.fetch(str(uri), tmp_path / "early")
    assert str(uri) == code_snapshot.CodeSnapshot([QUESTION]).write(tmp_path / "w")
    code_snapshot.fetch(str(uri), tmp_path / "fetched")
    assert files(tmp_path / "fetched") == KEPT


def test_a_changed_snapshot_is_refused(project, tmp_path):
    """A snapshot with a changed file is refused."""
    uri = Path(code_snapshot.CodeSnapshot([QUESTION]).write(tmp_path / "w"))
    (uri / "my_parts.py").write_text("layer = 2\n")
    with pytest.raises(UserError, match=r"my_parts\.py is missing or was changed .*; delete"):
        code_snapshot.fetch(str(uri), tmp_path / "fetched")


def test_no_file_is_written_outside(tmp_path):
    """A snapshot cannot write files outside of the worker's folder."""
    (tmp_path / "w/code").mkdir(parents=True)
    (tmp_path / "w/outside.py").write_text("")
    for name in ("../outside.py", str(tmp_path / "w/outside.py")):
        index = {"files": {name: hashlib.sha256(b"").hexdigest()}}
        (tmp_path / "w/code/snapshot.json").write_text(json.dumps(index))
        with pytest.raises(UserError, match=r"outside\.py is missing or was changed"):
            code_snapshot.fetch(str(tmp_path / "w/code"), tmp_path / "fetched/code")
    assert set() == files(tmp_path / "fetched")


def test_gin_files_that_no_other_machine_finds_are_refused(project, tmp_path):
    """Gin files outside of the working directory are refused, also in includes."""
    write(tmp_path, {"outside.gin": "Training.steps = 1\n"})
    write(project, {"absolute.gin": f"include '{project}/gin/shared.gin'\n",
                    "leaves.gin": "include '../outside.gin'\n"})
    for name, where in (
            ("../outside.gin", tmp_path / "outside.gin"),
            (str(tmp_path / "outside.gin"), tmp_path / "outside.gin"),
            (f"{project}/gin/shared.gin", project / "gin/shared.gin"),
            ("absolute.gin", project / "gin/shared.gin"),
            ("leaves.gin", tmp_path / "outside.gin")):
        with pytest.raises(UserError) as refused:
            code_snapshot.CodeSnapshot([name]).write(tmp_path / "w")
        assert f"is {where}, which jobs on other machines cannot find" in str(refused.value)
        assert f"use a path relative to the working directory {project}." in str(refused.value)
    assert not (tmp_path / "w").exists()


def test_modules_that_no_other_machine_finds_are_refused(project, tmp_path, monkeypatch):
    """Modules from PYTHONPATH are refused; installed packages come with the image."""
    write(tmp_path / "lib", {"from_elsewhere.py": ""})
    write(project, {"lib/from_below.py": ""})
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.syspath_prepend(project / "lib")
    for module, path in (("from_elsewhere", tmp_path / "lib/from_elsewhere.py"),
                         ("from_below", project / "lib/from_below.py")):
        with pytest.raises(UserError) as refused:
            code_snapshot.CodeSnapshot((), [f"import {module}"]).write(tmp_path / "w")
        assert f"The module {module} is {path}, which jobs" in str(refused.value)
    installed = ["import numpy", "import deepmac_ablate.modeling.mask_heads"]
    assert {"snapshot.json"} == files(
        Path(code_snapshot.CodeSnapshot((), installed).write(tmp_path / "w")))


def test_files_that_other_machines_see_are_read_where_they_are(project, tmp_path, monkeypatch):
    """On a disk that all machines share, what cannot be kept is no reason to refuse a launch."""
    own = {"own.gin": "import from_elsewhere\n", "from_elsewhere.py": ""}
    elsewhere = write(tmp_path / "lib", own)
    monkeypatch.syspath_prepend(elsewhere)
    with pytest.raises(UserError, match=r"own[.]gin.* which jobs on other machines cannot find"):
        code_snapshot.CodeSnapshot([str(elsewhere / "own.gin")])
    kept = code_snapshot.CodeSnapshot([str(elsewhere / "own.gin"), QUESTION], is_shared=True)
    assert {*KEPT, "snapshot.json"} == files(Path(kept.write(tmp_path / "w")))


@pytest.mark.slow
def test_a_worker_runs_with_its_snapshot(project, tmp_path):
    """On a disk, files that were edited since the launch are not used; others are found."""
    uri = code_snapshot.CodeSnapshot([QUESTION]).write(tmp_path / "w")
    (tmp_path / "w/trials/t0").mkdir(parents=True)
    edited = {
        "gin/parts/head.gin": "include '../shared.gin'\nTraining.steps = 8\n",
        "my_heads.py": "raise RuntimeError('edited')", "my_package/losses.py": "raise RuntimeError"}
    write(project, edited)
    command = [
        sys.executable, "-m", "deepmac_ablate.cli", "bindings", "Training.steps",
        "--gin-file", RECIPE, "--gin-file", QUESTION]
    code = f"import os, subprocess; print(os.getcwd(), flush=True); subprocess.run({command})"
    status, out, err = working.run(
        code, "--workdir", str(tmp_path / "w/trials/t0"), "--code", uri, cwd=project)
    assert (0, str(project)) == (status, out.splitlines()[0]), err
    assert "bound: 7  # gin/parts/head.gin:2" in out

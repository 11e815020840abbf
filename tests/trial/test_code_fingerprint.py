"""Code fingerprint: it changes with everything that can change a trial's numbers, and only then."""

from __future__ import annotations

import functools
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate import results
from deepmac_ablate.trial import code_fingerprint, provenance
from deepmac_ablate.trial.syntax_hash import syntax_hash
from tests import test_architecture
from tests.helpers import result_workdirs

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("tensorflow", "tf-models-official", "gin-config", "numpy")


def forget():
    """Make this process compute fingerprints anew, as a new process would."""
    code_fingerprint.code_fingerprint.cache_clear()
    code_fingerprint._hash_of_sources.cache_clear()
    importlib.invalidate_caches()


@functools.cache
def known_hash(source, own):
    """The hash of a file, which most tests leave as it is."""
    return syntax_hash(source, own)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """No test knows the answers of another, except those of a file's content."""
    monkeypatch.setattr(
        code_fingerprint, "syntax_hash", lambda source, own: known_hash(source, frozenset(own)))
    forget()
    yield
    forget()


def code(*modules, **more):
    """The fingerprint that a new process would compute."""
    forget()
    return code_fingerprint.code_fingerprint(*modules, **more)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, of which fingerprints are computed."""
    folder = tmp_path / "copy/deepmac_ablate"
    shutil.copytree(
        ROOT / "deepmac_ablate", folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_fingerprint, "_PACKAGE", folder)
    return folder


def replace(path, old, new):
    """Edits a file in one place."""
    text = path.read_text()
    assert 1 == text.count(old)
    path.write_text(text.replace(old, new))


def test_comments_docstrings_and_formatting_do_not_change_it(package):
    """Comments, docstrings and formatting may change in all files, in any place."""
    before = code()
    for file in package.rglob("*.py"):
        text = file.read_text()
        assert text.startswith('"""')
        file.write_text(text.replace('"""', '"""Newly said: ', 1) + "\n\n# Said.\n'a string'\n")
    losses = package / "modeling/losses.py"
    replace(losses, "/ (number + 0.01)", "/ (\n        number +\n  0.010  )")
    assert before == code()
    replace(losses, "0.010", "0.02")
    assert before != code()


@pytest.mark.slow
@pytest.mark.parametrize("room", ["results", "serving", "sweep", "cloud", "launch", "trial"])
def test_code_that_plans_launches_and_reads_does_not_change_it(package, room):
    """Code outside of the rooms that compute may be added and changed."""
    before = code()
    (package / room / "new.py").write_text("X = 1\n")
    for name in (f"{room}/__init__.py", "cli.py", "errors.py", "data/convert_coco.py"):
        with (package / name).open("a") as file:
            file.write("X = 1\n")
    assert before == code()


@pytest.mark.parametrize(("name", "old", "new"), [
    ("modeling/losses.py", "0.01)", "0.02)"),
    ("modeling/losses.py", "number + 0.01", "number - 0.01"),
    ("class_splits.py", "18, 19, 20, 21, 44,", "18, 19, 20, 22, 44,"),
    ("evaluation/evaluator.py", "import class_splits", "import box_jitter as class_splits"),
])
def test_code_that_computes_changes_it(package, name, old, new):
    """A changed number, operator, call or imported name changes the fingerprint."""
    before = code()
    path = package / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert before != code()


def test_moving_a_file_does_not_change_it(package):
    """A file may move to a new package, with imports adapted."""
    before = code()
    (package / "modeling/losses").mkdir()
    (package / "modeling/losses/__init__.py").write_text('"""Losses."""\n')
    (package / "modeling/losses.py").rename(package / "modeling/losses/all_losses.py")
    for path in package.rglob("*.py"):
        path.write_text(path.read_text().replace(
            "from deepmac_ablate.modeling.losses import",
            "from deepmac_ablate.modeling.losses.all_losses import"))
    assert before == code()
    (package / "modeling/losses/more.py").write_text("X = 1\n")
    assert before != code()


@pytest.mark.slow
def test_what_training_imports_is_part_of_the_code():
    """Direct, indirect and local imports are covered, except modules for storage and messages."""
    reached, waiting = set(), ["training.run"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += test_architecture.own_imports(name)
    assert {"training.session", "modeling.hourglass", "data.training_data"} <= reached
    for entry in code_fingerprint.COMPUTING:
        assert (ROOT / "deepmac_ablate" / entry).exists(), entry
    counted = [entry.removesuffix(".py").replace("/", ".") for entry in code_fingerprint.COMPUTING]
    # Files, checks, messages and pictures for people.
    others = [
        "storage", "trial", "errors", "progress", "safe_text", "data.drawing", "data.label_text",
        "data.class_agreement", "data.trial_dataset"]
    assert {"data"} == {name for name in reached if not test_architecture.belongs(
        name, [*counted, *others])}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_all_versions_of_python_agree(version):
    """They agree on the whole package, and on syntax that they represent differently."""
    program = (
        "import hashlib, pathlib; from deepmac_ablate.trial.syntax_hash import syntax_hash; "
        "files = sorted(pathlib.Path('deepmac_ablate').rglob('*.py')); "
        "sources = [file.read_bytes() for file in files]; "
        "sources += [b'f\"{x:>{w}}\"', b'class A: pass', b'def f(): return u\"\\U0001fae8\"']; "
        "print(hashlib.sha256(repr([*map(syntax_hash, sources)]).encode()).hexdigest())")
    outputs = []
    for interpreter in (f"python{version}", sys.executable):
        try:
            run = subprocess.run(
                [interpreter, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            assert interpreter != sys.executable
            pytest.skip(f"{interpreter} is not there")
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(("one", "other", "same"), [
    ("def f():\n  'doc'\n  return 1", "def f(): return 1 # one", True),
    ("class A:\n  'doc'", "class A: pass", True),
    ("x = 'ab'", "x = ('a'\n     \"b\")", True),
    ("import a, b\nx = 1", "import b\nimport a\nx = 1", True),
    ("from mine.a import f as g\nx = 1", "from mine.b import f as g\nx = 1", True),
    ("from mine import f as g\nx = 1", "from mine import h as g\nx = 1", False),
    ("from a import f\nx = 1", "from b import f\nx = 1", False),
    ("x = 1", "x = 1.0", False),
    ("x = 1", "x = True", False),
    ("x = None", "x = ...", False),
    ("x = 'a'", "x = b'a'", False),
    ("x = {**a}", "x = {a: a}", False),
    ("x = f'{a:>{b}}'", "x = f'{a:>{c}}'", False),
    ("def f(a, *, b): pass", "def f(a, b): pass", False),
    ("f(", "f( ", False),
    ("x = '\0'", "x = '\0' ", False),
])
def test_syntax_counts(one, other, same):
    """Equal syntax has an equal hash; text that cannot be parsed counts as it is."""
    assert same == (syntax_hash(one.encode(), {"mine"}) == syntax_hash(other.encode(), {"mine"}))


@pytest.mark.slow
def test_the_users_modules_count_with_what_they_import(tmp_path, monkeypatch):
    """User modules and packages are hashed by syntax, without being imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_heads.py").write_text(
        "import numpy, json\nfrom my_layers import x\nraise RuntimeError('imported')\n")
    (tmp_path / "my_layers.py").write_text("import my_heads\nX = 1\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("from . import deep\n")
    (tmp_path / "mine/deep.py").write_text("no python (\n")
    modules = ("my_heads", "mine.deep", "numpy", "json", "missing")
    assert code() == code("numpy", "json", "missing")
    codes = [code(), code(*modules)]
    for name in ("my_heads.py", "my_layers.py", "mine/__init__.py"):
        path = tmp_path / name
        path.write_text('"""Documented."""\n' + path.read_text() + "# changed\n")
        assert codes[-1] == code(*modules)
        path.write_text(path.read_text() + "Y = 2\n")
        codes.append(code(*modules))
    # Of what is no Python, nobody can tell what a comment is.
    (tmp_path / "mine/deep.py").write_text("no python ( # changed\n")
    codes.append(code(*modules))
    assert 6 == len(set(codes))
    assert not {"my_heads", "mine"} & sys.modules.keys()


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_versions_of_what_computes_count(library, monkeypatch):
    """Another version of a library changes the fingerprint; a library may be missing."""
    real = code_fingerprint.metadata.version
    codes = {code()}
    monkeypatch.setattr(
        code_fingerprint.metadata, "version", lambda name: "9.9" if name == library else real(name))
    codes.add(code())

    def missing(name):
        if name == library:
            raise code_fingerprint.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(code_fingerprint.metadata, "version", missing)
    assert 3 == len({*codes, code()})
    assert provenance.library_versions()[library] is None


@pytest.mark.slow
def test_tensorflow_built_for_a_tpu_is_the_same_code(monkeypatch):
    """The package tensorflow-tpu counts like tensorflow of the same version."""
    real = code_fingerprint.metadata.version

    def on_a_tpu(name):
        if name == "tensorflow":
            raise code_fingerprint.metadata.PackageNotFoundError(name)
        return real("tensorflow" if name == "tensorflow-tpu" else name)

    expected = code()
    monkeypatch.setattr(code_fingerprint.metadata, "version", on_a_tpu)
    assert expected == code()


@pytest.fixture
def gin_folder(tmp_path, monkeypatch):
    """The working directory, with a gin file that includes another."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "all.gin").write_text("include 'part.gin'\nSTEPS = 5\nTraining.steps = %STEPS\n")
    (folder / "part.gin").write_text("Evaluation.score_threshold = 0.5\n")
    return folder


def test_the_settings_of_gin_files_count(gin_folder):
    """Settings in included files count, those of evaluation, too; comments and order do not."""

    def now():
        return code(gin_files=("all.gin",))

    before = now()
    assert before != code()
    part = gin_folder / "part.gin"
    part.write_text("# A comment.\n\nEvaluation.score_threshold =   0.50  # so\n")
    assert before == now()
    part.write_text(
        "include 'parts.gin'\nEvaluation.score_threshold = 9\n"
        "Evaluation:\n  score_threshold = 0.5\n")
    (gin_folder / "parts.gin").write_text("# Nothing.\n")
    assert before == now()
    part.write_text("Evaluation.score_threshold = 0.6\n")
    changed = now()
    part.write_text("Evaluation.score_threshold = 0.5\n")
    replace(gin_folder / "all.gin", "STEPS = 5", "STEPS = 6")
    codes = [before, changed, now()]
    part.unlink()
    assert 4 == len({*codes, now()})


def test_a_trial_is_compared_with_its_gin_files_and_modules_of_today(gin_folder, monkeypatch):
    """The comparison works in any working directory, and on machines with other paths."""
    (gin_folder / "a_module_of_mine.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(gin_folder)
    modules = ["a_module_of_mine", "a_module_of_mine"]
    described = provenance.describe_code(modules, ["gin/base.gin", "all.gin"])
    assert ["a_module_of_mine"] == described["modules"]
    assert {"gin/base.gin": "gin/base.gin", "all.gin": str(gin_folder / "all.gin")} == described[
        "gin_files"]
    elsewhere = gin_folder.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    forget()
    assert described["code"] == provenance.current_code([described])
    (gin_folder / "all.gin").rename(elsewhere / "all.gin")
    (gin_folder / "part.gin").rename(elsewhere / "part.gin")
    forget()
    assert described["code"] == provenance.current_code([described])
    (elsewhere / "all.gin").unlink()
    forget()
    assert "other code" == provenance.code_state(
        [{**described, "mode": "train_and_eval", "step": 0, "steps": 5}],
        provenance.current_code([described]))
    assert code() == provenance.current_code([])


def test_tables_flag_trials_of_other_settings(gin_folder, monkeypatch):
    """Trials with changed settings are flagged; so are attempts without recorded gin files."""
    plan = result_workdirs.plan({"a": {}}, seeds=2)
    workdir = result_workdirs.write(gin_folder / "w", plan)
    described = provenance.describe_code(gin_files=["all.gin"])
    scores = {"groundtruth/iou/novel": 0.5}
    result_workdirs.finish(workdir, plan, "a-0", scores, **described)
    result_workdirs.finish(workdir, plan, "a-1", scores, code="01d")

    def states(folder):
        forget()
        return list(results.load(folder)["code_state"])

    monkeypatch.chdir(gin_folder.parent)
    assert ["", "other code"] == states("project/w")
    (gin_folder / "part.gin").write_text("Evaluation.score_threshold = 0.5  # a comment\n")
    assert ["", "other code"] == states("project/w")
    (gin_folder / "part.gin").write_text("Evaluation.score_threshold = 0.6\n")
    assert ["other code", "other code"] == states("project/w")

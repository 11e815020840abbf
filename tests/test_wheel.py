"""The package as users install it: complete, and at home in a folder of theirs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from deepmac_ablate.launch.supervision.job import ROLES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

SWEEP = '''\
"""Does a narrow mask head do?"""

from deepmac_ablate.sweep import Sweep, axis

WIDTH = axis("width", usual="gin/mask_heads/default.gin",
             narrow=["gin/mask_heads/default.gin", "ConvMaskHead.width = 8"])

SWEEP = Sweep("gin/experiments/shapes_small.gin", "BATCH_SIZE = 2", arms=WIDTH)
'''


class Distribution(NamedTuple):
    """The files of a release."""

    sdist: Path
    wheel: Path


class Installed(NamedTuple):
    """A virtual environment with the wheel, and an empty folder of a user's."""

    scripts: Path
    project: Path

    def run(self, *command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in the user's folder, knowing of nothing else."""
        environment = {
            "PATH": f"{self.scripts}:/usr/bin:/bin", "HOME": str(self.project.parent / "home")}
        done = subprocess.run(
            [self.scripts / command[0], *command[1:]], cwd=self.project, env=environment,
            capture_output=True, text=True, check=False)
        assert status == done.returncode, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def distribution(tmp_path_factory) -> Distribution:
    """The source distribution and the wheel that is made of it; the checkout stays clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for folder in ("deepmac_ablate", "gin"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (
            "setup.cfg", "setup.py", "MANIFEST.in", "pyproject.toml", "README.md", "LICENSE",
            "requirements.lock"):
        shutil.copy(ROOT / file, source)
    uv = Path(sys.executable).parent / "uv"
    subprocess.run(
        [uv, "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable,
         "--out-dir", target], cwd=source, check=True)
    [sdist], [wheel] = target.glob("*.tar.gz"), target.glob("*.whl")
    return Distribution(sdist, wheel)


@pytest.fixture(scope="module")
def installed(distribution, tmp_path_factory) -> Installed:
    """A new environment, in which the checkout cannot be imported.

    Its dependencies are those of the environment that runs the tests: a line in a .pth file puts
    their folders on the path, behind its own. .pth files in these folders are not read, and such a
    file is how an editable installation leads to the checkout.
    """
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    [packages] = (folder / "env").glob("lib/python3.*/site-packages")
    (packages / "dependencies.pth").write_text(
        "".join(f"{sysconfig.get_path(name)}\n" for name in ("purelib", "platlib")))
    subprocess.run(
        [Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--offline", "--no-deps",
         "--python", folder / "env/bin/python", distribution.wheel], check=True)
    (folder / "project").mkdir()
    return Installed(folder / "env/bin", folder / "project")


def test_the_wheel_holds_every_module_and_data_file(distribution):
    """Gin files lie below the package, where they cannot be taken for the library gin."""
    with zipfile.ZipFile(distribution.wheel) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "deepmac_ablate").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts}
    gin = {f"deepmac_ablate/{path.relative_to(ROOT).as_posix()}"
           for path in (ROOT / "gin").rglob("*") if path.is_file() and path.suffix != ".py"
           and "__pycache__" not in path.parts}
    assert packed == package | gin
    assert len(gin) > 40


def test_the_source_distribution_brings_the_locked_versions(distribution):
    """Without them nobody could install it: pip does not finish resolving its dependencies."""
    with tarfile.open(distribution.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"requirements.lock", "gin/base.gin", "setup.py"} <= names


def test_only_the_wheel_is_imported(installed):
    """The package comes from the environment, the library gin stays itself, no checkout is near."""
    code = """if True:
        import importlib.util, gin, deepmac_ablate
        from deepmac_ablate.trial import git_state, provenance
        print(deepmac_ablate.__file__, gin.config_str(), gin.__file__, sep="|")
        print([name for name in ("tests", "sweeps") if importlib.util.find_spec(name)])
        lock = provenance.describe_code()["lock"]
        print(git_state.git_state(), git_state.uncommitted_changes(), lock)"""
    paths, others, state = installed.run("python", "-c", code).stdout.splitlines()
    package, _, library = paths.split("|")
    assert Path(package).is_relative_to(installed.scripts.parent.resolve())
    assert Path(library) == Path(sysconfig.get_path("purelib")) / "gin/__init__.py"
    assert ("[]", "None b'' None") == (others, state)


def test_what_is_installed_runs_a_worker(installed):
    """With its table of prices and the page of the report, as in an image."""
    code = (
        "from importlib import resources; from deepmac_ablate.cloud import devices; "
        "from deepmac_ablate.launch.cloud_jobs import pricing; "
        "assert pricing.find_price(devices.get_device('v5e-4')); "
        "assert (resources.files('deepmac_ablate') / 'results/report/templates').is_dir()")
    installed.run("python", "-c", code)
    worker = installed.run(
        "deepmac-ablate", "worker", "--workdir", "none", "--role", "x", status=2)
    assert f"--role must be one of {', '.join(ROLES)}, got 'x'." in worker.stderr


@pytest.mark.extended
def test_a_user_needs_no_checkout(installed):
    """In an empty folder: a plan, the model as text, the data, and trials to their results."""
    (installed.project / "narrow.py").write_text(SWEEP)
    plan = json.loads(installed.run("deepmac-ablate", "plan", "narrow.py", "--json").stdout)
    assert ["gin/experiments/shapes_small.gin", "gin/mask_heads/default.gin"] == (
        plan["trials"][1]["gin_files"])
    tree = installed.run(
        "deepmac-ablate", "bindings", "--tree", "--gin_file", "gin/experiments/shapes_small.gin")
    assert "model = @MaskRCNN  # gin/base.gin:" in tree.stdout
    assert str(installed.scripts.parent) not in tree.stdout
    installed.run("deepmac-ablate", "data", "shapes", "--output", "data/shapes")
    installed.run(
        "deepmac-ablate", "launch", "narrow.py", "--only", "width=narrow", "--steps", "2",
        "--gin_bindings", "IMAGE_SIZE = (64, 64)")
    [result] = installed.project.glob("runs/narrow/trials/*/result.json")
    assert 2 == json.loads(result.read_text())["step"]
    status = installed.run("deepmac-ablate", "status", "runs/narrow").stdout
    assert "1 finished, 0 failed, 0 interrupted, 0 missing" in status

"""The set-up by make: refusals before anything is done, and no environment that is half one."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A Python of a version, with or without the means to make a virtual environment; those that it
# makes install nothing.
_PYTHON = """#!/bin/sh
case "$*" in
  *python_version*) echo {version} ;;
  *ensurepip*) exit {ensurepip} ;;
  *venv*)
    rm -rf .venv && mkdir -p .venv/bin
    printf '#!/bin/sh\\n' | tee .venv/bin/pip > .venv/bin/uv
    printf '#!/bin/sh\\necho Python {version}\\n' > .venv/bin/python
    chmod +x .venv/bin/* ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    """A checkout, as far as the set-up looks at it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "setup.cfg", "setup.py", "pyproject.toml"):
        (tmp_path / name).touch()
    return tmp_path


def setup(folder: Path, version: str, ensurepip: int = 0) -> tuple[int, str]:
    """Run ``make setup``; returns its exit status and the first line of what it says."""
    python = folder / "a_python"
    python.write_text(_PYTHON.format(version=version, ensurepip=ensurepip))
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", "PYTHON=./a_python"], cwd=folder, capture_output=True, text=True,
        check=False)
    return done.returncode, done.stderr.partition("\n")[0]


def change(path: Path) -> None:
    """Touch a file so that it is newer than what was made before; clocks of files are coarse."""
    time.sleep(0.05)
    path.touch()


@pytest.mark.parametrize("version", ["2.7.18", "3.9.2", "3.10.13", "3.14.0", "3.1.1"])
def test_another_python_is_refused(folder, version):
    """Before anything is made, in one sentence that says which ones are right."""
    said = (
        f"deepmac_ablate needs Python 3.11, 3.12 or 3.13; ./a_python is {version}. "
        "Pass another: make PYTHON=python3.12 setup")
    assert (2, said) == setup(folder, version)
    assert not (folder / ".venv").exists()


def test_without_venv_the_missing_package_is_named(folder):
    """As on Debian, where it is a package of its own."""
    said = (
        "./a_python cannot make virtual environments: install the package python3.12-venv "
        "(Debian, Ubuntu).")
    assert (2, said) == setup(folder, "3.12.3", ensurepip=1)
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("version", ["3.11.7", "3.12.1", "3.13.0"])
def test_an_unfinished_environment_is_made_anew(folder, version):
    """Also one of another Python; a finished one of this Python keeps what else is in it."""
    leftover = folder / ".venv/leftover"
    leftover.parent.mkdir()
    leftover.touch()
    assert (0, "") == setup(folder, version)
    assert not leftover.exists()
    leftover.touch()
    change(folder / "setup.cfg")
    assert (0, "") == setup(folder, version)
    assert leftover.exists()
    change(folder / "setup.cfg")
    assert (0, "") == setup(folder, "3.12.99")
    assert not leftover.exists()

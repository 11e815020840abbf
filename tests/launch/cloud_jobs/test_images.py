"""The images of jobs: what their Dockerfiles install is what is locked, and complete."""

from __future__ import annotations

import configparser
import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILES = ("Dockerfile", "Dockerfile.tpu")


def locked(name: str) -> dict[str, str]:
    """The versions in a lock by package."""
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^\s;]+)", text, re.MULTILINE))


def instructions(name: str, kind: str) -> list[str]:
    """The arguments of a Dockerfile's instructions of a kind, continued lines joined."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return re.findall(rf"^{kind} (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["requirements-gpu.lock", "requirements-tpu.lock"])
def test_an_image_has_the_versions_of_the_tests(name):
    """All that both locks have is the same; only what drives the accelerator comes on top."""
    tested, image = locked("requirements.lock"), locked(name)
    assert {} == {it: image[it] for it in image if it in tested and image[it] != tested[it]}
    own = {re.sub("-cu12$", "", it) for it in image if it not in tested}
    accelerator = re.compile("nvidia-.*" if "gpu" in name else "tensorflow-tpu|libtpu")
    assert {it for it in own if accelerator.fullmatch(it)} == own
    assert own


def test_on_a_tpu_tensorflow_comes_once():
    """tensorflow-tpu is tensorflow by another name; whichever came last would be in force."""
    tpu = locked("requirements-tpu.lock")
    assert locked("requirements.lock")["tensorflow"] == tpu["tensorflow-tpu"]
    assert "tensorflow" not in tpu
    assert "--no-deps --requirements requirements-tpu.lock" in " ".join(
        instructions("Dockerfile.tpu", "RUN"))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_reaches_docker(name):
    """Everything exists and is let through by .dockerignore, which starts with nothing at all."""
    ignore = (ROOT / ".dockerignore").read_text().split()
    assert "*" == ignore[0]
    let_through = [it.removeprefix("!") for it in ignore if it.startswith("!")]
    arguments = dict(it.split("=", 1) for it in instructions(name, "ARG"))
    for sources in instructions(name, "COPY"):
        for source in sources.split()[:-1]:
            for path in ([arguments["LOCK"], "requirements-gpu.lock"]
                         if source == "$LOCK" else [source]):
                assert (ROOT / path).exists()
                assert any(fnmatch.fnmatch(path, it) for it in let_through), path


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_entry_point_is_the_command_line(name):
    """Of the Python that the package is for; jobs add `worker` and what follows."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    [script] = setup["options.entry_points"]["console_scripts"].split("\n")[1:]
    assert [f'["{script.partition(" ")[0]}"]'] == instructions(name, "ENTRYPOINT")
    [image] = instructions(name, "FROM")
    assert image.startswith("python:3.11-")
    assert setup["options"]["python_requires"].startswith(">=3.11,")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_gin_files_are_there_before_the_package_is_installed(name):
    """They are installed with it, so a file copied later would not be found."""
    text = (ROOT / name).read_text()
    assert -1 < text.index("COPY gin gin\n") < text.index("--no-deps .\n")
    assert "setup.py" in text[:text.index("--no-deps .\n")]

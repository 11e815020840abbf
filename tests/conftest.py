"""Fixtures and settings of all tests."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import deepmac_ablate  # noqa: F401 - before TensorFlow, as for every user.

if TYPE_CHECKING:
    from tests.fakes.gcs_server import GcsServer

# TensorFlow prints its start-up to the log of every test otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Several files are tested at a time: more threads of each would only wait for one another.
for pool in ("INTRAOP", "INTEROP"):
    os.environ.setdefault(f"TF_NUM_{pool}_THREADS", "1")


class _Files(LoadFileScheduling):
    """Each file is tested by one process, and all that need the finished trial by the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid.partition("::")[0])


@functools.cache
def _group(file: str) -> str:
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    return "finished" if re.search(r"^def \w+\([^)]*\bfinished\b", text, re.MULTILINE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Files:
    """Return a scheduler that keeps tests with common fixtures in one process."""
    return _Files(config, log)


@contextlib.contextmanager
def _clean_tensorflow() -> Iterator[None]:
    """Take back what preparing a trial changes for the whole process."""
    import tf_keras
    from tensorflow.python.framework import config

    from deepmac_ablate import bindings

    with bindings.isolated():
        try:
            yield
        finally:
            tf_keras.backend.clear_session()
            tf_keras.mixed_precision.set_global_policy("float32")
            config.disable_op_determinism()


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory):
    """A `tiny_trial.Recipe`, with its data."""
    from tests.helpers import tiny_trial

    return tiny_trial.write_recipe(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def finished(tiny_recipe, tmp_path_factory: pytest.TempPathFactory):
    """A `tiny_trial.Finished`; tests must leave its workdir as it is."""
    from deepmac_ablate.training.run import run_trial
    from tests.helpers import tiny_trial

    workdir = tiny_trial.Witness(tmp_path_factory.mktemp("finished") / "w")
    trial = tiny_recipe.trial()
    with _clean_tensorflow():
        returned = (
            run_trial(trial, workdir, "train"), run_trial(trial, workdir, "eval"))
    return tiny_trial.Finished(tiny_recipe, trial, workdir, returned)


@pytest.fixture
def clean_tensorflow() -> Iterator[None]:
    """Take back what preparing a trial changes for the whole process."""
    with _clean_tensorflow():
        yield


@pytest.fixture
def op_by_op() -> Iterator[None]:
    """Run TensorFlow's functions without tracing them; see `tiny_trial.op_by_op`."""
    from tests.helpers import tiny_trial

    with tiny_trial.op_by_op():
        yield


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """Make ``gs://bucket`` an empty bucket on this machine."""
    from tests.fakes.gcs_server import GcsServer

    with GcsServer("bucket") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server

"""Platforms are described by what the last digits of numbers depend on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deepmac_ablate.training.runtime import Runtime, processor_name


def test_the_processor_is_named_with_its_vectors():
    """By the name that the system gives it."""
    name = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    assert processor_name().partition(" (")[0] in name
    assert processor_name().endswith(("(AMX)", "(AVX-512)", "(AVX2)", "(NEON)"))


@pytest.mark.parametrize(("settings", "threads", "expected"), [
    ({}, "3", ", 3 threads"), ({"jit_compile": True}, "1", ", 1 thread, XLA"),
    ({"deterministic": True, "strategy": "mirrored"}, "2", ", 2 threads, mirrored, deterministic"),
])
def test_settings_that_change_digits_are_named(monkeypatch, settings, threads, expected):
    """Threads, strategy, XLA and determinism follow the processor."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    assert processor_name() + expected == Runtime(**settings).describe_platform()


@pytest.mark.slow
def test_threads_are_those_of_the_process():
    """Without a setting, all processors that the process may use."""
    code = ("from deepmac_ablate.training.runtime import Runtime; "
            "print(Runtime().describe_platform())")
    env = {name: value for name, value in os.environ.items() if not name.startswith("TF_NUM")}
    done = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", code], env=env, capture_output=True, text=True,
        check=True)
    assert f"{processor_name()}, 1 thread" == done.stdout.strip()

"""`doctor` says what works on a machine, and what to do about the rest."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from deepmac_ablate import cli
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import machine_check
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.training import device_check

GOOD = [{"import_seconds": 5.0, "modules": 4000, "compiled": 3},
        {"devices": {"CPU": 1}}, {"gflops": 200.0},
        {"first_step_seconds": 8.0, "step_seconds": 0.1, "loss": 4.0}]


@pytest.fixture
def device(tmp_path, monkeypatch):
    """Returns a function that replaces the check of the device by a script of Python."""
    def replace(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable}\nimport json, os, signal, sys, time\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(device_check.sys, "executable", str(program))

    return replace


def lines_of(findings: list[dict]) -> str:
    return "\n".join(f"print({json.dumps(found)!r}, flush=True)" for found in findings)


def verdicts(**options) -> dict[str, tuple[str, str]]:
    """Return verdict, and what was found with the remedy, by subject."""
    return {
        each.subject: (each.verdict, f"{each.found} {each.remedy}")
        for each in machine_check.check_machine(**options)}


@pytest.mark.extended
@pytest.mark.slow
def test_this_machine_is_fit(tmp_path, capsys) -> None:
    """Every part is checked for real, and the workdir is left as it was."""
    assert 0 == cli.main(["doctor", "--workdir", str(tmp_path / "new")])
    lines = capsys.readouterr().out.splitlines()
    subjects = [line.split()[1] for line in lines if "->" not in line]
    assert ["versions:", "machine:", "workdir:", "locks:", "import:", "devices:", "matrix",
            "training:"] == subjects
    assert "FAILED" not in "".join(lines)
    assert any("the smallest model: first step after" in line for line in lines)
    assert [] == list(tmp_path.iterdir())


def test_a_workdir_that_cannot_be_written_fails(tmp_path, device) -> None:
    """The others are checked all the same."""
    device(lines_of(GOOD))
    (tmp_path / "file").write_text("")
    found = verdicts(workdir=str(tmp_path / "file" / "w"))
    assert "failed" == found["workdir"][0]
    assert "Choose a folder that you may write to" in found["workdir"][1]
    assert "ok" == found["training"][0]


def test_a_lock_that_others_do_not_see_fails(tmp_path, device, monkeypatch) -> None:
    """So do two launchers of one workdir."""
    device(lines_of(GOOD))
    monkeypatch.setattr(locks, "is_held", lambda _: False)
    found = verdicts(workdir=str(tmp_path))
    assert ("failed", "a lock that is held is not seen") == (
        found["locks"][0], found["locks"][1][:31])


@pytest.mark.parametrize(("script", "subject", "text"), [
    ("sys.exit('no module named tensorflow')", "import", "exit status 1: no module named tensorf"),
    (f"{lines_of(GOOD[:2])}\nos.kill(os.getpid(), signal.SIGSEGV)", "matrix product", "signal 11"),
    (f"{lines_of(GOOD[:1])}\ntime.sleep(60)", "devices", "nothing for 2 s"),
    (lines_of([*GOOD[:3], {**GOOD[3], "loss": None}]), "training", "The loss is not a number"),
])
def test_a_device_that_ends_or_blocks_fails(device, script, subject, text) -> None:
    """The report names the part that was not reached; the parts before it are ok."""
    device(script)
    found = verdicts(patience=2.0)
    assert "failed" == found[subject][0]
    assert text in found[subject][1]
    assert list(found)[-1] == subject


def test_devices_that_are_not_seen_fail(device, monkeypatch) -> None:
    """A TPU of this machine without TensorFlow for it, and one that may not lock memory."""
    device(lines_of(GOOD))
    monkeypatch.setitem(os.environ, "TPU_ACCELERATOR_TYPE", "v5litepod-4")
    found = verdicts()
    assert "failed" == found["devices"][0]
    assert "install requirements-tpu.lock" in found["devices"][1]
    assert "locked memory" in found


def test_a_slow_import_and_other_versions_are_told(device, monkeypatch) -> None:
    """They are warnings: trials run."""
    device(lines_of([{**GOOD[0], "import_seconds": 99.0}, *GOOD[1:]]))
    monkeypatch.setattr(machine_check, "_locked_versions", lambda: {"numpy": "1.0"})
    found = verdicts()
    assert "warning" == found["import"][0] == found["versions"][0]
    assert "TPU_LOAD_LIBRARY=0" in found["import"][1]
    assert "The lock has numpy 1.0; numbers may differ" in found["versions"][1]


def test_bytecode_that_is_not_kept_is_told(device) -> None:
    """A warning, as every process compiles the modules again."""
    device(lines_of([{**GOOD[0], "compiled": 3900}, *GOOD[1:]]))
    verdict, text = verdicts()["import"]
    assert "warning" == verdict
    assert "3,900 of 4,000 modules were compiled for it and their bytecode is not kept" in text
    assert "Unset PYTHONDONTWRITEBYTECODE" in text


@pytest.mark.extended
@pytest.mark.slow
def test_modules_without_bytecode_are_counted(tmp_path, monkeypatch) -> None:
    """In a real process that finds none and keeps none."""
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "none"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    first = next(device_check.run_in_process([], 300.0))
    assert isinstance(first, dict)
    assert first["compiled"] > first["modules"] / 2 > 1000


def test_a_launch_stops_at_a_machine_that_fails(tmp_path, device, capsys) -> None:
    """With `--check`, on this machine and in jobs."""
    device("sys.exit('no driver')")
    with pytest.raises(UserError, match=r"failed \(import: exit status 1: no driver\)\. Tens"):
        machine_check.require_machine(str(tmp_path))
    assert " FAILED  import: exit status 1: no driver" in capsys.readouterr().out
    assert [] == [path for path in Path(tmp_path).iterdir() if path.name != "python"]

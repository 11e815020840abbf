"""Check of a machine: whether trials can run here, and what to do where they cannot."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.safe_text import visible
from deepmac_ablate.storage import file_io
from deepmac_ablate.training import device_check, tpu_environment
from deepmac_ablate.trial.code_fingerprint import ROOT

Verdict = Literal["ok", "warning", "failed"]

_PYTHONS = ((3, 11), (3, 13))
_LIBRARIES = (
    "tensorflow", "tf-models-official", "tf-keras", "gin-config", "xmanager", "wandb",
    "pycocotools", "pandas", "numpy")
_VARIANTS = {"tensorflow": ("tensorflow-tpu", "tensorflow-cpu")}
_MARKS: dict[Verdict, str] = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}
_LEAST_MEMORY = 4 * 2**30
_LEAST_DISK = 2**30
# Seconds without a new finding after which the device counts as blocked.
_PATIENCE = 300.0
_SLOW_IMPORT = 60.0


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        subject: The part of the machine.
        verdict: "ok", "warning" (trials run, but something should be known) or "failed".
        found: The values that were found.
        remedy: What to do; empty if all is well.
    """

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


def check_machine(
    workdir: str | None = None, runtime: Sequence[str] = (), patience: float = _PATIENCE
) -> Iterator[Finding]:
    """Yield the findings about this machine, the quick ones first.

    Args:
        workdir: Folder, on a disk or on ``gs://``, that trials are to be written to; it is created
            if it does not exist, and left as it was. None leaves it out.
        runtime: Bindings of `Runtime` for this machine, such as "Runtime.strategy = 'mirrored'".
        patience: Seconds without a new finding after which a device counts as blocked.
    """
    yield _check_versions()
    yield _check_resources()
    yield from _check_memory_lock()
    if workdir is not None:
        yield from _check_workdir(epath.Path(workdir))
    yield from _check_device(runtime, patience)


def print_findings(
    workdir: str | None = None, runtime: Sequence[str] = (), patience: float = _PATIENCE
) -> list[Finding]:
    """Print the findings as they come, see `check_machine`; return those that have failed."""
    failed = []
    for finding in check_machine(workdir, runtime, patience):
        print(visible(f"{_MARKS[finding.verdict]:>7}  {finding.subject}: {finding.found}"))
        if finding.remedy:
            print(visible(f"{'':>7}  -> {finding.remedy}"))
        sys.stdout.flush()
        if finding.verdict == "failed":
            failed.append(finding)
    return failed


def require_machine(workdir: str, runtime: Sequence[str] = ()) -> None:
    """Print the findings, see `check_machine`.

    Raises:
        UserError: If something has failed.
    """
    if failed := print_findings(workdir, runtime):
        found = "; ".join(f"{each.subject}: {each.found}" for each in failed)
        raise UserError(f"The check of this machine has failed ({found}). {failed[0].remedy}")


def _check_versions() -> Finding:
    versions = {name: _version(name) for name in _LIBRARIES}
    found = ", ".join([
        f"Python {platform.python_version()}",
        *(f"{name} {version or 'missing'}" for name, version in versions.items())])
    if missing := [name for name, version in versions.items() if version is None]:
        return Finding(
            "versions", "failed", found,
            f"Install {', '.join(missing)}: `make setup` in the checkout installs all that is "
            "locked.")
    if not _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Finding(
            "versions", "warning", found, "Tested are Python 3.11, 3.12 and 3.13; use one of them.")
    locked = _locked_versions()
    other = [
        f"{name} {locked[name]}" for name, version in versions.items()
        if name in locked and locked[name] != version]
    if other:
        return Finding(
            "versions", "warning", found,
            f"The lock has {', '.join(other)}; numbers may differ from those of other machines.")
    return Finding("versions", "ok", found)


def _version(name: str) -> str | None:
    for candidate in (name, *_VARIANTS.get(name, ())):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(candidate)
    return None


def _locked_versions() -> dict[str, str]:
    try:
        lines = (ROOT / "requirements.lock").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(" ")[0].partition("==") for line in lines if "==" in line)
    return {name.lower(): version for name, _, version in pairs}


def _check_resources() -> Finding:
    import psutil

    memory, cores = psutil.virtual_memory(), os.cpu_count() or 1
    with contextlib.suppress(AttributeError):
        cores = len(os.sched_getaffinity(0))
    free = shutil.disk_usage(tempfile.gettempdir()).free
    found = (
        f"{_processor()}, {cores} cores, {memory.total / 2**30:.1f} GiB of memory "
        f"({memory.available / 2**30:.1f} free), {free / 2**30:.1f} GiB free in "
        f"{tempfile.gettempdir()}")
    if memory.available < _LEAST_MEMORY:
        return Finding(
            "machine", "warning", found,
            "A small trial needs 2 GiB and a ResNet-50 8; free memory, or run fewer at a time.")
    if free < _LEAST_DISK:
        return Finding("machine", "warning", found, "Free some disk space, or set TMPDIR.")
    return Finding("machine", "ok", found)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _check_memory_lock() -> Iterator[Finding]:
    """Yield the limit of locked memory where there is a TPU, which needs it."""
    if tpu_environment.find_tpu(os.environ) is None:
        return
    warning = tpu_environment.raise_memory_lock()
    limit = tpu_environment.read_memory_lock().limit
    found = "no limit" if math.isinf(limit) else f"at most {limit / 2**30:,.2f} GiB"
    yield Finding("locked memory", "failed" if warning else "ok", found, warning)


def _check_workdir(workdir: epath.Path) -> Iterator[Finding]:
    existed = workdir.exists()
    folder = workdir / f".check-{os.getpid()}"
    try:
        started = time.monotonic()
        folder.mkdir(parents=True)
        file_io.write(folder / "one", "content")
        content = file_io.read(folder / "one")
        seconds = time.monotonic() - started
        if content != b"content":
            yield Finding("workdir", "failed", f"{workdir} gave back other content", "Use another.")
            return
        yield Finding("workdir", "ok", f"{workdir}: written and read in {seconds * 1000:.0f} ms")
        yield _check_locks(folder)
    except Exception as error:
        yield Finding(
            "workdir", "failed", f"{workdir}: {type(error).__name__}: {error}",
            "Choose a folder that you may write to, on gs:// with credentials for it.")
    finally:
        with contextlib.suppress(Exception):
            folder.rmtree(missing_ok=True)
            if not existed:
                workdir.rmtree(missing_ok=True)


def _check_locks(folder: epath.Path) -> Finding:
    """Return whether a lock that is held in the workdir is refused to others."""
    path = os.fspath(folder / "lock")
    if path.startswith("gs://"):
        return Finding("locks", "ok", "objects on gs:// with a lease")
    reason = locks.find_lease_reason(path)
    with locks.acquire(path, locks.describe_this_process("a check")):
        held = locks.is_held(path)
    if not held or locks.is_held(path):
        return Finding(
            "locks", "failed", "a lock that is held is not seen",
            "Use a workdir on another file system, or never launch one workdir twice at a time.")
    return Finding("locks", "ok", f"leases ({reason})" if reason else "flock")


def _check_device(runtime: Sequence[str], patience: float) -> Iterator[Finding]:
    found: dict[str, Any] = {}
    makers: dict[str, Callable[[dict[str, Any]], Finding]] = {
        "import_seconds": _import_finding, "devices": _devices_finding, "gflops": _rate_finding,
        "step_seconds": _step_finding}
    subjects = dict(zip(makers, ("import", "devices", "matrix product", "training"), strict=True))
    for line in device_check.run_in_process(runtime, patience):
        if isinstance(line, str):
            waiting = next(name for name in makers if name not in found)
            yield Finding(subjects[waiting], "failed", line, _REMEDIES[waiting])
            return
        found |= line
        yield next(make(found) for name, make in makers.items() if name in line)


_REMEDIES = {
    "import_seconds": (
        "TensorFlow cannot be imported; where there is no TPU, tensorflow-tpu needs "
        "TPU_LOAD_LIBRARY=0. `make setup` installs what is locked."),
    "devices": "Look at the driver: `nvidia-smi` on a GPU node; another process may hold the TPU.",
    "gflops": "The device is seen and does not compute: it may be held or out of memory.",
    "step_seconds": "TensorFlow works and training does not: send us this report.",
}


def _import_finding(found: dict[str, Any]) -> Finding:
    seconds = found["import_seconds"]
    if seconds > _SLOW_IMPORT:
        return Finding(
            "import", "warning", f"TensorFlow imported in {seconds:.0f} s",
            "That is slow: look at the file system of the environment, or, with tensorflow-tpu "
            "where there is no TPU, set TPU_LOAD_LIBRARY=0.")
    if found["compiled"] > found["modules"] / 2:
        return Finding(
            "import", "warning",
            f"TensorFlow imported in {seconds:.1f} s; {found['compiled']:,} of "
            f"{found['modules']:,} modules were compiled for it and their bytecode is not kept",
            "Every process compiles them again. Unset PYTHONDONTWRITEBYTECODE, or compile them "
            f"once: python -m compileall -q {sys.prefix}")
    return Finding("import", "ok", f"TensorFlow imported in {seconds:.1f} s")


def _devices_finding(found: dict[str, Any]) -> Finding:
    devices = found["devices"]
    text = ", ".join(f"{number} {kind}" for kind, number in devices.items())
    if tpu_environment.find_tpu(os.environ) is not None and "TPU" not in devices:
        return Finding(
            "devices", "failed", text,
            "The machine has a TPU that TensorFlow does not see: install requirements-tpu.lock, "
            "and see docs/clouds.md.")
    if any(Path("/dev").glob("nvidia[0-9]*")) and "GPU" not in devices:
        return Finding(
            "devices", "failed", text,
            "The machine has a GPU that TensorFlow does not see: install requirements-gpu.lock, "
            "and look at `nvidia-smi` and CUDA_VISIBLE_DEVICES.")
    return Finding("devices", "ok", text)


def _rate_finding(found: dict[str, Any]) -> Finding:
    return Finding("matrix product", "ok", f"{found['gflops']:,.0f} GFLOP/s in float32")


def _step_finding(found: dict[str, Any]) -> Finding:
    # JSON has no NaN.
    loss = math.nan if found["loss"] is None else found["loss"]
    text = (
        f"the smallest model: first step after {found['first_step_seconds']:.1f} s, then "
        f"{found['step_seconds']:.2f} s a step, loss {loss:.3g}")
    if not math.isfinite(loss):
        return Finding(
            "training", "failed", text, "The loss is not a number: send us this report.")
    return Finding("training", "ok", text)

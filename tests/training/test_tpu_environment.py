"""The environment in which TensorFlow is imported: with a TPU, without one, with the real wheel.

The wheel is installed once, from the lock of the image for TPUs, into an environment of its own.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmac_ablate import errors
from deepmac_ablate.cloud import devices, generations
from deepmac_ablate.errors import UserError
from deepmac_ablate.training import tpu_environment
from tests.helpers.tiny_trial import Recipe

ROOT = Path(__file__).resolve().parents[2]
HOSTS = [f"trial-1-host-0-{number}.trial-1" for number in range(4)]

_PREPARED = """
import json, pathlib, sys
from deepmac_ablate.training import tpu_environment
environment = json.loads(sys.argv[1])
tpu_environment.set_platform_variables(environment, pathlib.Path(sys.argv[2]))
if environment.get("PJRT_DEVICE") == "TPU":
    tpu_environment.prepare_for_tpu(environment)
print(json.dumps(environment))
"""


def prepared(environment: dict[str, str], root: Path) -> dict[str, str]:
    """The variables for a process on a machine with libtpu, whose files are below `root`."""
    (root / "libtpu").mkdir()
    (root / "libtpu/__init__.py").write_text("")
    run = subprocess.run(
        [sys.executable, "-c", _PREPARED, json.dumps(environment), str(root)], cwd=ROOT,
        capture_output=True, text=True, check=True, env={"PYTHONPATH": f"{ROOT}:{root}"})
    return json.loads(run.stdout)


def add_pci_device(root: Path, vendor: str, device: str) -> None:
    """Write what Linux shows of a device on the PCI bus."""
    folder = root / "sys/bus/pci/devices/0000:00:04.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "device").write_text(f"{device}\n")


# Ids of jax/_src/hardware_utils.py; the network card of Google's machines is not a TPU.
@pytest.mark.parametrize(("vendor", "device", "generation"), [
    ("0x1ae0", "0x0027", "v3"), ("0x1ae0", "0x005e", "v4"), ("0x1ae0", "0x0063", "v5e"),
    ("0x1ae0", "0x0062", "v5p"), ("0x1ae0", "0x006f", "v6e"), ("0x1ae0", "0x0042", None),
    ("0x10de", "0x0063", None)])
def test_a_tpu_vm_has_its_generation_on_the_bus(tmp_path, vendor, device, generation):
    """From v5e on, a TPU VM needs no variable set by hand; without a TPU, none is looked for."""
    add_pci_device(tmp_path, vendor, device)
    assert generation == tpu_environment.find_tpu({}, tmp_path)
    found = prepared({}, tmp_path)
    if generation in ("v5e", "v5p", "v6e"):
        library = str(tmp_path / "libtpu/libtpu.so")
        assert {
            "PJRT_DEVICE": "TPU", "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
            "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": library, "TPU_LIBRARY_PATH": library,
            **generations.XLA_FLAGS} == found
    else:
        assert ({"TPU_LOAD_LIBRARY": "0"} if generation is None else {}) == found


@pytest.mark.parametrize(("environment", "generation"), [
    ({"TPU_ACCELERATOR_TYPE": "v5litepod-16"}, "v5e"), ({"TPU_ACCELERATOR_TYPE": "v3-32"}, "v3"),
    ({"TPU_ACCELERATOR_TYPE": "v6e-8"}, "v6e"), ({"PJRT_DEVICE": "TPU"}, "unknown"),
    ({"PJRT_DEVICE": "CPU"}, None), ({}, None)])
def test_gke_names_the_tpu_of_a_container(tmp_path, environment, generation):
    """Its device plugin sets a variable in every container with TPU chips."""
    assert generation == tpu_environment.find_tpu(environment, tmp_path)
    assert ("TPU_LOAD_LIBRARY" in prepared(environment, tmp_path)) == (generation is None)


def test_older_tpus_are_found_by_their_files(tmp_path):
    """Up to v4 they are /dev/accel0 and so on."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/accel0").touch()
    assert {} == prepared({}, tmp_path)


@pytest.mark.parametrize("given", [
    {"TPU_LOAD_LIBRARY": "1"},
    {"PJRT_DEVICE": "TPU", "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": "/lib/libtpu.so",
     "TPU_LIBRARY_PATH": "/lib/libtpu.so", "TF_XLA_FLAGS": "--tf_xla_auto_jit=2"}])
def test_variables_that_are_set_are_kept(tmp_path, given):
    """An image or a user knows better."""
    found = prepared(given, tmp_path)
    assert given == {name: found[name] for name in given}


@pytest.mark.parametrize("environment", [{}, {"PJRT_DEVICE": "CPU"}])
def test_without_the_library_nothing_is_set(environment):
    """Here the environment stays as it is, as the stock TensorFlow reads none of it."""
    completed = dict(environment)
    tpu_environment.set_platform_variables(completed)
    tpu_environment.prepare_for_tpu(completed)
    assert environment == completed


def test_a_tpu_without_its_library_is_a_mistake():
    """The message names the missing package."""
    with pytest.raises(UserError, match=r"the package libtpu is not installed; install tensorflow"):
        tpu_environment.prepare_for_tpu({"PJRT_DEVICE": "TPU"})


def test_the_hosts_of_a_slice_find_each_other():
    """The number and the names are those that GKE sets, or else those of the job."""
    expected = {
        "TPU_WORKER_ID": "2", "TPU_WORKER_HOSTNAMES": ",".join(HOSTS), "CLOUD_TPU_TASK_ID": "2",
        "TPU_HOSTNAME_OVERRIDE": HOSTS[2], "TPU_LOCK_DEVICE": "true", "TPU_STDERR_LOG_LEVEL": "0",
        "TPU_MESH_CONTROLLER_ADDRESS": f"{HOSTS[0]}:8476", "TPU_MESH_CONTROLLER_PORT": "8476"}
    by_gke = {"TPU_WORKER_ID": "2", "TPU_WORKER_HOSTNAMES": ",".join(HOSTS)}
    tpu_environment.set_slice_variables(by_gke, [])
    by_job = {"JOB_COMPLETION_INDEX": "2"}
    tpu_environment.set_slice_variables(by_job, HOSTS)
    assert "2" == by_job.pop("JOB_COMPLETION_INDEX")
    assert expected == by_gke == by_job


@pytest.mark.parametrize(("environment", "hosts"), [
    ({}, []), ({}, ["h0"]), ({"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "localhost"}, [])])
def test_one_host_needs_no_names(environment, hosts):
    """A slice of one host, where GKE calls it localhost, is left alone."""
    completed = dict(environment)
    tpu_environment.set_slice_variables(completed, hosts)
    assert environment == completed


@pytest.mark.parametrize("number", ["", "4", "x"])
def test_a_host_without_a_number_is_refused(number):
    """The message has the variables and the range."""
    with pytest.raises(UserError, match=rf"JOB_COMPLETION_INDEX must be .* 0 to 3.*got '{number}'"):
        tpu_environment.set_slice_variables({"JOB_COMPLETION_INDEX": number}, HOSTS)


_LOCKED = """
import os, resource
from deepmac_ablate.training import tpu_environment
if os.getuid() == 0:
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, {hard}))
print(tpu_environment.raise_memory_lock())
print(tpu_environment.read_memory_lock(), resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])
"""


@pytest.mark.parametrize("hard", [65536, 131072])
def test_locked_memory_is_raised_as_far_as_possible(hard):
    """Without privilege only up to the hard limit, and a sentence says what to do."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] not in range(hard):
        run = subprocess.run(
            [sys.executable, "-c", _LOCKED.format(hard=hard)], cwd=ROOT, capture_output=True,
            text=True, check=True)
        warning, found = run.stdout.splitlines()
        assert f"may lock only 0.{hard * 100 // 2**20:02} MiB of memory, but a TPU" in warning
        assert "ulimit -l 68719476736" in warning
        assert "--privileged" in warning
        assert f"MemoryLock(limit={hard}, is_enough=False) {hard}" == found


@pytest.mark.parametrize("limit", [tpu_environment.MEMORY_LOCK, resource.RLIM_INFINITY])
def test_locked_memory_that_suffices_is_left_alone(monkeypatch, limit):
    """There is no warning, and the limit is not touched."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(resource, "setrlimit", None)
    assert "" == tpu_environment.raise_memory_lock()
    assert tpu_environment.read_memory_lock().is_enough


# The real wheel.


@pytest.fixture(scope="module")
def tpu_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with what the image for TPUs has."""
    folder, uv = tmp_path_factory.mktemp("tpu") / "venv", Path(sys.executable).parent / "uv"
    python = str(folder / "bin/python")
    for words in (
            ["venv", "--quiet", "--python", sys.executable, str(folder)],
            ["pip", "install", "--quiet", "--python", python, "--no-deps", "--requirements",
             "requirements-tpu.lock"]):
        try:
            subprocess.run([uv, *words], cwd=ROOT, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            pytest.skip(f"The lock for TPUs cannot be installed: {said.strip().splitlines()[-1]}")
    return python


class _Metadata(http.server.BaseHTTPRequestHandler):
    """Metadata server of a machine that is not a TPU host."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a metadata server that answers, and what it was asked."""
    _Metadata.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", _Metadata.asked
        server.shutdown()


def environment_with(metadata: str) -> dict[str, str]:
    """The environment of a process whose libtpu asks this metadata server, by its proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TPU_")}
    return {**kept, "http_proxy": metadata, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


# Prints the seconds in which the process had nothing to compute, however busy the machine is.
_TIMED = """
import sys, time
from pathlib import Path
began = time.monotonic()
from deepmac_ablate import cli
status = cli.main(sys.argv[1:])
computed, queued = map(int, Path("/proc/self/schedstat").read_text().split()[:2])
print(time.monotonic() - began - (computed + queued) / 1e9)
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("answers", [True, False])
def test_a_command_does_not_wait_for_a_metadata_server(
    tpu_python: str, asked: tuple[str, list[str]], answers: bool
) -> None:
    """It imports TensorFlow for TPUs at once, whether the server answers or refuses."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}"
    url = asked[0] if answers else refusing
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = subprocess.run(
            [tpu_python, "-c", _TIMED, "tpu-server", "--port", str(taken.getsockname()[1])],
            cwd=ROOT, env=environment_with(url), capture_output=True, text=True, check=False,
            timeout=120)
    assert "Cannot serve on port" in run.stderr
    assert errors.USER_ERROR == run.returncode
    assert [] == asked[1]
    assert float(run.stdout) < 15


@pytest.mark.slow
@pytest.mark.extended
def test_otherwise_the_import_waits_for_a_metadata_server(
    tpu_python: str, asked: tuple[str, list[str]]
) -> None:
    """Without the variable, libtpu asks again and again, which the test above would see."""
    process = subprocess.Popen(
        [tpu_python, "-c", "import tensorflow"], env=environment_with(asked[0]),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(asked[1]) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None
        assert {"tpu-env"} == {path.rpartition("/")[2] for path in asked[1][:3]}
    finally:
        process.kill()
        process.wait()


_FLAGS = """
import os, tensorflow as tf
from deepmac_ablate.errors import UserError
from deepmac_ablate.training.runtime import Runtime
try:
    tf.function(lambda x: x + x, jit_compile=True)(tf.ones([3]))
except tf.errors.NotFoundError as error:
    # This wheel compiles for TPUs only.
    print(error.message)
try:
    Runtime(strategy="tpu").create_strategy()
except UserError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.extended
def test_the_wheel_knows_the_flags(tpu_python: str) -> None:
    """Unknown ones would end the process; and a TPU that is not there is named."""
    flags = generations.XLA_FLAGS["TF_XLA_FLAGS"]
    environment = {
        **environment_with("http://127.0.0.1:9"),
        **devices.get_device("v5e-16").coordinator_variables}
    assert flags == environment["TF_XLA_FLAGS"]
    known = subprocess.run(
        [tpu_python, "-c", _FLAGS], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False)
    assert 0 == known.returncode, known.stderr
    assert "transfer manager for platform Host" in known.stdout
    assert "Runtime.strategy = 'tpu', but no TPU answers at Runtime.tpu = 'local'" in known.stdout
    unknown = subprocess.run(
        [tpu_python, "-c", _FLAGS], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**environment, "TF_XLA_FLAGS": f"{flags} --no_such_flag=true"})
    assert unknown.returncode < 0
    assert "Unknown flag in TF_XLA_FLAGS: --no_such_flag=true" in unknown.stderr


@pytest.mark.slow
@pytest.mark.extended
def test_hosts_have_the_variables_of_the_wheels_own_worker(tpu_python: str) -> None:
    """All that it sets, but for the bounds of v2 and v3, which GKE's device plugin sets."""
    script = next(Path(tpu_python).parents[1].glob(
        "lib/*/site-packages/tensorflow/python/tools/grpc_tpu_worker.py")).read_text()
    environment = {"JOB_COMPLETION_INDEX": "1"}
    tpu_environment.set_slice_variables(environment, HOSTS)
    theirs = set(re.findall(r"os\.environ\['(\w+)'\] = ", script))
    assert "TPU_HOSTNAME_OVERRIDE" in theirs
    assert {"TPU_CHIPS_PER_HOST_BOUNDS", "TPU_HOST_BOUNDS"} == theirs - environment.keys()
    assert "':8476'" in script
    assert "'8470'" in script


@pytest.mark.slow
@pytest.mark.extended
def test_a_trial_runs_on_a_cpu_with_the_image_for_tpus(
    tpu_python: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """As the evaluation job of a launch does, with all versions of the lock."""
    run = subprocess.run(
        [tpu_python, "-m", "deepmac_ablate.cli", "train", "--gin-file", str(tiny_recipe.gin_file),
         "--gin-bindings", "STEPS = 2", "--workdir", str(tmp_path / "w")],
        cwd=ROOT, env=environment_with("http://127.0.0.1:9"), capture_output=True, text=True,
        check=False)
    assert 0 == run.returncode, run.stderr
    assert 2 == json.loads((tmp_path / "w/result.json").read_text())["step"]

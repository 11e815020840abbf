"""Known validation results need no TensorFlow; new ones need one process for all."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.user_cache import user_cache_path
from deepmac_ablate.sweep.validation import result_cache
from deepmac_ablate.sweep.validation.dataset_checks import check_datasets
from deepmac_ablate.sweep.validation.validation_process import validating
from deepmac_ablate.sweep.validation.validation_result import (
    ArmConfig,
    DataRequirements,
    ValidationResult,
)
from tests.helpers.supervised import wait_until
from tests.sweep.validation.test_cost import COST

PYTHON = sys.executable
ROOT = Path(__file__).resolve().parents[3]
GOOD = ValidationResult("", cost=COST, data=DataRequirements("no/train", "no/val", "voc", 91))
BAD = ValidationResult("", ("a.gin:1 'Studio.stepz = 1': no.",))

# Answers as `python -m deepmac_ablate.sweep.validation` does, without building anything; it notes
# how many configurations each of its starts was given.
VALIDATOR = """\
#!PYTHON
import json, sys
lines = sys.stdin.read().splitlines()
open("asked", "a").write(f"{len(lines)}\\n")
for index, line in enumerate(lines):
    result = json.loads(r'''BAD''' if "stepz" in line else r'''GOOD''')
    print(json.dumps({"index": index, "result": result}), flush=True)
"""
DIES = """\
#!/bin/sh
read first
echo '{"index": 0, "result": GOOD}'
echo 'a line before' >&2
echo 'MemoryError: no room' >&2
exit 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with a gin file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gin").write_text("Studio.steps = 1\n")
    return tmp_path


@pytest.fixture
def interpreter(folder, monkeypatch):
    """Make another program stand in for Python."""
    def use(script):
        path = folder / "python"
        for name, result in (("GOOD", GOOD), ("BAD", BAD)):
            script = script.replace(name, json.dumps(result.to_json()))
        path.write_text(script.replace("PYTHON", PYTHON))
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        return path

    return use


def asked(folder):
    """Return the number of configurations that each validation process was given."""
    path = folder / "asked"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def arm(label, *bound, gin_file="a.gin"):
    return ArmConfig(label, (gin_file,), bound)


def validate(configs, cache=None):
    """Results of configurations, by `validating` with nothing to do meanwhile."""
    with validating(configs, cache) as results:
        pass
    return results


def test_good_and_bad_results_are_found_once(folder, interpreter):
    """A warm call answers the same for everybody, with no interpreter to ask."""
    path = interpreter(VALIDATOR)
    arms = [arm("one", "Studio.rate = 1.0"), arm("two", "Studio.stepz = 1"),
            arm("three", "Studio.rate = 3.0")]
    cold = validate(arms, folder / "cache")
    path.unlink()
    assert cold == validate(arms, folder / "cache")
    assert [3] == asked(folder)
    assert ["one", "two", "three"] == [result.label for result in cold]
    assert [(), BAD.problems, ()] == [result.problems for result in cold]
    assert [COST, None, COST] == [result.cost for result in cold]
    assert ("no/train", "no/val") == cold[0].data_out_of_reach


def test_the_same_content_is_validated_once(folder, interpreter):
    """Whatever it is called; seeds and labels are no content."""
    interpreter(VALIDATOR)
    found = validate([arm("one"), arm("again"), arm("two", "Studio.rate = 2.0")], folder / "cache")
    assert [2] == asked(folder)
    assert ["one", "again", "two"] == [result.label for result in found]


def test_what_changes_is_validated_again(folder, interpreter):
    """A binding, a line of a gin file, and where it stands, as problems are told by line."""
    interpreter(VALIDATOR)
    validate([arm("one")], folder / "cache")
    validate([arm("one", "Studio.rate = 1.0")], folder / "cache")
    validate([arm("one", "Studio.rate = 1")], folder / "cache")
    for line in ("Studio.steps = 2\n", "# First.\nStudio.steps = 2\n"):
        (folder / "a.gin").write_text(line)
        # Another name, as a process may read a file once.
        shutil.copy("a.gin", f"{len(line)}.gin")
        validate([arm("one", gin_file=f"{len(line)}.gin")], folder / "cache")
    assert [1] * 5 == asked(folder)


def test_data_is_looked_at_each_time(folder, interpreter):
    """A dataset that appears is checked, without the process."""
    interpreter(VALIDATOR)
    validate([arm("one")], folder / "cache")
    (folder / "no").mkdir()
    (folder / "no/train-info.json").write_text("{")
    [result] = validate([arm("one")], folder / "cache")
    assert [1] == asked(folder)
    assert ("no/val",) == result.data_out_of_reach
    assert "is not the info file of a dataset" in result.problems[0]


def test_invalid_gin_is_a_problem_of_its_arm_only(folder, interpreter):
    """It needs no process, and the others are validated."""
    interpreter(VALIDATOR)
    found = validate(
        [arm("one", "Studio.steps ="), arm("two"), arm("three", gin_file="b.gin")],
        folder / "cache")
    assert [1] == asked(folder)
    assert "is not valid gin" in found[0].problems[0]
    assert () == found[1].problems
    assert "There is no gin file 'b.gin'" in found[2].problems[0]


def test_problems_of_this_machine_are_not_remembered(folder, interpreter):
    """An arm that took too long or too much memory is tried again the next time."""
    interpreter(VALIDATOR.replace("GOOD", "SLOW").replace("BAD", "SLOW").replace(
        "SLOW", json.dumps(dataclasses.replace(BAD, of_this_machine=True).to_json())))
    for _ in range(2):
        [result] = validate([arm("one")], folder / "cache")
        assert BAD.problems == result.problems
    assert [1, 1] == asked(folder)


def test_a_process_that_dies_is_reported_with_its_last_line(folder, interpreter):
    """Results from before the failure are kept."""
    interpreter(DIES)
    arms = [arm("one"), arm("two", "Studio.rate = 2.0")]
    with pytest.raises(UserError, match=r"status 3: MemoryError: no room$"):
        validate(arms, folder / "cache")
    interpreter(VALIDATOR)
    validate(arms, folder / "cache")
    assert [1] == asked(folder)


def test_a_process_that_dies_before_it_reads_is_reported(folder, interpreter):
    """The configurations are more than a pipe holds."""
    interpreter("#!/bin/sh\necho 'no module' >&2\nexit 1\n")
    arms = [arm(str(i), f"Studio.rate = {i}.0", f"Studio.name = '{'x' * 1000}'")
            for i in range(200)]
    with pytest.raises(UserError, match="status 1: no module"):
        validate(arms, folder / "cache")


def test_the_cache_is_in_the_users_cache_folder(folder, interpreter, monkeypatch):
    """By default the cache is in the folder that XDG_CACHE_HOME names."""
    interpreter(VALIDATOR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "xdg"))
    validate([arm("one")])
    validate([arm("one")])
    assert [1] == asked(folder)
    assert (folder / "xdg/deepmac_ablate/validation.jsonl").exists()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(folder))
    assert folder / ".cache/deepmac_ablate/validation.jsonl" == user_cache_path("validation.jsonl")


def test_a_broken_cache_costs_time_only(folder, interpreter):
    """Lines of other versions and no text are passed over; a folder that refuses is no problem."""
    interpreter(VALIDATOR)
    (folder / "cache").write_bytes(b'{"key": 1}\n\xff\xfe\n[]\n{"key": "x", "result": {}}\n')
    assert [COST] == [result.cost for result in validate([arm("one")], folder / "cache")]
    validate([arm("one")], folder / "cache")
    assert [1] == asked(folder)
    (folder / "file").touch()
    assert [COST] == [result.cost for result in validate([arm("one")], folder / "file/cache")]


def test_writers_do_not_lose_each_others_results(folder):
    """Many at once, all are there."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(
            lambda i: result_cache.add_results(folder / "cache", {str(i): GOOD}), range(40)))
    assert {str(i) for i in range(40)} == set(result_cache.load_results(folder / "cache"))


def test_the_cache_keeps_the_latest_results(folder, monkeypatch):
    """It does not grow for ever."""
    monkeypatch.setattr(result_cache, "_MAX_RESULTS", 3)
    for i in range(5):
        result_cache.add_results(folder / "cache", {str(i): GOOD})
    assert ["2", "3", "4"] == list(result_cache.load_results(folder / "cache"))


KEY = """\
import sys
from deepmac_ablate import bindings
from deepmac_ablate.sweep.validation import result_cache
print(result_cache.content_key(bindings.read(["a.gin"], [])))
"""


@pytest.mark.slow
def test_code_that_decides_is_part_of_the_key(folder):
    """Code of models and validation, and a gin file's imports; not the plan's, and no comments."""
    shutil.copytree(ROOT / "deepmac_ablate", folder / "deepmac_ablate")
    (folder / "a.gin").write_text("import my_heads\n")
    (folder / "my_heads.py").write_text("WIDTH = 1\n")

    def key():
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        run = subprocess.run(
            [sys.executable, "-c", KEY], env=environment, cwd=folder, capture_output=True,
            text=True, check=True)
        return run.stdout

    keys = [key()]
    for name, line in (
            ("sweep/plan.py", "X = 1"), ("modeling/sampling.py", "# More."),
            ("modeling/sampling.py", "X = 1"), ("sweep/validation/validator.py", "X = 1"),
            ("sweep/validation/cost.py", "X = 1"), ("../my_heads.py", "X = 1")):
        with (folder / "deepmac_ablate" / name).open("a") as file:
            file.write(f"{line}\n")
        keys.append(key())
    assert keys[0] == keys[1] == keys[2]
    assert 5 == len(set(keys))


# As VALIDATOR, once somebody has made a file.
WAITS = VALIDATOR.replace("for index", """\
import pathlib, time
open("waiting", "w").write(str(__import__("os").getpid()))
while not pathlib.Path("go").exists():
    time.sleep(0.01)
for index""")


def test_other_work_goes_on_while_arms_are_validated(folder, interpreter):
    """The process has its input, and need not be done before the block ends."""
    interpreter(WAITS)
    with validating([arm("one"), arm("two", "Studio.stepz = 1")], folder / "cache") as found:
        wait_until((folder / "waiting").exists, 30)
        assert [2] == asked(folder)
        assert [] == found
        (folder / "go").touch()
    assert [(), BAD.problems] == [result.problems for result in found]


def test_no_process_is_left_by_work_that_fails(folder, interpreter):
    """The block's error is told, at once."""
    interpreter(WAITS)
    waiting = folder / "waiting"

    def fail():
        wait_until(lambda: waiting.exists() and waiting.read_text(), 30)
        raise UserError("no")

    with pytest.raises(UserError, match=r"^no$"), validating([arm("one")], folder / "cache"):
        fail()
    assert not psutil.pid_exists(int(waiting.read_text()))


@pytest.mark.slow
def test_the_process_validates_as_this_one_would(folder, tiny_recipe, monkeypatch):
    """Lines that users' modules print are not taken for results."""
    from deepmac_ablate.sweep.validation.validator import validate_configs

    (folder / "chatty.py").write_text("print('hello')\n")
    (folder / "b.gin").write_text("import chatty\n")
    monkeypatch.syspath_prepend(folder)
    files = (str(tiny_recipe.gin_file), "b.gin")
    arms = [ArmConfig("good", files, ("SGD.momentum = 0.0",)),
            ArmConfig("bad", files, ("STEPS = 0",))]
    with bindings.isolated():
        expected = check_datasets(validate_configs(arms))
    assert expected == validate(arms, folder / "cache")
    assert expected[0].cost is not None
    assert "steps must be int from 1 to 10,000,000, not 0" in expected[1].problems[0]

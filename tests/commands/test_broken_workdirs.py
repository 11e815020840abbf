"""Every file of a finished workdir is broken in many ways, and every command reads what is left.

No command ends in a traceback, and no number changes without a word: the mutated trial's numbers
are the recorded ones or missing, and those of the other trials stay.
"""

from __future__ import annotations

import copy
import functools
import gzip
import io
import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from deepmac_ablate import cli, results
from deepmac_ablate.errors import BrokenFileWarning, UserError
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.results.columns import metrics

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).resolve().parents[1] / "golden/sweeps/recorded_a"
ARMS = ("hourglass20+proposals+shapes_a", "hourglass20+groundtruth+shapes_a")

# Values of other types and sizes than any field has.
_NONSENSE = (
    None, True, -1, 1.5, 2**70, 1e308, "", "x", "-", "é\u202e\x1b[2J", [], [[]], {}, {"x": [None]},
    "\ud800")


class Mutation(NamedTuple):
    """A file relative to the workdir, a description, and its new content; None deletes it."""

    file: str
    what: str
    content: bytes | None

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@functools.cache
def _victim() -> str:
    """The trial that is mutated: the first seed of the second arm."""
    plan = json.loads((RECORDED / "plan.json").read_text())
    return next(trial["id"] for trial in plan["trials"] if trial["arm"] == ARMS[1])


def make_workdir(folder: Path) -> Path:
    """Copy two arms of two seeds, and add the files of a supervised launch."""
    shutil.copytree(RECORDED, folder)
    plan = json.loads((RECORDED / "plan.json").read_text())
    plan["trials"] = [
        trial for trial in plan["trials"] if trial["arm"] in ARMS and trial["seed"] < 2]
    plan["baseline"] = ARMS[0]
    (folder / "plan.json").write_text(json.dumps(plan))
    costs = json.loads((RECORDED / "costs.json").read_text())
    (folder / "costs.json").write_text(json.dumps(
        {trial["id"]: costs[trial["id"]] for trial in plan["trials"]}))
    for trial in {path.name for path in (folder / "trials").iterdir()} - {
            trial["id"] for trial in plan["trials"]}:
        shutil.rmtree(folder / "trials" / trial)
    for trial in plan["trials"]:
        place = folder / "trials" / trial["id"]
        (place / "logs").mkdir()
        (place / "logs/train-1.log").write_text("step 5\nthe end\n")
        Attempt(
            "train", 1, "finished", "vm", 7, "1:1", started=1.0, heartbeat=9.0, ended=9.0,
            exit_code=0).write(place)
    launch = folder / "launches/2026-11-01-1"
    launch.mkdir(parents=True)
    (launch / "provenance.json").write_text(json.dumps(
        {"time": 1e9, "commit": "c" * 40, "dirty": True, "command": ["launch", "x.py"]}))
    return folder


def mutations(workdir: Path) -> Iterator[Mutation]:
    """Yield many mutations of each file, the same ones each time."""
    draw = random.Random(0)
    trial = f"trials/{_victim()}"
    for name in ("plan.json", "costs.json", "launches/2026-11-01-1/provenance.json"):
        yield from _of_json(workdir, name)
    for name in ("trial.json", "sweep.json", "result.json", "state-train.json"):
        yield from _of_json(workdir, f"{trial}/{name}")
    for name in ("metrics.jsonl", "evaluations.jsonl", "attempts.jsonl"):
        yield from _of_json_lines(workdir, f"{trial}/{name}")
    yield from _of_csv(workdir, f"{trial}/per_class.csv", lambda data: data, lambda data: data)
    yield from _of_csv(
        workdir, f"{trial}/instances.csv.gz", gzip.decompress, lambda data: gzip.compress(data))
    for path in sorted((workdir / trial / "matches").iterdir()):
        yield from _of_arrays(workdir, f"{trial}/matches/{path.name}")
    for path in sorted((workdir / trial).rglob("*")):
        if path.is_file():
            yield from _of_bytes(workdir, str(path.relative_to(workdir)), draw)
    for name in ("plan.json", "costs.json"):
        yield from _of_bytes(workdir, name, draw)


def _of_json(workdir: Path, file: str) -> Iterator[Mutation]:
    value = json.loads((workdir / file).read_text())
    for what, changed in _changed(value):
        yield Mutation(file, what, json.dumps(changed).encode())
    deep = b"[" * 100_000 + b"]" * 100_000
    yield Mutation(file, "nested deeply", b'{"x": ' + deep + b"}")
    yield Mutation(file, "an integer of 10,000 digits", b'{"x": ' + b"9" * 10_000 + b"}")
    yield Mutation(file, "NaN", json.dumps({**value, "x": float("nan")}).encode())
    for text in (b"null", b"[]", b"7", b'"x"', b"{}"):
        yield Mutation(file, text.decode(), text)


def _changed(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield copies of a value in which one field, of those that differ in kind, is nonsense."""
    if isinstance(value, dict):
        keys = list(value)
        # Metrics of one kind are alike.
        if len(keys) > 20:
            keys = keys[:4] + keys[-4:]
        for key in keys:
            without = {name: field for name, field in value.items() if name != key}
            yield f"{place}.{key} missing", without
            for nonsense in _NONSENSE:
                yield f"{place}.{key} = {nonsense!r}", {**value, key: nonsense}
            for what, changed in _changed(value[key], f"{place}.{key}"):
                yield what, {**value, key: changed}
    elif isinstance(value, list) and value:
        for nonsense in _NONSENSE:
            yield f"{place}[0] = {nonsense!r}", [nonsense, *value[1:]]
        yield f"{place} twice", [*value, copy.deepcopy(value[0])]
        for what, changed in _changed(value[0], f"{place}[0]"):
            yield what, [changed, *value[1:]]


def _of_json_lines(workdir: Path, file: str) -> Iterator[Mutation]:
    lines = (workdir / file).read_bytes().splitlines(keepends=True)
    last = json.loads(lines[-1])
    for what, changed in _changed(last):
        yield Mutation(
            file, f"last line {what}", b"".join([*lines[:-1], json.dumps(changed).encode(), b"\n"]))
    for text in (b"null", b"[]", b"7", b"{", b"", b"\xff", b'{"step": NaN}'):
        yield Mutation(file, f"another line {text!r}", b"".join([*lines, text, b"\n"]))
        yield Mutation(file, f"first line {text!r}", b"".join([text, b"\n", *lines]))
    yield Mutation(file, "lines twice", b"".join(lines * 2))


def _of_csv(
    workdir: Path, file: str, unpack: Callable[[bytes], bytes], pack: Callable[[bytes], bytes]
) -> Iterator[Mutation]:
    head, *rows = unpack((workdir / file).read_bytes()).decode().splitlines()
    names, first = head.split(","), rows[0].split(",")

    def table(*lines: str) -> bytes:
        return pack("".join(f"{line}\n" for line in lines).encode())

    for column in range(len(names)):
        for cell in ("", "x", "-1", "2", "nan", "inf", "1e308", '"'):
            row = ",".join([*first[:column], cell, *first[column + 1:]])
            yield Mutation(file, f"{names[column]} = {cell!r}", table(head, row, *rows[1:]))
        if column in (0, 1, len(names) - 1):
            yield Mutation(file, f"without {names[column]}", table(*(
                ",".join(cell for number, cell in enumerate(line.split(",")) if number != column)
                for line in (head, *rows))))
    yield Mutation(file, "a row twice", table(head, rows[0], *rows))
    yield Mutation(file, "a column twice", table(f"{head},{names[-1]}", *(f"{r},1" for r in rows)))
    yield Mutation(file, "a cell too many", table(head, f"{rows[0]},1", *rows[1:]))
    yield Mutation(file, "only the head", table(head))


def _of_arrays(workdir: Path, file: str) -> Iterator[Mutation]:
    with np.load(workdir / file) as stored:
        arrays = dict(stored)
    for name, array in arrays.items():
        for what, changed in (
                ("missing", None), ("empty", array[:0]), ("longer", np.concatenate([array] * 2)),
                ("text", np.array(["x"])), ("negative", array.astype(float) - 9),
                ("not a number", array.astype(float) * np.nan), ("a number", np.array(3)),
                ("huge", np.full_like(array, 200 if array.dtype == np.uint8 else 2**30))):
            stored, content = {**arrays, name: changed}, io.BytesIO()
            np.savez(content, **{key: value for key, value in stored.items() if value is not None})
            yield Mutation(file, f"{name} {what}", content.getvalue())


def _of_bytes(workdir: Path, file: str, draw: random.Random) -> Iterator[Mutation]:
    data = (workdir / file).read_bytes()
    yield Mutation(file, "deleted", None)
    for what, content in (
            ("empty", b""), ("cut", data[:len(data) // 2]), ("one byte less", data[:-1]),
            ("zeros", bytes(len(data))), ("random", draw.randbytes(200)), ("twice", data * 2),
            ("with a byte order mark", b"\xef\xbb\xbf" + data), ("in UTF-16", data.decode(
                "latin-1").encode("utf-16"))):
        yield Mutation(file, what, content)
    for _ in range(5):
        place = draw.randrange(len(data))
        changed = bytes([data[place] ^ (1 << draw.randrange(8))])
        yield Mutation(file, f"bit at byte {place}", data[:place] + changed + data[place + 1:])


def problems(
    workdir: Path, before: dict[str, dict[str, float]], numbers: bool, report: bool
) -> list[str]:
    """Return what goes wrong with a mutated workdir; `before` has the numbers by trial.

    Args:
        workdir: The workdir.
        before: Metrics of each trial before the mutation.
        numbers: Whether numbers must not change.
        report: Whether to write a report, too, which takes most of the time.
    """
    found = []
    path = str(workdir)
    commands = (
        ["status", path], ["table", path], ["effects", path], ["logs", path, _victim()],
        ["compare", path, *ARMS, "--resamples", "20"], ["rows", path, "--per", "image"],
        ["diff", f"{path}/trials/{_victim()}", f"{path}/trials/{_victim()}"],
        *([["report", path, "--images", "1", "--output", f"{path}/r.html"]] if report else []))
    for command in commands:
        try:
            cli.main(command)
        except SystemExit:
            continue
        except Exception as error:
            found.append(f"{command[0]}: {type(error).__name__}: {error}"[:300])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", BrokenFileWarning)
            after = numbers_of(workdir)
    except UserError:
        return found
    except Exception as error:
        return [*found, f"load: {type(error).__name__}: {error}"[:300]]
    for trial, values in before.items() if numbers else ():
        found += [
            f"{trial} {name}: {value} instead of {values[name]}"
            for name, value in after.get(trial, {}).items() if value != values.get(name)][:1]
    return found


def numbers_of(workdir: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of each finished trial, without missing ones."""
    frame = results.load(workdir)
    return {
        row["trial"]: {name: row[name] for name in metrics(frame) if pd.notna(row[name])}
        for row in frame.to_dict("records")}


def _changes_numbers(mutation: Mutation) -> bool:
    """Return whether a mutation gives valid metrics, which nobody can tell from others."""
    return mutation.file.endswith("result.json") and (
        mutation.what.startswith("bit at") or "/" in mutation.what)


def run(workdir: Path, chosen: list[Mutation], report: bool) -> list[str]:
    """Apply mutations one by one, and return all problems."""
    before = numbers_of(workdir)
    assert len(before) == 4
    found = []
    for mutation in chosen:
        path = workdir / mutation.file
        original = path.read_bytes()
        shutil.rmtree(workdir / ".cache", ignore_errors=True)
        if mutation.content is None:
            path.unlink()
        else:
            path.write_bytes(mutation.content)
        found += [
            f"{mutation}: {problem}"
            for problem in problems(workdir, before, not _changes_numbers(mutation), report)]
        path.write_bytes(original)
    return found


@pytest.mark.parametrize(("files", "most"), [
    (3, 1), pytest.param(None, 12, marks=pytest.mark.extended)])
def test_broken_files_end_no_command_and_change_no_number(tmp_path, capsys, files, most):
    """Some mutations of some or all files; there are thousands."""
    workdir = make_workdir(tmp_path / "w")
    draw, by_file = random.Random(most), {}
    for mutation in mutations(workdir):
        by_file.setdefault(mutation.file, []).append(mutation)
    groups = draw.sample(list(by_file.values()), files or len(by_file))
    chosen = [each for group in groups for each in draw.sample(group, min(most, len(group)))]
    assert [] == run(workdir, chosen, report=most > 1)

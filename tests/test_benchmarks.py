"""The parts of the benchmarks fit together; no time is tested."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.benchmarks import table
from tests.benchmarks.measuring import ROOT, Commands, Row, Run, Worker, compare

MODULES = sorted(path.stem for path in (Path(__file__).parent / "benchmarks").glob("*.py"))


class Fake:
    """A side whose runs cost what is given."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = iter(seconds)

    def run(self, units: float = 1.0) -> Run:
        """Return the next cost, and its seconds as the value."""
        seconds = next(self._seconds)
        return Run(seconds / units, 2 * seconds / units, seconds)

    def stop(self) -> float:
        """Return some memory."""
        return 512.0


def build_answer():
    """Build a run that returns a value."""
    return lambda: {"answer": 42}


def row(name: str = "work", seconds: float = 6.0) -> Row:
    return Row(name, "step", ((Run(seconds, 8.0), Run(2.0, 4.0)),), (1234.0, 56.0), 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_modules_import(module):
    """Every script still finds what it imports."""
    importlib.import_module(f"tests.benchmarks.{module}")


def test_medians_and_ratios_are_of_pairs():
    """Costs are divided by the units of a run, ratios taken pair by pair, and warm-ups dropped."""
    values = []
    compared = compare(
        "work", Fake(99.0, 8.0, 6.0, 30.0), Fake(99.0, 4.0, 12.0, 10.0), 3, per_run=(1, 2),
        check=lambda *pair: values.append(pair), floor_seconds=0.5)
    assert (8.0, 5.0) == compared.medians("seconds")
    assert (16.0, 10.0) == compared.medians("cpu_seconds")
    # 8 / 2, 6 / 6, 30 / 5.
    assert 4.0 == compared.ratio("seconds")
    assert 10.0 == compared.distance
    assert (512.0, 512.0) == compared.peaks_mib
    assert [(99.0, 99.0), (8.0, 4.0), (6.0, 12.0), (30.0, 10.0)] == values


def test_a_worker_returns_the_value_of_its_run():
    """The value comes back from the other process, with the memory at the end."""
    worker = Worker(build_answer)
    assert {"answer": 42} == worker.run().value
    assert worker.stop() > 1


def test_commands_run_in_new_processes(tmp_path):
    """A run counts all commands, and a command that fails ends it with the output."""
    script = f"open({str(tmp_path / 'log')!r}, 'a').write('run ')"
    assert Commands(lambda _: [["-c", script]] * 2).run().seconds > 0
    assert "run run " == (tmp_path / "log").read_text()
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        Commands(lambda _: [["-c", "1 / 0"]]).run()


def test_rows_go_into_the_table_of_their_processor():
    """They replace those of the same name; other tables and the text around are untouched."""
    document = f"before | a |\n{table.BEGIN}old{table.END}\nafter\n"

    def put(document: str, row: Row, processor: str = "CPU, 2 cores") -> str:
        return table.replace_block(document, [table.cells(row, "2026-01-02")], processor)

    first = put(document, row())
    assert first.startswith(f"before | a |\n{table.BEGIN}\n")
    assert first.endswith(f"\n{table.END}\nafter\n")
    assert "old" not in first
    assert ("| work (per step) | 6 / 2 | 3 | 8 / 4 | 2 | 1,234 / 56 | 0.5 | 4 | - | 2026-01-02 |"
            in first)
    assert first == put(first, row())
    both = put(first, row("more work"))
    again = put(both, row(seconds=7.0))
    assert both.replace("| 6 / 2 | 3 |", "| 7 / 2 | 3.5 |", 1) == again
    two = put(both, row(), "other")
    assert both.partition(table.END)[0] in two
    assert 2 == two.count("| work | seconds |") == two.count("\n| work (per step) |")
    assert put(two, row(seconds=7.0)) == put(again, row(), "other")


def test_the_page_has_a_place_for_the_table():
    """docs/performance.md has both markers, once and in order."""
    text = (ROOT / "docs/performance.md").read_text()
    assert 1 == text.count(table.BEGIN) == text.count(table.END)
    assert text.index(table.BEGIN) < text.index(table.END)

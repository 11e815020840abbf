"""Text of others reaches terminals, pages and spreadsheets without effects."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from deepmac_ablate import results
from deepmac_ablate.cli import main
from deepmac_ablate.progress import PlainConsole, plain_output
from deepmac_ablate.results import formats
from deepmac_ablate.results.formats import Document, Section
from deepmac_ablate.safe_text import protect_cell, unprotect_cell, visible

RECORDED = Path(__file__).resolve().parent / "golden/sweeps/recorded_a"
# Erases the line above, turns the direction round, and is wider than a terminal in 8 bits.
NASTY = "=dog\x1b[1A\x1b[2K\u202ekcat\x9b31m\u2066"
SHOWN = r"=dog\u001b[1A\u001b[2K\u202ekcat\u009b31m\u2066"


@pytest.mark.parametrize("text", [
    "größe", "犬\t猫\n", "\u0645\u06cc\u200c\u0634\u0648\u062f", "🐕‍🦺", "a\\b", "'=x"])
def test_letters_of_all_scripts_stay(text):
    """So do tabs, line feeds and zero-width joiners."""
    assert text == visible(text)


def test_control_characters_become_codes():
    """Again, nothing changes any more, and JSON stays the same value."""
    assert (SHOWN, SHOWN) == (visible(NASTY), visible(visible(NASTY)))
    assert NASTY == json.loads(visible(json.dumps(NASTY, ensure_ascii=False)))
    assert r"\ud800\u000d\u2028" == visible("\ud800\r\u2028")


@pytest.mark.parametrize(("cell", "protected"), [
    ("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@x", "'@x"), ("\t=x", "'\t=x"),
    ("'=x", "''=x"), ("-0.5", "-0.5"), ("+1e-3", "+1e-3"), ("a=b", "a=b"), ("", ""), ("'x", "'x"),
])
def test_formulas_are_protected(cell, protected):
    """Numbers and other texts stay; the protection can be undone."""
    assert (protected, cell) == (protect_cell(cell), unprotect_cell(protected))


def test_everything_printed_is_visible(capsys):
    """Also what rich prints, and through it."""
    with plain_output():
        print(NASTY)
        print(NASTY, file=sys.stderr)
        PlainConsole(sys.stderr).print(Text(NASTY))
    out, err = capsys.readouterr()
    assert (f"{SHOWN}\n", f"{SHOWN}\n{SHOWN}\n") == (out, err)


def test_colours_of_rich_reach_the_terminal():
    """Only the escape sequences of others are shown."""
    written = io.StringIO()
    console = PlainConsole(written)
    console._force_terminal, console._color_system = True, 1
    console.print(Text(NASTY, "bold"))
    assert f"\x1b[1m{SHOWN}\x1b[0m\n" == written.getvalue()


def test_an_encoding_without_the_letters_is_no_error():
    """The output of a command into a file of an old encoding has codes."""
    done = subprocess.run(
        [sys.executable, "-c", "from deepmac_ablate.progress import plain_output\n"
         "with plain_output(): print('gr\\u00f6\\u00dfe \\u72ac')"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True)
    assert b"gr\xf6\xdfe \\u72ac\n" == done.stdout


@pytest.mark.parametrize("name", ["markdown", "html", "latex", "csv", "json"])
def test_tables_are_visible_in_every_format(name):
    """Titles, heads, cells, captions and records."""
    document = Document(
        [Section(NASTY, [NASTY, "b"], [[NASTY, "1"]])], [NASTY], [{NASTY: NASTY, "b": 1.5}])
    text = formats.FORMATS[name](document)
    assert visible(text) == text
    assert "202ekcat" in text


def test_csv_is_safe_for_spreadsheets_or_as_it_is():
    """Names and heads that begin like formulas get an apostrophe, unless asked otherwise."""
    document = Document([], [], [{"=head": "=1+1", "n": -1.5, "x": "a"}])
    assert [["'=head", "n", "x"], ["'=1+1", "-1.5", "a"]] == list(
        csv.reader(io.StringIO(formats.csv_text(document))))
    assert [["=head", "n", "x"], ["=1+1", "-1.5", "a"]] == list(
        csv.reader(io.StringIO(formats.csv_text(document, protect=False))))


@pytest.fixture
def workdir(tmp_path):
    """A sweep whose class names come from a hostile dataset."""
    workdir = tmp_path / "sweep"
    shutil.copytree(RECORDED, workdir)
    for path in workdir.glob("trials/*/per_class.csv"):
        lines = list(csv.reader(io.StringIO(path.read_text())))
        column = lines[0].index("name")
        for line in lines[1:]:
            line[column] = f"{NASTY}{line[column]}"
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
    return workdir


@pytest.mark.slow
def test_commands_show_names_as_codes(workdir, capsys, tmp_path):
    """In tables on the terminal, in files for spreadsheets, and in the report."""
    names = set(results.per_class(results.load(workdir))["name"])
    assert names
    assert all(name.startswith(SHOWN) for name in names)
    for options in ([], ["--format", "csv", "--output", str(tmp_path / "t.csv")]):
        assert 0 == main([
            "compare", str(workdir), "hourglass20+proposals+shapes_a",
            "hourglass20+groundtruth+shapes_a", *options])
    assert 0 == main(["report", str(workdir), "--output", str(tmp_path / "report.html")])
    out, err = capsys.readouterr()
    for text in (
            out, err, (tmp_path / "t.csv").read_text(), (tmp_path / "report.html").read_text()):
        assert visible(text) == text
    assert f"'{SHOWN}" in (tmp_path / "t.csv").read_text()
    assert r"\u202ekcat" in out


@pytest.mark.slow
def test_raw_cells_are_for_csv(workdir, capsys):
    """Other formats have no such option."""
    assert 2 == main(["table", str(workdir), "--raw-cells"])
    assert "--raw-cells is for --format csv, got --format markdown.\n" in capsys.readouterr().err

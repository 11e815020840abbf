"""The language of the package: docstrings, names, and the help of the command line."""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmac_ablate import cli

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "deepmac_ablate"
ROOMS = sorted(
    path.stem for path in PACKAGE.iterdir()
    if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__"))

QUESTION = re.compile(r"(What|Which|Where|How|Who|Whether|When)\b")
SECTIONS = {"Args", "Returns", "Yields", "Raises", "Attributes"}
HEADING = re.compile(r"([A-Z][A-Za-z]+):")
ENTRY = re.compile(r"\*{0,2}[\w.]+(?: \([^)]*\))?: +(\S.*)")


@functools.cache
def trees(room: str) -> dict[Path, ast.Module]:
    """The syntax trees of a room's modules, or of a loose module."""
    loose = PACKAGE / f"{room}.py"
    files = [loose] if loose.exists() else sorted((PACKAGE / room).rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, its classes and functions, each with its first line's number."""
    for node in ast.walk(tree):
        if not isinstance(
                node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node, clean=False)
        if text is not None:
            yield node.body[0].lineno, inspect.cleandoc(text)


@pytest.mark.slow
def test_docstrings_of_tests_are_no_questions():
    """No docstring in tests opens with What, How or another question word."""
    found = [
        f"{place(path, line)}: {docstring.splitlines()[0]}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, docstring in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if QUESTION.match(docstring)]
    assert [] == found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_module_docstrings_are_no_questions(room):
    """The docstring of a module never opens with What, How or another question word."""
    found = [
        f"{place(path, 1)}: {docstring.splitlines()[0]}"
        for path, tree in trees(room).items()
        if QUESTION.match(docstring := ast.get_docstring(tree) or "")]
    assert [] == found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_have_one_style_of_sections(room):
    """Sections are Google's five; each entry begins with a capital and ends with a period."""
    found = [
        f"{place(path, line + number)}: {problem}"
        for path, tree in trees(room).items()
        for line, docstring in docstrings(tree)
        for number, problem in section_problems(docstring)]
    assert [] == found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_no_variable_is_named_it(room):
    """Variables and parameters are named after what they hold."""
    found = [
        place(path, node.lineno)
        for path, tree in trees(room).items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == "it")
        or (isinstance(node, ast.arg) and node.arg == "it")]
    assert [] == found, "\n".join(found)


def section_problems(docstring: str) -> Iterator[tuple[int, str]]:
    """Problems of the sections of a docstring, each with the number of its line from 0."""
    section = ""
    for number, line in enumerate(lines := docstring.splitlines()):
        if heading := HEADING.fullmatch(line):
            section = heading[1]
            if section not in SECTIONS:
                yield number, f"{section} is not one of {', '.join(sorted(SECTIONS))}"
        elif line and not line.startswith(" "):
            section = ""
        elif section in SECTIONS and starts_entry(section, lines, number):
            text = " ".join(entry_lines(section, lines[number:]))
            described = ENTRY.fullmatch(text)
            if section not in ("Returns", "Yields"):
                text = described[1] if described else ""
            if not text:
                yield number, f"not 'name: Description.': {line.strip()}"
            elif text[0].islower() or not text.endswith((".", "::")):
                yield number, f"needs a capital and a period: {text}"


def starts_entry(section: str, lines: list[str], number: int) -> bool:
    """Return whether a line begins an entry; a section of results is one entry."""
    if section in ("Returns", "Yields"):
        return HEADING.fullmatch(lines[number - 1]) is not None
    return lines[number].startswith("    ") and lines[number][4:5].strip() != ""


def entry_lines(section: str, lines: list[str]) -> Iterator[str]:
    """The first paragraph of the entry that begins with the first line."""
    least = 4 if section in ("Returns", "Yields") else 5
    yield lines[0].strip()
    for line in lines[1:]:
        if not line.startswith(" " * least):
            return
        yield line.strip()


def test_sections_are_parsed():
    """Each kind of mistake is found on its line; a section without mistakes has none."""
    good = (
        "Return x.\n\nArgs:\n    a: First.\n    *b: Second,\n        continued.\n\n"
        "Returns:\n    A pair of\n    numbers.\n\nRaises:\n    UserError: If a is 0.")
    assert [] == list(section_problems(good))
    bad = (
        "Return x.\n\nArgs:\n    a: first.\n    b: Second\n    c\n\nReturns:\n    nothing.\n\n"
        "Note:\n    More.")
    assert [3, 4, 5, 8, 10] == sorted(number for number, _ in section_problems(bad))


def parsers(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All commands with their names, those without commands of their own last."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, inner in action.choices.items():
                yield from parsers(inner, f"{name} {command}".strip())


COMMANDS = dict(parsers(cli.make_parser()))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_options_are_described(command):
    """A command has a description, its options help, and help ends with the default, if any."""
    parser = COMMANDS[command]
    assert re.fullmatch(r"[A-Z].*\.", parser.description or "", re.DOTALL)
    wrong = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        text = action.help or ""
        name = "/".join(action.option_strings) or action.dest
        if not re.match(r"[a-z]|[A-Z_]{2}", text) or text.endswith("."):
            wrong.append(f"{name}: help is not one clause in small letters: {text!r}")
        default = action.default not in (None, False, "", [], 0.0) or "default:" in text
        if default and not re.search(r"\(default: .+\)$", text):
            wrong.append(f"{name}: help does not end with '(default: X)': {text!r}")
    assert [] == wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_have_dashes(command):
    """The help lists every option in one spelling, with dashes."""
    parser = COMMANDS[command]
    listed = [option for action in parser._actions for option in action.option_strings]
    assert [] == [option for option in listed if "_" in option]
    assert [] == re.findall(r"--\w+_\w+", parser.format_help())
    longs = [
        [option for option in action.option_strings if option.startswith("--")]
        for action in parser._actions if action.option_strings]
    assert all(len(names) == 1 for names in longs)

"""Reading gin text without a registry."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmac_ablate.bindings import gin_files
from deepmac_ablate.bindings.text import Binding, merge, read
from deepmac_ablate.bindings.values import Macro, Reference, canonical_text, expand_macros
from deepmac_ablate.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_kind_of_statement_is_read_with_its_place(folder):
    """Scopes, macros, blocks, references and continuation lines come back as written."""
    write(
        folder / "all.gin",
        "# A comment\n"
        "import os.path\n"
        "DEPTH = 52\n"
        "fine/mask_heads.Head.depth = %DEPTH\n"
        "Model:\n"
        "    head = @fine/Head()\n"
        "    widths = [1,\n"
        "              2]\n",
    )
    text = read(["all.gin"], ["a/b/Head.name = 'größe'"])
    assert text.bindings == (
        Binding("", "", "DEPTH", 52, "all.gin:3", True),
        Binding("fine", "mask_heads.Head", "depth", Macro("DEPTH"), "all.gin:4", True),
        Binding("", "Model", "head", Reference("fine/Head", True), "all.gin:6", True),
        Binding("", "Model", "widths", [1, 2], "all.gin:7", True),
        Binding("a/b", "Head", "name", "größe", "binding", False),
    )
    assert [("import os.path", "all.gin:2")] == [tuple(statement) for statement in text.imports]
    assert "fine/mask_heads.Head.depth = %DEPTH" == str(text.bindings[1])


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import heads", "heads"),
        ("import my.heads", "my.heads"),
        ("import my.heads as heads", "my.heads"),
        ("from my import heads", "my.heads"),
        ("from my.heads import deep as d", "my.heads.deep"),
    ],
)
def test_an_import_names_its_module(folder, statement, module):
    """The module of an import statement is found in each of its forms."""
    write(folder / "all.gin", f"{statement}\n")
    (imported,) = read(["all.gin"], ()).imports
    assert module == imported.module


def test_an_include_is_found_beside_the_including_file_and_below_the_root(folder, monkeypatch):
    """Included files are found from any working directory."""
    root = folder / "root"
    monkeypatch.setattr(gin_files, "ROOT", root)
    write(root / "gin" / "base.gin", "A.x = 1\n")
    write(root / "gin" / "heads" / "small.gin", "A.y = 2\n")
    top = write(root / "gin" / "heads" / "top.gin", "include 'gin/base.gin'\ninclude 'small.gin'\n")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("gin/heads/top.gin", top):
        found = read([name], []).bindings
        assert ["A.x = 1", "A.y = 2"] == [str(binding) for binding in found]
        assert ["gin/base.gin:1", "gin/heads/small.gin:1"] == [b.where for b in found]


def test_a_package_installed_below_the_working_directory_shows_short_names(folder, monkeypatch):
    """A virtual environment adds nothing to a name, unless the project has a file of that name."""
    root = folder / ".venv" / "deepmac_ablate"
    monkeypatch.setattr(gin_files, "ROOT", root)
    write(root / "gin" / "base.gin", "A.x = 1\n")
    assert ["gin/base.gin:1"] == [binding.where for binding in read(["gin/base.gin"], []).bindings]
    installed = root / "gin" / "base.gin"
    assert "gin/base.gin" == gin_files.display_name(installed)
    write(folder / "gin" / "base.gin", "A.x = 2\n")
    assert ".venv/deepmac_ablate/gin/base.gin" == gin_files.display_name(installed)
    assert "gin/base.gin" == gin_files.display_name(folder / "gin" / "base.gin")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("gin/heads/hourglas52.gin", "gin/heads/hourglass52.gin"),
        ("hourglass52.gin", "gin/heads/hourglass52.gin"),
        ("heads/hourglass52.gin", "gin/heads/hourglass52.gin"),
    ],
)
def test_a_missing_file_names_the_nearest_one(folder, monkeypatch, name, suggestion):
    """The message about a misspelled or misplaced file name suggests the right one."""
    monkeypatch.setattr(gin_files, "ROOT", folder)
    write(folder / "gin" / "heads" / "hourglass52.gin", "A.x = 1\n")
    with pytest.raises(UserError) as caught:
        read([name], [])
    assert f"There is no gin file {name!r}. Did you mean {suggestion!r}?" == str(caught.value)


@pytest.mark.parametrize("name", ["gin/heads/fcn8.gin", "gin/heads/none.gin", "x.gin"])
def test_a_missing_file_does_not_name_a_dissimilar_one(folder, monkeypatch, name):
    """The folder and the suffix, which all files share, make no file name similar."""
    monkeypatch.setattr(gin_files, "ROOT", folder)
    write(folder / "gin" / "heads" / "hourglass52.gin", "A.y = 1\n")
    with pytest.raises(UserError) as caught:
        read([name], [])
    assert f"There is no gin file {name!r}." == str(caught.value)


def test_a_missing_include_names_the_including_line(folder):
    """The message about a missing include names the including file and line."""
    write(folder / "a.gin", "\ninclude 'bass.gin'\n")
    write(folder / "base.gin", "")
    with pytest.raises(UserError) as caught:
        read(["a.gin"], [])
    assert "a.gin:2: there is no gin file 'bass.gin'. Did you mean 'base.gin'?" == str(caught.value)


def test_a_circle_of_includes_is_refused(folder):
    """Two files that include each other do not recurse."""
    write(folder / "a.gin", "include 'b.gin'\n")
    write(folder / "b.gin", "A.x = 1\ninclude 'a.gin'\n")
    with pytest.raises(UserError, match=r"^b\.gin:2: 'a\.gin' includes itself\.$"):
        read(["a.gin"], [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_content(folder, encoding):
    """Notepad writes marks, and PowerShell UTF-16."""
    write(folder / "a.gin", "A.x = 1\n")
    plain = read(["a.gin"], [])
    (folder / "a.gin").write_text("A.x = 1\n", encoding=encoding)
    assert str(plain) == str(read(["a.gin"], []))


def test_a_binary_file_is_refused(folder):
    """The message about a file that is not text names the file."""
    (folder / "a.gin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"^Cannot read 'a\.gin' as text: "):
        read(["a.gin"], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A.x = hourglass", "binding 'A.x = hourglass' is not valid gin: hourglass is not a valid "
         "value (strings need quotation marks)."),
        ("A.x 3",
         "binding 'A.x 3' is not valid gin: Couldn't parse statement, expected ':' or '='."),
        ("A.x = [1, 2", "binding 'A.x = [1, 2' is not valid gin: a bracket or quotation mark is "
         "not closed."),
        ("A.x = ", "binding 'A.x =' is not valid gin: Unable to parse value."),
        ("A.x = {[1]: 2}", "binding 'A.x = {[1]: 2}' is not valid gin: unhashable type: 'list'."),
        ("A.x = 1 A.y = 2", "binding 'A.x = 1 A.y = 2' is not valid gin: Expected newline."),
        ("", "The binding '' binds nothing; write 'Name.parameter = 1'."),
        ("# A.x = 1", "The binding '# A.x = 1' binds nothing; write 'Name.parameter = 1'."),
    ],
)  # fmt: skip
def test_invalid_gin_is_reported_in_one_sentence(text, message):
    """Syntax errors name the binding and the reason."""
    with pytest.raises(UserError) as caught:
        read([], [text])
    assert message == str(caught.value)


def test_a_syntax_error_in_a_file_names_the_line(folder):
    """Syntax errors in files name file and line."""
    write(folder / "a.gin", "A.x = 1\n\nA.y = = 2\n")
    message = r"^a\.gin:3 'A\.y = = 2' is not valid gin: Unable to parse value"
    with pytest.raises(UserError, match=message):
        read(["a.gin"], [])


@given(st.text(st.sampled_from("Ab./@%=()[]{}'\"1, \n:#-\\x"), max_size=20))
def test_any_text_is_read_or_refused(text):
    """Any text is either read or refused with a message."""
    with contextlib.suppress(UserError):
        read([], [text])


def test_later_bindings_win():
    """A later binding of the same parameter in the same scope replaces the earlier."""
    given_bindings = ["A.x = 1", "b/A.x = 2", "A.x = 3", "M = 4", "M = 5"]
    merged = merge(read([], given_bindings).bindings)
    assert ["A.x = 3", "b/A.x = 2", "M = 5"] == [str(binding) for binding in merged.values()]


def test_a_file_read_twice_must_not_take_back_what_came_in_between(folder):
    """Including base.gin from two files would silently undo the first one's level."""
    write(folder / "base.gin", "A.x = 0\nA.z = 0\n")
    write(folder / "a.gin", "include 'base.gin'\nA.x = 1\n")
    write(folder / "b.gin", "include 'base.gin'\nA.y = 2\n")
    with pytest.raises(UserError) as caught:
        merge(read(["a.gin", "b.gin"], []).bindings)
    assert (
        "base.gin:1 'A.x = 0' overrides a.gin:2 'A.x = 1' because its file is read twice; "
        "include it once, before the others."
    ) == str(caught.value)


def test_a_file_may_be_read_twice_where_it_changes_nothing(folder):
    """Only a double include that changes something is refused."""
    write(folder / "base.gin", "A.x = 0\n")
    write(folder / "a.gin", "include 'base.gin'\nA.y = 1\n")
    merged = merge(read(["a.gin", "base.gin"], ["A.x = 2"]).bindings)
    assert ["A.x = 2", "A.y = 1"] == sorted(map(str, merged.values()))


def test_one_parameter_under_two_names_is_refused():
    """Two spellings of one parameter are refused, since only a registry could tell which wins."""
    with pytest.raises(UserError) as caught:
        merge(read([], ["heads.Head.depth = 1", "Head.depth = 2"]).bindings)
    assert (
        "binding 'Head.depth = 2' and binding 'heads.Head.depth = 1' spell the same parameter "
        "differently; use one spelling."
    ) == str(caught.value)
    assert 2 == len(merge(read([], ["a.Head.depth = 1", "b.Head.depth = 2"]).bindings))


def test_macros_are_expanded_through_macros_and_containers():
    """Macros of macros resolve, inside lists, tuples and dictionaries as well."""
    macros = {"A": [Macro("B"), 1], "B": Reference("Head", False)}
    value = {"k": (Macro("A"), Macro("gin.REQUIRED"))}
    expected = {"k": ([Reference("Head", False), 1], Macro("gin.REQUIRED"))}
    assert expected == expand_macros(value, macros)


def test_a_macro_of_itself_is_refused():
    """Circular macros are an error instead of a recursion."""
    with pytest.raises(UserError, match=r"^The macro %[AB] refers to itself\.$"):
        expand_macros(Macro("A"), {"A": [Macro("B")], "B": Macro("A")})


def test_canonical_text_keeps_types_and_ignores_the_order_of_keys():
    """Equal text means equal values of equal types."""
    texts = [canonical_text(value) for value in (1, 1.0, True, "1", [1], (1,), {1: 1}, None)]
    assert len(texts) == len(set(texts))
    assert ["()", "(1,)", "(1, 2.0)"] == [canonical_text(value) for value in ((), (1,), (1, 2.0))]
    assert canonical_text({"b": 1, "a": (2, [3])}) == canonical_text({"a": (2, [3]), "b": 1})


def test_reading_needs_no_tensorflow():
    """Planning imports neither TensorFlow nor numpy."""
    code = (
        "import sys, deepmac_ablate.bindings, deepmac_ablate.trial.trial;"
        "import deepmac_ablate.trial.trial_workdir;"
        "print(sorted({'tensorflow', 'tf_keras', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "[]" == printed.strip()

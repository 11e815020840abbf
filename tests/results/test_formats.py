"""Output formats: the same content in each, with the names that users chose escaped."""

from __future__ import annotations

import csv
import html.parser
import io
import json

import pytest

from deepmac_ablate.results.effects.axis_effects import axis_effects
from deepmac_ablate.results.effects.effects_rendering import render_effects
from deepmac_ablate.results.formats import (
    Document,
    Section,
    csv_text,
    html_fragment,
    json_text,
    latex_text,
    markdown_text,
)
from deepmac_ablate.results.tables.arm_table import arm_table
from deepmac_ablate.results.tables.table_rendering import render_table
from tests.helpers.result_frames import arm, frame

HOSTILE = "<script>alert(1)</script>|&_%\\{$"
NUMBERS = {"groundtruth/iou/novel": [0.5, 0.52, None], "groundtruth/iou/seen": [0.6, 0.61, 0.62]}


@pytest.fixture
def table() -> Document:
    """A table whose arm, level and dataset have a hostile name."""
    rows = frame(
        arm(HOSTILE, NUMBERS, levels={"axis": HOSTILE}, baseline=True, dataset=HOSTILE),
        arm("b", NUMBERS, levels={"axis": "b"}))
    return render_table(arm_table(rows))


class Tags(html.parser.HTMLParser):
    """Parser that collects the tags and the text of HTML."""

    def __init__(self):
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        """Record a tag."""
        self.tags.add(tag)

    def handle_data(self, data):
        """Record text."""
        self.text.append(data)


def test_html_is_harmless(table):
    """HTML has only the tags of tables, and hostile names are text."""
    page = Tags()
    page.feed(html_fragment(table))
    assert {"h3", "table", "thead", "tbody", "tr", "th", "td", "p"} == page.tags
    assert f"{HOSTILE} *" in page.text


def test_markdown_keeps_its_columns(table):
    """Markup in names is escaped, and all lines of a table are equally wide."""
    trials = markdown_text(table._replace(sections=table.sections[-1:]))
    lines = [line for line in trials.splitlines() if line.startswith("|")]
    assert r"\<script>alert(1)\</script>\|\&\_%\\{$ *" in lines[2]
    bars = {line.replace("\\|", "").count("|") for line in lines[:4]}
    assert 1 == len(bars)
    assert 1 == len({len(line) for line in lines[:4]})


def test_names_of_arms_stay_readable_in_markdown():
    """Underscores within words and the marks of arms are not escaped."""
    shown = markdown_text(Document([Section("x", ["arm", "y"], [["l_shape *", "1"]])], [], []))
    assert "| l_shape * |" in shown


def test_columns_of_text_are_aligned_to_the_left():
    """Numbers are aligned to the right, in Markdown and in LaTeX."""
    rows = [["a", "seen", "1"], ["b", "in A", "12"]]
    document = Document([Section("x", ["class", "role", "images"], rows, ["role"])], [], [])
    assert [
        "| class | role | images |",
        "|-------|------|-------:|",
        "| a     | seen |      1 |",
        "| b     | in A |     12 |",
    ] == markdown_text(document).splitlines()[2:]
    assert r"\begin{tabular}{llr}" in latex_text(document)


def test_wide_tables_are_numbered():
    """A table wider than a terminal has numbered rows and a list of their names."""
    rows = [["a" * 90, "1.0 ± 0.1"], ["b" * 90, "2.0 ± 0.1"]]
    shown = markdown_text(Document([Section("x", ["arm", "novel"], rows)], [], []))
    assert "| 2   | 2.0 ± 0.1 |" in shown
    assert f"- 2: {'b' * 90}" in shown
    assert 100 >= max(len(line) for line in shown.splitlines())


def test_latex_escapes_special_characters(table):
    """LaTeX uses booktabs, has a caption, and escapes names."""
    text = latex_text(table)
    assert (
        r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}\textbar{}"
        r"\&\_\%\textbackslash{}\{\$ * & ") in text
    for piece in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{Values in percent."):
        assert piece in text
    assert "±" not in text
    assert "Δ" not in text
    assert r"95 \% t interval" in text


def test_json_has_an_object_per_arm(table):
    """JSON has the documented keys, with null for unknown values."""
    base, other = json.loads(json_text(table))
    keys = {
        "arm", "sweep", "label", "baseline", "against", "levels", "other_code", "platforms",
        "trials", "finished", "failed", "interrupted", "running", "queued", "missing", "parameters",
        "training_gmacs", "relative_gmacs", "train_seconds", "all_arm", "metrics"}
    assert keys == set(base) == set(other)
    interval = {"mean", "low", "high", "n", "sd"}
    scores = other["metrics"]["groundtruth/iou"]
    assert {"novel", "seen", "gap", "retention", "references"} == set(scores)
    assert interval == set(scores["gap"]) == set(scores["retention"])
    assert {*interval, "difference", "at_floor"} == set(scores["novel"])
    assert {*interval, "p", "p_holm"} == set(scores["novel"]["difference"])
    assert (HOSTILE, {"axis": HOSTILE}, True) == (base["arm"], base["levels"], base["baseline"])
    assert (0.51, 2) == pytest.approx((scores["novel"]["mean"], scores["novel"]["n"]))
    assert scores["retention"]["mean"] is None
    assert base["metrics"]["groundtruth/iou"]["novel"]["difference"]["mean"] is None


def test_csv_has_a_line_per_arm(table):
    """CSV has the values of JSON under flat names, and empty cells for unknown values."""
    base, other = csv.DictReader(io.StringIO(csv_text(table)))
    of_json = json.loads(json_text(table))[1]["metrics"]["groundtruth/iou"]["seen"]
    assert (HOSTILE, HOSTILE, "3") == (base["arm"], base["levels/axis"], base["finished"])
    assert of_json["high"] == float(other["metrics/groundtruth/iou/seen/high"])
    assert "" == other["metrics/groundtruth/iou/retention/mean"] == other["parameters"]


def test_effects_come_in_all_formats():
    """Effects can be written in all formats, with axes and levels escaped."""
    rows = frame(
        arm("a", NUMBERS, levels={"<b>": "a|b"}, baseline=True),
        arm("b", NUMBERS, levels={"<b>": "50%"}))
    document = render_effects(axis_effects(rows))
    assert r"| \<b>: a\|b -> 50% |" in markdown_text(document)
    assert r"\textless{}b\textgreater{}: a\textbar{}b -\textgreater{} 50\%" in latex_text(document)
    assert "&lt;b&gt;: a|b -&gt; 50%" in html_fragment(document)
    first = json.loads(json_text(document))[0]
    assert {
        "metric", "on", "axis", "level", "against", "by_axis", "by_level", "by_against", "mean",
        "low", "high", "n", "sd", "p", "p_holm", "detectable", "seeds_needed", "combinations",
    } == set(first)
    assert set(first) == set(next(csv.reader(io.StringIO(csv_text(document)))))

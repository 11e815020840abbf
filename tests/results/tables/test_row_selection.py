"""Order and selection of the rows of a table, and the notes about what is left out."""

from __future__ import annotations

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.formats import markdown_text
from deepmac_ablate.results.tables.arm_table import arm_table
from deepmac_ablate.results.tables.row_selection import select_rows, sort_rows
from deepmac_ablate.results.tables.table_rendering import render_table
from tests.helpers.result_frames import arm, cells_of, frame

IOU = "groundtruth/iou"
AP = "detections/mask_ap"


def numbers(novel, seen=0.5, ap=0.1):
    """Three seeds around the means, for which no difference between two arms is constant."""
    spread = (0.0, 0.01 * novel, -0.01 * novel)
    return {
        f"{metric}/{classes}": [mean + each for each in spread]
        for metric, classes, mean in (
            (IOU, "novel", novel), (IOU, "seen", seen), (AP, "novel", ap), (AP, "seen", ap))}


def levels(head, boxes):
    return {"mask_head": head, "boxes": boxes}


ARMS = frame(
    arm("fc+prop", numbers(0.4, ap=0.2), levels("fc", "prop"), baseline=True,
        training_gmacs=4.0),
    arm("fc+gt", numbers(0.5, ap=0.1), levels("fc", "gt"), training_gmacs=2.0),
    arm("hg20+prop", numbers(0.3, ap=0.3), levels("hg20", "prop"), training_gmacs=3.0),
    arm("hg20+gt", numbers(0.6, ap=0.4), levels("hg20", "gt")),
    arm("new", {}, levels("new", "gt"), ["new"] * 3))


@pytest.fixture
def table():
    return arm_table(ARMS, [IOU, AP])


def labels(table) -> list[str]:
    return [row.arm.label for row in table.rows]


def caption(table) -> str:
    return "\n".join(render_table(table).caption)


@pytest.mark.parametrize(("column", "order"), [
    ("novel", ["hg20+gt", "fc+gt", "fc+prop", "hg20+prop", "new"]),
    ("Δ novel", ["hg20+gt", "fc+gt", "hg20+prop", "fc+prop", "new"]),
    (f"{AP}/novel", ["hg20+gt", "hg20+prop", "fc+prop", "fc+gt", "new"]),
    # The gap is seen (0.5 for all) minus novel.
    ("gap", ["hg20+gt", "fc+gt", "fc+prop", "hg20+prop", "new"]),
    ("training", ["fc+gt", "hg20+prop", "fc+prop", "hg20+gt", "new"]),
    ("boxes", ["fc+gt", "hg20+gt", "new", "fc+prop", "hg20+prop"]),
    ("arm", ["fc+gt", "fc+prop", "hg20+gt", "hg20+prop", "new"]),
])
def test_rows_are_sorted(table, column, order):
    """Results best first, costs lowest first, names by alphabet; unknown values are last."""
    assert order == labels(sort_rows(table, column))


def test_the_reverse_order_keeps_unknown_values_last(table):
    """The worst arm is first, and the arm without results is still last."""
    assert ["hg20+prop", "fc+prop", "fc+gt", "hg20+gt", "new"] == labels(
        sort_rows(table, "novel", reverse=True))
    assert "Sorted by novel, lowest first." in caption(sort_rows(table, "novel", reverse=True))


@pytest.mark.parametrize(("only", "kept"), [
    (["hg*"], ["fc+prop", "hg20+prop", "hg20+gt"]),
    (["hg20+gt", "new"], ["fc+prop", "hg20+gt", "new"]),
    (["mask_head=hg*"], ["fc+prop", "hg20+prop", "hg20+gt"]),
    (["mask_head=hg*", "boxes=gt"], ["fc+prop", "hg20+gt"]),
    (["mask_head=hg20", "mask_head=fc", "boxes=gt"], ["fc+prop", "fc+gt", "hg20+gt"]),
])
def test_only_keeps_the_arms_that_match_and_the_baseline(table, only, kept):
    """Patterns of one axis or of arms are alternatives; those of several axes must all hold."""
    assert kept == labels(select_rows(table, only))


def test_the_baseline_can_be_excluded_by_name(table):
    """Differences to it remain, and a note names it."""
    chosen = select_rows(table, exclude=["fc+prop"])
    assert ["fc+gt", "hg20+prop", "hg20+gt", "new"] == labels(chosen)
    assert "+10.0 ± " in cells_of(markdown_text(render_table(chosen)), "fc+gt")[0][1]
    assert "Δ: difference to the baseline fc+prop, which is left out" in caption(chosen)
    assert "There is no baseline" not in caption(chosen)


def test_statistics_are_those_of_all_arms(table):
    """Corrected p values do not change with the selection, and the caption says what they count."""
    [before] = [row for row in table.rows if row.arm.label == "hg20+gt"]
    chosen = select_rows(sort_rows(table, "novel"), top=1)
    assert ["hg20+gt", "fc+prop"] == labels(chosen)
    assert before == chosen.rows[0]
    assert (12, 12) == (table.comparisons, chosen.comparisons)
    assert "over the 12 comparisons of all arms, shown or not." in caption(chosen)
    assert "3 of 5 arms are left out: fc+gt, hg20+prop, new." in caption(chosen)
    assert "left out" not in caption(table)
    assert "p: paired t test" not in caption(select_rows(table, ["fc+prop"]))


def test_floors_of_hidden_arms_are_not_shown():
    """A floor that only holds for arms that are left out is left out, too."""
    floors = [
        {**numbers(0.4), f"{IOU}_ellipse/novel": [floor] * 3, f"{IOU}_ellipse/seen": [floor] * 3}
        for floor in (0.3, 0.2)]
    table = arm_table(frame(arm("a", floors[0], baseline=True), arm("b", floors[1])), [IOU])
    assert "floor: inscribed ellipse (b)" in markdown_text(render_table(table))
    of_two = arm_table(frame(*(
        arm(name, floors[name == "c"], baseline=name == "a") for name in "abc")), [IOU])
    shown = markdown_text(render_table(select_rows(of_two, exclude=["b"])))
    assert "floor: inscribed ellipse (a) " in shown
    shown = markdown_text(render_table(select_rows(table, exclude=["b"])))
    assert "30.0" == cells_of(shown, "floor: inscribed ellipse")[0][0]


@pytest.mark.parametrize(("select", "message"), [
    (lambda table: sort_rows(table, "nvel"), "no column 'nvel' to sort by. Did you mean 'novel'?"),
    (lambda table: sort_rows(table, "x"), "time, mask_head, boxes, and of other metrics such as "
     "detections/mask_ap/novel."),
    (lambda table: select_rows(table, ["mask_head=hg30"]),
     "--only 'mask_head=hg30' matches no arm. Did you mean 'mask_head=hg20'?"),
    (lambda table: select_rows(table, ["hg20"]), "matches no arm. Did you mean '*hg20*'? Arms are"),
    (lambda table: select_rows(table, exclude=["nwe"]),
     "--exclude 'nwe' matches no arm. Did you mean 'new'?"),
    (lambda table: select_rows(table, exclude=["*"]), "--only and --exclude leave no arm"),
])
def test_mistakes_are_named(table, select, message):
    """Messages say what is unknown, the nearest name, and what is allowed."""
    with pytest.raises(UserError) as error:
        select(table)
    assert message in str(error.value)

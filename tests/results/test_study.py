"""The study's contrasts and tables, on results with known effects."""

from __future__ import annotations

import math
import statistics
import zlib
from pathlib import Path

import pandas as pd
import pytest

from analysis import study
from deepmac_ablate import results
from deepmac_ablate.results.formats import frame_text
from deepmac_ablate.sweep.sweep_file import load_sweep
from tests.helpers.result_frames import arm, frame

ROOT = Path(__file__).resolve().parents[2]
HEADS = {"default": 0.70, "hourglass20": 0.78}
BOXES = {"proposals": 0.0, "groundtruth": 0.03, "jittered": 0.01}
CLASSES = {1: "shapes_a", 2: "shapes_b", 3: "shapes_a", 4: "shapes_b"}
METRICS = {"iou_filled_box": 0.5, "iou_ellipse": 0.6, "iou_ceiling": 0.95}


def noise(*key: object) -> float:
    """A number up to 0.01 that depends on nothing but the key."""
    return zlib.crc32(repr(key).encode()) / 2**32 / 100


def novel(levels, seed) -> float:
    return (HEADS.get(levels["mask_head"], 0.72) + BOXES[levels["box_source"]]
            + (levels["weak_losses"] == "projection_and_colour") * 0.02
            + noise(sorted(levels.items()), seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the study reads, for every arm of its sweep."""
    path = tmp_path_factory.mktemp("study")
    rows, classes = [], []
    for each in load_sweep(str(ROOT / "sweeps/study.py")).arms:
        values = [novel(each.levels, seed) for seed in each.seeds]
        numbers = {f"{study.METRIC}/seen": [value + 0.05 for value in values]}
        if each.levels["seen"] != "all":
            numbers[f"{study.METRIC}/novel"] = values
        numbers |= {f"groundtruth/{name}/{on}": [value] * len(values)
                    for name, value in METRICS.items() for on in ("novel", "seen")}
        trials = arm(each.label, numbers, each.levels, seeds=each.seeds, train_seconds=30.0)
        rows += trials
        classes += [
            {"trial": row["trial"], "reading": "groundtruth", "category_id": number,
             "role": "seen" if each.levels["seen"] in (half, "all") else "novel",
             "iou": value + 0.04 + number / 100}
            for row, value in zip(trials, values, strict=True) for number, half in CLASSES.items()]
    (path / "shapes.csv").write_text(frame_text(frame(rows), "csv"))
    pd.DataFrame(classes).to_csv(path / "shapes_classes.csv", index=False)
    return path


def test_contrasts_are_those_of_the_design(folder):
    """In its order, over eight replicates; those against the oracle take its novel classes."""
    found = study.shapes_contrasts(study.load_shapes(folder))
    design = (ROOT / "analysis/study_design.md").read_text()
    rows = [line.split("|")[1].strip() for line in design.splitlines() if line.startswith("| ")]
    of_part_a = rows[rows.index("contrast") + 1:rows.index("detector, default")]
    assert of_part_a == [each.name for each in found]
    assert {8} == {each.difference.n for each in found}
    by_name = {each.name: each.difference.mean for each in found}

    def mean(head, boxes="groundtruth", weak="none", halves=study.HALVES):
        return statistics.fmean(
            novel({"mask_head": head, "box_source": boxes, "seen": half, "weak_losses": weak}, seed)
            for half in halves for seed in range(4))

    deep = mean("hourglass20") - mean("default")
    assert math.isclose(deep, by_name["deep"], abs_tol=1e-9)
    assert math.isclose(
        deep - mean("hourglass20", "proposals") + mean("default", "proposals"),
        by_name["boxes x depth"], abs_tol=1e-9)
    assert math.isclose(
        statistics.fmean(mean(head) - mean(head, "proposals") for head in study.HEADS),
        by_name["boxes, all heads"], abs_tol=1e-9)
    # Of the oracle, the classes 2 and 4 count for the one half, and 1 and 3 for the other.
    oracle = mean("default", halves=["all"]) + 0.04 + statistics.fmean((2, 4, 1, 3)) / 100
    assert math.isclose(
        mean("default") - oracle, by_name["novel against oracle, default"], abs_tol=1e-9)
    assert math.isclose(0, by_name["deep, novel against seen"], abs_tol=1e-9)


def test_tables_and_figures_show_every_contrast_and_head(folder):
    """As Markdown between the marks of a page; numbers in percent, with the floors."""
    tables, figures = study.page_parts(folder)
    page = study.with_parts(
        "# Study\n<!-- contrasts -->\nold\n<!-- end -->\n\n<!-- heads -->\n\n<!-- end -->\n",
        tables)
    assert "old" not in page
    loaded = study.load_shapes(folder)
    [deep] = [each for each in study.shapes_contrasts(loaded) if each.name == "deep"]
    shown = next(line for line in page.splitlines() if line.startswith("| deep |"))
    assert shown.startswith(f"| deep | {100 * deep.difference.mean:+.1f} | ")
    assert shown.endswith("| <0.001 | <0.001 | shown |")
    assert "| floor: inscribed ellipse | | | 60.0 | 60.0 | |" in page
    assert page == study.with_parts(page, tables)
    texts = {text.get_text() for text in figures["study_heads.png"].axes[0].get_yticklabels()}
    assert set(study.HEADS) == texts
    assert len(results.contrast_table(study.shapes_contrasts(loaded))) == len(
        figures["study_contrasts.png"].axes[0].get_yticklabels())
    assert tables["time"].startswith("232 trials with 116 minutes")

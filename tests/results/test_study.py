"""The study's contrasts and tables, on results with known effects."""

from __future__ import annotations

import math
import random
import re
import statistics
import zlib
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from analysis import study, study_figures, study_page, study_tables
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


def trials_of(sweep, value_of):
    """Rows and classes as `deepmac-ablate rows` writes them, for every arm of a sweep."""
    rows, classes = [], []
    for each in load_sweep(str(ROOT / sweep)).arms:
        values = [value_of(each.levels, seed) for seed in each.seeds]
        numbers = {f"{study.METRIC}/seen": [value + 0.05 for value in values]}
        if each.levels["seen"] != "all":
            numbers[f"{study.METRIC}/novel"] = values
        if each.levels.get("detector") != "none" and "pictures" not in each.levels:
            numbers["detections/mask_ap/novel"] = [value - 0.4 for value in values]
        numbers |= {f"{study.METRIC}_instances/{on}": values for on in ("novel", "seen")}
        numbers |= {f"groundtruth/{name}/{on}": [value] * len(values)
                    for name, value in METRICS.items() for on in ("novel", "seen")}
        trials = arm(each.label, numbers, each.levels, seeds=each.seeds, train_seconds=30.0,
                     parameters=1_000_000)
        rows += trials
        classes += [
            {"trial": row["trial"], "seed": row["seed"], "reading": "groundtruth",
             "category_id": number, "name": f"class{number}",
             "role": "seen" if each.levels["seen"] in (half, "all") else "novel",
             "iou": value + 0.04 + number / 100}
            for row, value in zip(trials, values, strict=True) for number, half in CLASSES.items()]
    return frame(rows), pd.DataFrame(classes)


def detected(levels, seed) -> float:
    return (HEADS[levels["mask_head"]] - 0.02 * (levels["detector"] == "none")
            + noise(sorted(levels.items()), seed))


def pictured(levels, seed) -> float:
    return (0.66 + HEADS.get(levels["mask_head"], 0.72) / 8
            - 0.005 * (levels["box_source"] == "jittered")
            + noise(sorted(levels.items()), seed) / 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the study reads, for every arm of its sweeps."""
    path = tmp_path_factory.mktemp("study")
    for name, sweep, value_of in (
            ("shapes", "sweeps/study.py", novel), ("reruns", "sweeps/study.py:RERUN", novel),
            ("detectors", "sweeps/detectors.py:SHAPES", detected),
            ("pictures", "sweeps/real_pictures.py", pictured)):
        rows, classes = trials_of(sweep, value_of)
        (path / f"{name}.csv").write_text(frame_text(rows, "csv"))
        classes.to_csv(path / f"{name}_classes.csv", index=False)
    return path


@pytest.fixture(scope="module")
def tables(folder):
    """The tables of the page."""
    return study_page.page_parts(folder)[0]


@pytest.fixture(scope="module")
def committed():
    """The tables of the committed results."""
    return study_page.page_parts()[0]


def test_contrasts_are_those_of_the_design(folder):
    """In its order, over eight seeds; those against the oracle take its novel classes."""
    parts = study.load_parts(folder)
    found = [each for part in parts.values() for each in part.contrasts]
    design = (ROOT / "analysis/study_design.md").read_text()
    rows = [line.split("|")[1].strip() for line in design.splitlines() if line.startswith("| ")]
    assert rows[rows.index("contrast") + 1:] == [each.name for each in found]
    assert {8} == {each.difference.n for each in found}
    by_name = {each.name: each.difference.mean for each in found}

    def mean(head, boxes="groundtruth", weak="none", halves=study.HALVES):
        return statistics.fmean(
            novel({"mask_head": head, "box_source": boxes, "seen": half, "weak_losses": weak}, seed)
            for half in halves for seed in range(8))

    deep = mean("hourglass20") - mean("default")
    assert math.isclose(deep, by_name["Hourglass-20 against default"], abs_tol=1e-9)
    assert math.isclose(
        deep - mean("hourglass20", "proposals") + mean("default", "proposals"),
        by_name["boxes x head"], abs_tol=1e-9)
    assert math.isclose(
        statistics.fmean(mean(head) - mean(head, "proposals") for head in study.HEADS),
        by_name["boxes, all heads"], abs_tol=1e-9)
    # Of the oracle, the classes 2 and 4 count for the one half, and 1 and 3 for the other.
    oracle = mean("default", halves=["all"]) + 0.04 + statistics.fmean((2, 4, 1, 3)) / 100
    assert math.isclose(
        mean("default") - oracle, by_name["novel - oracle, default"], abs_tol=1e-9)
    assert math.isclose(0, by_name["Hourglass-20 against default, novel - seen"], abs_tol=1e-9)
    gaps = [
        detected({"mask_head": "default", "detector": "none", "seen": half}, seed)
        - detected({"mask_head": "default", "detector": "mask_rcnn", "seen": half}, seed)
        for half in study.HALVES for seed in range(8)]
    assert math.isclose(statistics.fmean(gaps), by_name["no detector, default"], abs_tol=1e-9)
    jitter = [
        statistics.fmean(
            sign * pictured({"mask_head": head, "box_source": boxes, "weak_losses": "none",
                             "seen": ("voc", "nonvoc")[number % 2],
                             "pictures": f"split{number}"}, number)
            for head in HEADS for sign, boxes in ((2, "jittered"), (-2, "groundtruth")))
        for number in range(8)]
    assert math.isclose(statistics.fmean(jitter), by_name["pictures: jitter"], abs_tol=1e-9)


@pytest.mark.slow
def test_tables_and_figures_show_every_contrast_and_head(folder, tables):
    """As Markdown between the marks of a page; numbers in percent, with the floors."""
    contrasts = [
        each for part in study.load_parts(folder).values() for each in part.contrasts]
    page = study_page.with_parts("# Study\n" + "".join(
        f"<!-- {name} -->\nreplaced\n<!-- end -->\n\n" for name in tables), tables)
    assert {"answers", "contrasts", "stages", "halves", "unplanned", "classes", "short", "time",
            "heads", "detectors", "reruns", "pictures", "instances", "ranks"} == set(tables)
    assert "replaced" not in page
    name = "Hourglass-20 against default"
    [deep] = [each for each in contrasts if each.name == name]
    shown = next(line for line in tables["contrasts"].splitlines()
                 if line.startswith(f"| {name} |"))
    difference = f"{100 * deep.difference.mean:+.1f}"
    # In detected boxes, every value is 0.4 less.
    assert shown.startswith(f"| {name} | {difference} | ")
    assert shown.endswith(f"| <0.001 | <0.001 | shown | {difference} |")
    assert re.search(
        rf"\| Hourglass-20 instead of four convolutions \| [^|]+ \| {re.escape(difference)} ± ",
        tables["answers"])
    assert "| floor: inscribed ellipse |  |  |  |  | 60.0 | 60.0 |  |  |" in page
    assert page == study_page.with_parts(page, tables)
    heads = study_figures.draw_heads(study.load_shapes(folder)).axes[0].get_yticklabels()
    assert set(study.HEADS) == {text.get_text() for text in heads}
    assert len(contrasts) == len(
        study_figures.draw_contrasts(contrasts).axes[0].get_yticklabels())
    assert tables["time"].splitlines() == [
        "Part A: 464 trials, 232 minutes of training, 30 seconds in the median.",
        "Part B: 64 trials, 32 minutes of training, 30 seconds in the median.",
        "Part C: 96 trials, 48 minutes of training, 30 seconds in the median."]
    # The differences by instance are those of the classes here.
    jitter = r"\| pictures: jitter \| ([^|]* \| [^|]*) \| "
    assert re.search(jitter, tables["contrasts"])[1] == re.search(jitter, tables["instances"])[1]
    ranks = re.findall(r"\((\d)\) \| [\d.]+ \((\d)\)", tables["ranks"])
    tau = stats.kendalltau(*zip(*ranks, strict=True)).statistic
    assert len(ranks) == len(study.HEADS)
    assert f"Kendall's τ = {tau:.2f} (" in tables["ranks"]
    # Masks in detected boxes are a matter of those with a detector.
    number = r"[\d.]+ ± [\d.]+"
    assert re.search(rf"\| default \| none \| 1\.0 \| {number} \| {number} \| - \|", page)


@pytest.mark.slow
def test_contrasts_of_a_half_of_the_classes_and_of_some_seeds(tables):
    """Over the trials of the half, or of the seeds, alone."""
    levels = {"box_source": "groundtruth", "weak_losses": "none"}

    def gain(half, seed):
        return (novel(levels | {"mask_head": "hourglass20", "seen": half}, seed)
                - novel(levels | {"mask_head": "default", "seen": half}, seed))

    def cell(gains):
        width = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains)**0.5
        return f"+{100 * statistics.fmean(gains):.1f} ± {100 * width:.1f}"

    of_halves = [cell([gain(half, seed) for seed in range(8)]) for half in study.HALVES]
    of_seeds = [
        cell([statistics.fmean(gain(half, seed) for half in study.HALVES) for seed in seeds])
        for seeds in (range(4), range(4, 8))]
    for table, cells in (("halves", of_halves), ("stages", of_seeds)):
        assert f"| Hourglass-20 against default | {' | '.join(cells)} |" in tables[table]


@pytest.mark.slow
def test_contrasts_within_a_class_where_it_is_novel(tables):
    """Class 2 is novel with masks of shapes_a: paired by seed, without weak losses."""
    plain = {"weak_losses": "none", "seen": "shapes_a"}

    def mean(heads, boxes):
        return statistics.fmean(
            novel(plain | {"mask_head": head, "box_source": boxes}, seed)
            for head in heads for seed in range(8))

    [row] = [line.split(" | ") for line in tables["classes"].splitlines() if "| class2 |" in line]
    for cell, one, other in (
            (row[2], (study.HEADS, "groundtruth"), (study.HEADS, "proposals")),
            (row[3], (["hourglass20"], "groundtruth"), (["default"], "groundtruth")),
            (row[4], (["fully_connected"], "groundtruth"), (["default"], "groundtruth"))):
        assert cell.startswith(f"{100 * (mean(*one) - mean(*other)):+.1f} ± ")


def test_ranks_of_heads_are_compared_with_their_uncertainty():
    """In the same order on both datasets, or in the opposite one, far apart or by chance."""
    generator = random.Random(0)

    def frame_of(means, spread, **levels):
        return frame(*(
            arm(head, {f"{study.METRIC}/novel": [
                    mean + generator.gauss(0, spread) for _ in range(8)]},
                {"mask_head": head, **study.PLAIN, **levels}, seeds=range(8))
            for head, mean in zip(study.HEADS, means, strict=True)))

    up = [0.60 + 0.02 * place for place in range(6)]
    shapes = frame_of(up, 0.001, masks="half")
    assert study_tables.rank_rows(shapes, frame_of(up, 0.001)).endswith(
        "Kendall's τ = 1.00 (1.00 to 1.00). The built-in dataset separates 15 of 15 pairs of "
        "heads, the pictures 15, both 15, of which 15 in the same order.")
    assert "τ = -1.00 (-1.00 to -1.00)" in study_tables.rank_rows(shapes, frame_of(up[::-1], 0.001))
    text = study_tables.rank_rows(shapes, frame_of([0.6] * 6, 0.05))
    low, high = map(float, re.search(r"\((-?[\d.]+) to (-?[\d.]+)\)\. The", text).groups())
    assert low < 0 < high
    assert "the pictures 0, both 0, of which 0 in" in text


def test_a_difference_that_rounds_to_nothing_has_no_minus(folder):
    """"-0.0" would say a direction that the number does not have."""
    some = study.load_parts(folder)["B"].contrasts[0]
    small = some.difference._replace(mean=-0.0004, low=-0.0011, high=0.0003)
    rows = study_tables.contrast_rows([some._replace(difference=small)])
    assert f"| {some.name} | +0.0 | -0.1 to +0.0 | " in rows


@pytest.mark.slow
def test_without_pictures_their_part_is_left_out(folder, tmp_path):
    """And with it its contrasts and its tables."""
    for path in folder.glob("*.csv"):
        if not path.name.startswith("pictures"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    tables, _ = study_page.page_parts(tmp_path)
    assert "| no detector, default |" in tables["contrasts"]
    assert "| pictures: " not in tables["contrasts"]
    assert not {"pictures", "instances", "ranks"} & set(tables)


@pytest.mark.slow
@pytest.mark.parametrize("page", study_page.PAGES, ids=lambda path: path.name)
def test_a_page_shows_the_committed_results(page, committed):
    """Its tables are those that the script writes."""
    text = page.read_text()
    assert any(f"<!-- {name} -->" in text for name in committed)
    assert text == study_page.with_parts(text, committed)


@pytest.mark.slow
def test_reruns_are_held_against_the_interval_for_a_new_mean(folder, tables):
    """A seed counts once, with the mean of its halves; the interval is scipy's t."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in tables["reruns"].splitlines()[2:]]
    assert [(row[0], row[2], row[3], row[-2]) for row in rows] == [
        ("default", "projection", "half", "4"), ("hourglass20", "projection", "half", "4"),
        ("hourglass20", "none", "all", "4")]
    old = [0.7, 0.71, 0.69, 0.72]
    low, high = study_tables.prediction_interval(old, 8)
    half = (1 / 4 + 1 / 8) ** 0.5 * statistics.stdev(old)
    expected = stats.t.interval(0.95, 3, statistics.fmean(old), half)
    assert (low, high) == pytest.approx(expected, abs=1e-9)
    shifted = study.load_shapes(folder, "reruns")
    shifted[f"{study.METRIC}/novel"] += 0.1
    frames = study.load_shapes(folder)
    assert study_tables.rerun_rows(frames, shifted).count("| no |") == len(rows)

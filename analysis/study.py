"""Tables and figures of the study from its committed results; see `study_design.md`.

::

    deepmac-ablate rows runs/study --output analysis/study/shapes.csv
    deepmac-ablate rows runs/study --per class --output analysis/study/shapes_classes.csv
    python analysis/study.py

The last line writes the tables between the marks of ``docs/study.md``, and its figures.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from deepmac_ablate import results
from deepmac_ablate.results import number_format
from deepmac_ablate.results.effects.contrasts import Contrast, Group
from deepmac_ablate.results.report.figures import figure_files, style
from deepmac_ablate.results.report.figures.differences_plot import (
    DrawnDifference,
    draw_differences,
)
from deepmac_ablate.results.statistics import mean_interval
from deepmac_ablate.results.tables.references import REFERENCES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "study"
PAGE = ROOT / "docs" / "study.md"
METRIC = "groundtruth/iou"
HEADS = ("default", "fully_connected", "resnet8", "resnet20", "hourglass10", "hourglass20")
BOXES = ("proposals", "groundtruth", "jittered")
HALVES = ("shapes_a", "shapes_b")


def load_shapes(folder: Path = RESULTS) -> pd.DataFrame:
    """Return the trials of part A with the class halves as replicates.

    An axis `masks` is added: "half" are the trials themselves; "all" are those with masks of all
    classes, once for each half, with the means over the classes that are novel or seen in it.
    """
    frame = results.load(folder / "shapes.csv")
    classes = pd.read_csv(folder / "shapes_classes.csv", dtype={"trial": "string"})
    classes = classes[classes["reading"] == METRIC.partition("/")[0]]
    parts = [frame[frame["seen"].isin(HALVES)].assign(masks="half")]
    for half in HALVES:
        trial = frame.loc[frame["seen"] == half, "trial"].iloc[0]
        role = classes[classes["trial"] == trial].set_index("category_id")["role"]
        oracle = frame[frame["seen"] == "all"].assign(masks="all", seen=half)
        for on in ("novel", "seen"):
            chosen = classes[classes["category_id"].map(role) == on]
            means = chosen.groupby("trial")[METRIC.rpartition("/")[2]].mean()
            oracle[f"{METRIC}/{on}"] = oracle["trial"].map(means).astype("Float64")
        parts.append(oracle.assign(
            arm=oracle["arm"].str.replace("+all+", f"+{half}+", regex=False)))
    joined = pd.concat(parts, ignore_index=True).astype({"masks": "string", "seen": "string"})
    joined["arm"] += "+" + joined["masks"]
    joined.attrs = {}
    return results.with_replicates(joined, "seen")


def shapes_contrasts(frame: pd.DataFrame) -> list[Contrast]:
    """Return the contrasts of part A, in the order of the design."""
    def group(
        head: str | Sequence[str], boxes: str = "groundtruth", weak: str = "none",
        on: str = "novel", masks: str = "half",
    ) -> Group:
        return Group({"mask_head": head, "box_source": boxes, "weak_losses": weak,
                      "masks": masks}, on)

    deep, colour = "hourglass20", "projection_and_colour"
    pairs: dict[str, tuple[list[Group], list[Group]]] = {
        "boxes, default": ([group("default")], [group("default", "proposals")]),
        "boxes, Hourglass-20": ([group(deep)], [group(deep, "proposals")]),
        "boxes, all heads": ([group(HEADS)], [group(HEADS, "proposals")]),
        "boxes x depth": ([group(deep), group("default", "proposals")],
                          [group(deep, "proposals"), group("default")]),
        "jitter, all heads": ([group(HEADS, "jittered")], [group(HEADS)]),
        "deep": ([group(deep)], [group("default")]),
        "deep, in proposals": ([group(deep, "proposals")], [group("default", "proposals")]),
        "family": ([group(deep)], [group("resnet20")]),
        "depth of hourglasses": ([group(deep)], [group("hourglass10")]),
        "depth of residual heads": ([group("resnet20")], [group("resnet8")]),
        "fully connected": ([group("fully_connected")], [group("default")]),
        "shortcuts": ([group("hourglass20_no_shortcut")], [group(deep)]),
        "downsampling": ([group("hourglass20_uniform_size")], [group(deep)]),
        "class-specific, default": ([group("default_class_specific")], [group("default")]),
        "class-specific, Hourglass-20": ([group(f"{deep}_class_specific")], [group(deep)]),
        "weak losses, default": ([group("default", weak=colour)], [group("default")]),
        "weak losses, Hourglass-20": ([group(deep, weak=colour)], [group(deep)]),
        "weak losses x depth": ([group(deep, weak=colour), group("default")],
                                [group(deep), group("default", weak=colour)]),
        "deep, novel against seen": ([group(deep), group("default", on="seen")],
                                     [group("default"), group(deep, on="seen")]),
        "boxes, novel against seen": ([group(HEADS), group(HEADS, "proposals", on="seen")],
                                      [group(HEADS, "proposals"), group(HEADS, on="seen")]),
        "novel against oracle, default": ([group("default")], [group("default", masks="all")]),
        "novel against oracle, Hourglass-20": ([group(deep)], [group(deep, masks="all")]),
    }
    return [results.contrast(frame, name, *sides, METRIC) for name, sides in pairs.items()]


def contrast_rows(table: pd.DataFrame) -> str:
    """Return the contrasts as a Markdown table, in points of mask IoU."""
    lines = ["| contrast | difference | 95 % interval | n | p | p, corrected | |",
             "|---|---:|---|---:|---:|---:|---|"]
    for row in table.itertuples():
        verdict = "shown" if row.p_holm is not None and row.p_holm < 0.05 else ""
        p, p_holm = (
            number_format.p_value(None if pd.isna(value) else value)
            for value in (row.p, row.p_holm))
        lines.append(
            f"| {row.name} | {100 * row.difference:+.1f} | {100 * row.low:+.1f} to "
            f"{100 * row.high:+.1f} | {row.n} | {p} | {p_holm} | {verdict} |")
    return "\n".join(lines)


def head_rows(frame: pd.DataFrame) -> str:
    """Return mask IoU of heads by box source as a Markdown table: means and t intervals."""
    lines = ["| mask head | masks | box source | novel | seen | retention |",
             "|---|---|---|---:|---:|---:|"]
    finished = frame[(frame["status"] == "finished") & (frame["weak_losses"] == "none")]
    others = [head for head in dict.fromkeys(finished["mask_head"]) if head not in HEADS]
    for head in (*HEADS, *others):
        oracle = _values(finished, head, "groundtruth", "all", "novel")
        for masks, boxes in (*(("half", boxes) for boxes in BOXES), ("all", "groundtruth")):
            novel = _values(finished, head, boxes, masks, "novel")
            if not novel:
                continue
            seen = _values(finished, head, boxes, masks, "seen")
            shares = [value / oracle[key] for key, value in novel.items() if key in oracle]
            retention = _interval_text(shares) if masks == "half" and shares else ""
            lines.append(
                f"| {head} | {masks} | {boxes} | {_interval_text(novel.values())} | "
                f"{_interval_text(seen.values())} | {retention} |")
    for metric, title in REFERENCES.items():
        half = finished[finished["masks"] == "half"]
        means = [half[f"groundtruth/{metric}/{on}"].mean() for on in ("novel", "seen")]
        lines.append(f"| {title} | | | {100 * means[0]:.1f} | {100 * means[1]:.1f} | |")
    return "\n".join(lines)


def draw_contrasts(table: pd.DataFrame, contrasts: Sequence[Contrast]) -> Figure | None:
    """Draw the contrasts with their intervals; "*" marks those that the correction leaves."""
    return draw_differences([
        DrawnDifference(
            f"{item.name}{' *' if p_holm is not None and p_holm < 0.05 else ''}", "novel",
            item.difference)
        for item, p_holm in zip(contrasts, table["p_holm"], strict=True)],
        "difference of mask IoU in ground-truth boxes, novel classes")


def draw_heads(frame: pd.DataFrame) -> Figure:
    """Draw mask IoU on novel classes by head and box source, beside that of the oracle."""
    finished = frame[(frame["status"] == "finished") & (frame["weak_losses"] == "none")]
    columns = [*(("half", boxes, boxes) for boxes in BOXES), ("all", "groundtruth", "all masks")]
    with style.applied():
        figure = style.new_figure(3.4)
        panel = figure.subplots()
        for signs, (masks, boxes, title) in zip(
                style.arm_styles(title for *_, title in columns).values(), columns, strict=True):
            shift = 0.16 * (columns.index((masks, boxes, title)) - 1.5)
            for place, head in enumerate(HEADS):
                values = _values(finished, head, boxes, masks, "novel").values()
                if not values:
                    continue
                mean, low, high, *_ = mean_interval(list(values))
                row = place + shift
                if low is not None and high is not None:
                    panel.plot([100 * low, 100 * high], [row, row], color=signs["color"],
                               **style.INTERVAL)
                panel.plot(100 * mean, row, color=signs["color"], marker=signs["marker"],
                           label=title if place == 0 else None, **style.MEAN)
        for metric in ("iou_ellipse", "iou_ceiling"):
            floor = finished.loc[finished["masks"] == "half", f"groundtruth/{metric}/novel"].mean()
            panel.axvline(100 * floor, **style.REFERENCES[metric])
        style.label_rows(panel, list(HEADS))
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        style.set_x_title(figure, "mask IoU of novel classes in ground-truth boxes, in %")
    return figure


def _values(
    frame: pd.DataFrame, head: str, boxes: str, masks: str, on: str
) -> Mapping[int, float]:
    """Return mask IoU by replicate."""
    rows = frame[(frame["mask_head"] == head) & (frame["box_source"] == boxes)
                 & (frame["masks"] == masks)].dropna(subset=[f"{METRIC}/{on}"])
    return {int(seed): float(value)
            for seed, value in zip(rows["seed"], rows[f"{METRIC}/{on}"], strict=True)}


def _interval_text(values: Iterable[float]) -> str:
    return number_format.interval(mean_interval(list(values)))


def minutes_text(frame: pd.DataFrame) -> str:
    """Return the number of trials and their training time."""
    trials = frame.drop_duplicates("trial")
    seconds = trials["train_seconds"].sum()
    typical = statistics.median(trials["train_seconds"].dropna())
    return (
        f"{len(trials)} trials with {seconds / 60:.0f} minutes of training steps, "
        f"{typical:.0f} seconds in the median.")


def page_parts(folder: Path = RESULTS) -> tuple[dict[str, str], dict[str, Figure | None]]:
    """Return the tables of the page by the name of their mark, and its figures by file name."""
    frame = load_shapes(folder)
    contrasts = shapes_contrasts(frame)
    table = results.contrast_table(contrasts)
    return (
        {"contrasts": contrast_rows(table), "heads": head_rows(frame), "time": minutes_text(frame)},
        {"study_contrasts.png": draw_contrasts(table, contrasts),
         "study_heads.png": draw_heads(frame)})


def with_parts(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with the text between ``<!-- NAME -->`` and ``<!-- end -->`` replaced."""
    for name, text in parts.items():
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(\n<!-- end -->)",
            lambda found, text=text: f"{found[1]}\n{text}\n{found[2]}", page, flags=re.DOTALL)
    return page


def main() -> None:
    """Write the tables and figures of the page."""
    tables, figures = page_parts()
    PAGE.write_text(with_parts(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    for name, figure in figures.items():
        if figure is not None:
            (ROOT / "docs" / "pictures" / name).write_bytes(figure_files.to_png(figure))


if __name__ == "__main__":
    main()

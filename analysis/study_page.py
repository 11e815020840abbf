"""Write the tables and figures of ``docs/study.md`` and README from ``analysis/study``.

::

    python -m analysis.study_page
    python -m analysis.study_page --masks runs/study

The tables go between the marks ``<!-- NAME -->`` and ``<!-- end -->`` of the pages. The second form
draws the masks of the heads as well, for which the workdir of part A has to be there.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from analysis import study, study_figures
from deepmac_ablate import results
from deepmac_ablate.results import number_format
from deepmac_ablate.results.effects.contrasts import Contrast
from deepmac_ablate.results.statistics import mean_interval
from deepmac_ablate.results.tables.references import REFERENCES
from docs import make_pictures

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "study.md", ROOT / "README.md")
PICTURES = ROOT / "docs" / "pictures"
# The contrasts that README shows.
_SHORT = {
    "boxes, all heads": "train in ground-truth boxes instead of proposals (mean of six heads)",
    "jitter, all heads": "jitter the ground-truth boxes (mean of six heads)",
    "deep": "Hourglass-20 instead of four convolutions",
    "depth of hourglasses": "Hourglass-20 instead of Hourglass-10",
    "shortcuts": "Hourglass-20 without shortcuts",
    "fully connected": "fully connected layers instead of four convolutions",
    "weak losses, default": "losses on boxes without masks (four convolutions)",
}


def contrast_rows(contrasts: Sequence[Contrast]) -> str:
    """Return contrasts as a Markdown table, in points of mask IoU."""
    rows = []
    for row in results.contrast_table(contrasts).itertuples():
        p, p_holm = (
            number_format.p_value(None if pd.isna(value) else value)
            for value in (row.p, row.p_holm))
        rows.append([
            row.name, number_format.signed(row.difference),
            number_format.limits(row.low, row.high), str(row.n), p, p_holm,
            "shown" if row.p_holm < 0.05 else ""])
    heads = ["contrast", "difference", "95 % interval", "n", "p", "p, corrected", ""]
    return _markdown(heads, rows)


def half_rows(frame: pd.DataFrame) -> str:
    """Return the contrasts of part A within each half of the classes as a Markdown table."""
    halves = [study.shapes_contrasts(frame[frame["seen"] == half]) for half in study.HALVES]
    return _markdown(["contrast", *(f"masks for `{half}`" for half in study.HALVES)], [
        [items[0].name, *(number_format.difference(item.difference) for item in items)]
        for items in zip(*halves, strict=True)])


def short_rows(contrasts: Sequence[Contrast]) -> str:
    """Return the contrasts that README shows as a Markdown table."""
    corrected = results.contrast_table(contrasts)["p_holm"]
    return _markdown(["change", "mask IoU, novel classes", "p, corrected"], [
        [_SHORT[item.name], number_format.difference(item.difference), number_format.p_value(p)]
        for item, p in zip(contrasts, corrected, strict=True) if item.name in _SHORT])


def score_rows(frame: pd.DataFrame, axes: Sequence[str]) -> str:
    """Return scores by levels of axes as a Markdown table: means and t intervals, in percent.

    Rows with masks of half of the classes also have their retention, if the frame knows the oracle.
    """
    metrics = {"novel": f"{study.METRIC}/novel", "seen": f"{study.METRIC}/seen",
               "mask AP, novel": "detections/mask_ap/novel"}
    finished = frame[frame["status"] == "finished"]
    shown = {title: metric for title, metric in metrics.items()
             if metric in finished and finished[metric].notna().any()}
    has_oracle = "masks" in axes
    heads = [*(axis.replace("_", " ") for axis in axes), *shown, *["retention"] * has_oracle]
    table = []
    for levels, rows in study.groups(finished, axes):
        cells = [interval_text(study.by_seed(rows, metric).values()) for metric in shown.values()]
        if has_oracle:
            known = dict(zip(axes, levels, strict=True))
            cells.append(_retention(finished, rows) if known["masks"] == "half" else "")
        table.append([*levels, *cells])
    for metric, title in REFERENCES.items():
        means = [100 * finished[f"groundtruth/{metric}/{on}"].mean() for on in ("novel", "seen")]
        cells = [f"{mean:.1f}" for mean in means] + [""] * (len(heads) - len(axes) - 2)
        table.append([title, *[""] * (len(axes) - 1), *cells])
    return _markdown(heads, table, len(axes))


def rerun_rows(frame: pd.DataFrame, rerun: pd.DataFrame) -> str:
    """Return the means of rows that were trained again, beside the intervals for a new mean."""
    axes = ["mask_head", "box_source", "weak_losses", "masks"]
    first = dict(study.groups(frame, axes))
    table = []
    for levels, rows in study.groups(rerun, axes):
        old, new = (
            list(study.by_seed(each, f"{study.METRIC}/novel").values())
            for each in (first[levels], rows))
        low, high = prediction_interval(old, len(new))
        table.append([
            *levels, interval_text(old), f"{100 * low:.1f} to {100 * high:.1f}", interval_text(new),
            str(len(new)), "yes" if low <= statistics.fmean(new) <= high else "no"])
    heads = [*(axis.replace("_", " ") for axis in axes), "study", "interval for a new mean",
             "new seeds", "n", "inside"]
    return _markdown(heads, table, len(axes))


def rank_rows(shapes: pd.DataFrame, pictures: pd.DataFrame) -> str:
    """Return mask IoU of the heads on novel classes of both datasets, and the ranks' correlation.

    All heads are trained in ground-truth boxes without weak losses.
    """
    means = pd.DataFrame({
        name: {
            levels[0]: rows[f"{study.METRIC}/novel"].mean()
            for levels, rows in study.groups(frame, ["mask_head", *names])
            if levels[0] in study.HEADS and levels[1:] == tuple(names.values())}
        for name, frame, names in (
            ("shapes", shapes, study.PLAIN | {"masks": "half"}),
            ("pictures", pictures, study.PLAIN))})
    ranks = means.rank(ascending=False)
    table = [
        [head, *(f"{100 * means.loc[head, column]:.1f} ({ranks.loc[head, column]:.0f})"
                 for column in means)]
        for head in means.index]
    found = stats.kendalltau(means["shapes"], means["pictures"])
    return _markdown(["mask head", "built-in dataset (rank)", "pictures (rank)"], table) + (
        f"\n\nKendall's τ = {found.statistic:.2f}, p = {number_format.p_value(found.pvalue)}.")


def prediction_interval(values: Sequence[float], n: int) -> tuple[float, float]:
    """Return the 95 % interval for the mean of n further values: mean ± t · sd · √(1/m + 1/n)."""
    of_mean = mean_interval(values)
    half = (of_mean.high - of_mean.mean) * (1 + of_mean.n / n) ** 0.5
    return of_mean.mean - half, of_mean.mean + half


def minutes_text(parts: Mapping[str, study.Part]) -> str:
    """Return the number of trials and their training time."""
    lines = []
    for name, part in parts.items():
        count, seconds = len(part.trials), part.trials["train_seconds"].dropna()
        lines.append(
            f"Part {name}: {count} trials, {seconds.sum() / 60:.0f} minutes of training, "
            f"{seconds.median():.0f} seconds in the median.")
    return "\n".join(lines)


def page_parts(folder: Path = study.RESULTS) -> tuple[dict[str, str], dict[str, Figure | None]]:
    """Return the tables of the page by the name of their mark, and its figures by file name."""
    parts = study.load_parts(folder)
    contrasts = [contrast for part in parts.values() for contrast in part.contrasts]
    shapes = parts["A"].frame
    tables = {
        "contrasts": contrast_rows(contrasts), "halves": half_rows(study.load_halves(folder)),
        "short": short_rows(contrasts),
        "time": minutes_text(parts),
        "heads": score_rows(shapes, ["mask_head", "box_source", "weak_losses", "masks"])}
    if "B" in parts:
        tables["detectors"] = score_rows(parts["B"].frame, ["mask_head", "detector"])
    if "C" in parts:
        pictures = parts["C"].frame
        tables |= {
            "pictures": score_rows(pictures, ["mask_head", "box_source", "weak_losses"]),
            "instances": contrast_rows(
                study.pictures_contrasts(pictures, "groundtruth/iou_instances")),
            "ranks": rank_rows(shapes, pictures)}
    if (folder / "reruns.csv").exists():
        tables["reruns"] = rerun_rows(shapes, study.load_shapes(folder, "reruns"))
    return tables, {
        "study_contrasts.png": study_figures.draw_contrasts(contrasts),
        "study_heads.png": study_figures.draw_heads(shapes)}


def with_parts(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with the text between ``<!-- NAME -->`` and ``<!-- end -->`` replaced."""
    for name, text in parts.items():
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(\n<!-- end -->)",
            lambda found, text=text: f"{found[1]}\n{text}\n{found[2]}", page, flags=re.DOTALL)
    return page


def interval_text(values: Iterable[float]) -> str:
    """Return a mean and its t interval in percent, or "-" for no values."""
    return number_format.interval(mean_interval(list(values)))


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """Return a Markdown table whose columns after the first `names` are aligned to the right."""
    rules = ["---"] * names + ["---:"] * (len(heads) - names)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rules, *rows))


def _retention(frame: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Return novel classes as a share of the same classes in the oracle of the same head."""
    oracle = frame[(frame["masks"] == "all") & (frame["mask_head"] == rows["mask_head"].iloc[0])]
    metric = f"{study.METRIC}/novel"
    of_oracle = study.by_seed(oracle, metric)
    shares = [value / of_oracle[seed] for seed, value in study.by_seed(rows, metric).items()
              if seed in of_oracle]
    return interval_text(shares) if shares else ""


def main() -> None:
    """Write the tables and figures of the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--masks", metavar="WORKDIR", help="draw masks, too, of this workdir")
    args = parser.parse_args()
    tables, figures = page_parts()
    if args.masks:
        figures["study_masks.png"] = study_figures.draw_masks(args.masks)
    for page in PAGES:
        page.write_text(with_parts(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    for name, figure in figures.items():
        if figure is not None:
            make_pictures.save(figure, PICTURES / name)


if __name__ == "__main__":
    main()

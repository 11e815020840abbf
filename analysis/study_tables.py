"""Tables of the study, as Markdown, from its results."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from scipy import stats

from analysis import study
from deepmac_ablate import results
from deepmac_ablate.results import number_format
from deepmac_ablate.results.effects.contrasts import Contrast
from deepmac_ablate.results.statistics import mean_difference, mean_interval
from deepmac_ablate.results.tables.references import REFERENCES

# Of each contrast that answers a question: the change, and what the paper's abstract says of it.
_ANSWERS = {
    "boxes, all heads": (
        "train in ground-truth boxes instead of proposals (mean of six heads)",
        "improves novel classes dramatically"),
    "boxes x head": (
        "the same for Hourglass-20, minus that for four convolutions",
        "ground-truth boxes are what lets deeper heads pay off"),
    "jitter, all heads": ("jitter the ground-truth boxes by up to 5 % (mean of six heads)", ""),
    "Hourglass-20 against default": (
        "Hourglass-20 instead of four convolutions",
        "architectures generalise in dramatically different ways"),
    "Hourglass-20 against default, in proposals": (
        "Hourglass-20 instead of four convolutions, in proposals", ""),
    "Hourglass-20 against default, no detector": (
        "Hourglass-20 instead of four convolutions, without a detector", "holds without one"),
    "Hourglass-20 against default, novel - seen": (
        "Hourglass-20 instead of four convolutions, novel minus seen classes",
        "heads that are alike with all masks differ dramatically (these two are not alike)"),
    "fully connected against default": (
        "fully connected layers instead of four convolutions", "(the same)"),
    "Hourglass-20 against Hourglass-10": ("Hourglass-20 instead of Hourglass-10", ""),
    "ResNet-20 against ResNet-8": ("ResNet-20 instead of ResNet-8", ""),
    "no shortcuts": ("Hourglass-20 without shortcuts", ""),
    "uniform size": ("Hourglass-20 without down-sampling", ""),
    "class-specific, default": ("a mask for each class instead of one (four convolutions)", ""),
    "weak losses, default": (
        "projection and colour losses on boxes without masks (four convolutions)", ""),
    "weak losses, Hourglass-20": ("the same (Hourglass-20)", ""),
    "novel - oracle, default": (
        "novel classes minus the same ones with masks of all (four convolutions)", ""),
}
# Of these, README shows
_SHORT = (
    "boxes, all heads", "jitter, all heads", "Hourglass-20 against default",
    "Hourglass-20 against Hourglass-10", "no shortcuts", "fully connected against default",
    "weak losses, default")
# Draws of the bootstrap of ranks.
_DRAWS = 1000


def contrast_rows(contrasts: Sequence[Contrast], mask_ap: Sequence[Contrast] = ()) -> str:
    """Return planned contrasts as a Markdown table, in points, with Holm's correction over them.

    Args:
        contrasts: The contrasts of mask IoU.
        mask_ap: Contrasts of the same names of mask AP in detected boxes, which are not tested.
    """
    aps = {item.name: number_format.signed(item.difference.mean) for item in mask_ap}
    rows = []
    for row in results.contrast_table(contrasts).itertuples():
        p, p_holm = (
            number_format.p_value(None if pd.isna(value) else value)
            for value in (row.p, row.p_holm))
        rows.append([
            row.name, number_format.signed(row.difference),
            number_format.limits(row.low, row.high), number_format.percent(row.sd), str(row.n), p,
            p_holm, "shown" if row.p_holm < 0.05 else "", aps.get(row.name, number_format.NOTHING)])
    heads = ["contrast", "difference", "95 % interval", "sd", "n", "p", "p, corrected", "",
             "mask AP"]
    return _markdown(heads, rows)


def interval_rows(contrasts: Sequence[Contrast]) -> str:
    """Return contrasts that are not tested as a Markdown table, in points."""
    return _markdown(["contrast", "difference", "95 % interval", "n"], [
        [item.name, number_format.signed(item.difference.mean),
         number_format.limits(item.difference.low, item.difference.high), str(item.difference.n)]
        for item in contrasts])


def answer_rows(contrasts: Sequence[Contrast]) -> str:
    """Return what the contrasts say about the paper's claims as a Markdown table."""
    found = _corrected(contrasts)
    return _markdown(["change", "the paper's abstract", "mask IoU, novel classes", ""], [
        [change, claim, number, "shown" if p is not None and p < 0.05 else "not shown"]
        for name, (change, claim) in _ANSWERS.items() if name in found
        for number, p in [found[name]]], 2)


def short_rows(contrasts: Sequence[Contrast]) -> str:
    """Return the contrasts that README shows as a Markdown table."""
    found = _corrected(contrasts)
    return _markdown(["change", "mask IoU, novel classes", "p, corrected"], [
        [_ANSWERS[name][0], found[name][0], number_format.p_value(found[name][1])]
        for name in _SHORT])


def _corrected(contrasts: Sequence[Contrast]) -> dict[str, tuple[str, float | None]]:
    """Return differences and corrected p values by the name of the contrast."""
    corrected = results.contrast_table(contrasts)["p_holm"]
    return {item.name: (number_format.difference(item.difference), None if pd.isna(p) else p)
            for item, p in zip(contrasts, corrected, strict=True)}


def stage_rows(stages: Mapping[str, Sequence[Contrast]]) -> str:
    """Return the same contrasts of several sets of trials, side by side, as a Markdown table."""
    cells = {title: {item.name: number_format.difference(item.difference) for item in items}
             for title, items in stages.items()}
    names = dict.fromkeys(name for of_stage in cells.values() for name in of_stage)
    return _markdown(["contrast", *stages], [
        [name, *(of_stage.get(name, number_format.NOTHING) for of_stage in cells.values())]
        for name in names])


def class_rows(classes: pd.DataFrame) -> str:
    """Return mask IoU of each novel class, and three contrasts within it, as a Markdown table.

    Args:
        classes: What `study.load_novel_classes` returns.
    """
    table = []
    for name, rows in classes.groupby("name", sort=False):
        cells = rows.pivot(index="seed", columns=["mask_head", "box_source"], values="iou")
        of_boxes = [
            cells.xs(boxes, axis=1, level="box_source")[list(study.HEADS)].mean(axis=1)
            for boxes in ("groundtruth", "proposals")]
        plain = cells.xs("groundtruth", axis=1, level="box_source")
        table.append([str(name), interval_text(plain["default"].dropna()), *(
            number_format.difference(mean_difference(list((one - other).dropna())))
            for one, other in (
                of_boxes, (plain[study.DEEP], plain["default"]),
                (plain["fully_connected"], plain["default"])))])
    return _markdown(
        ["novel class", "default", "boxes, all heads", "Hourglass-20 against default",
         "fully connected against default"], table)


def score_rows(
    frame: pd.DataFrame, axes: Sequence[str], evaluated_per_trained: float = 0.0
) -> str:
    """Return scores by levels of axes as a Markdown table: means and t intervals, in percent.

    Rows that differ from the oracle of their head in nothing but their masks have their retention.

    Args:
        frame: Pooled trials.
        axes: The axes whose levels make a row.
        evaluated_per_trained: As for `results.contrast`.
    """
    metrics = {"novel": f"{study.METRIC}/novel", "seen": f"{study.METRIC}/seen",
               "mask AP, novel": f"{study.MASK_AP}/novel"}
    finished = frame[frame["status"] == "finished"]
    shown = {title: metric for title, metric in metrics.items()
             if metric in finished and finished[metric].notna().any()}
    has_oracle = "masks" in axes
    heads = [*(axis.replace("_", " ") for axis in axes), "parameters, M", *shown,
             *["retention"] * has_oracle]
    table = []
    for levels, rows in study.groups(finished, axes):
        cells = [interval_text(study.by_seed(rows, metric).values(), evaluated_per_trained)
                 for metric in shown.values()]
        if has_oracle:
            plain = dict(zip(axes, levels, strict=True)).items() >= (
                study.PLAIN | {"masks": "half"}).items()
            cells.append(_retention(finished, rows) if plain else "")
        table.append([*levels, f"{rows['parameters'].iloc[0] / 1e6:.1f}", *cells])
    for metric, title in REFERENCES.items():
        means = [100 * finished[f"groundtruth/{metric}/{on}"].mean() for on in ("novel", "seen")]
        cells = ["", *(f"{mean:.1f}" for mean in means)]
        cells += [""] * (len(heads) - len(axes) - len(cells))
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
    """Return mask IoU of the heads on novel classes of both datasets, and how their ranks agree.

    All heads are trained in ground-truth boxes without weak losses. Kendall's tau has a percentile
    interval from a bootstrap over seeds and over splits. Pairs of heads that both datasets
    separate, with a 95 % interval each, are counted.
    """
    values = [
        {levels[0]: study.by_seed(rows, f"{study.METRIC}/novel")
         for levels, rows in study.groups(frame, ["mask_head", *names])
         if levels[0] in study.HEADS and levels[1:] == tuple(names.values())}
        for frame, names in (
            (shapes, study.PLAIN | {"masks": "half"}), (pictures, study.PLAIN))]
    means = [{head: statistics.fmean(by_seed.values()) for head, by_seed in of_heads.items()}
             for of_heads in values]
    places = [
        {head: sum(other >= mean for other in of_heads.values())
         for head, mean in of_heads.items()} for of_heads in means]
    table = [
        [head, *(f"{100 * of_heads[head]:.1f} ({place[head]})"
                 for of_heads, place in zip(means, places, strict=True))]
        for head in study.HEADS]
    generator = random.Random(0)
    seeds = [sorted(set.intersection(*map(set, of_heads.values()))) for of_heads in values]
    taus = sorted(
        _tau(*([statistics.fmean(of_heads[head][seed] for seed in drawn) for head in study.HEADS]
               for of_heads, drawn in zip(values, draws, strict=True)))
        for draws in ([generator.choices(known, k=len(known)) for known in seeds]
                      for _ in range(_DRAWS)))
    low, high = taus[int(0.025 * _DRAWS)], taus[int(0.975 * _DRAWS) - 1]
    tau = _tau(*([of_heads[head] for head in study.HEADS] for of_heads in means))
    signs = [
        [_sign(of_heads[one], of_heads[other], ratio)
         for one, other in itertools.combinations(study.HEADS, 2)]
        for of_heads, ratio in zip(values, (0.0, study.EVALUATED_PER_TRAINED), strict=True)]
    both = [one == other for one, other in zip(*signs, strict=True) if one and other]
    return _markdown(["mask head", "built-in dataset (rank)", "pictures (rank)"], table) + (
        f"\n\nKendall's τ = {tau:.2f} ({low:.2f} to {high:.2f}). The built-in dataset separates "
        f"{sum(map(bool, signs[0]))} of {len(signs[0])} pairs of heads, the pictures "
        f"{sum(map(bool, signs[1]))}, both {len(both)}, of which {sum(both)} in the same order.")


def _tau(one: Sequence[float], other: Sequence[float]) -> float:
    return float(stats.kendalltau(one, other).statistic)


def _sign(
    one: Mapping[int, float], other: Mapping[int, float], evaluated_per_trained: float
) -> int:
    """Return 1 or -1 where the interval of a paired difference excludes 0, else 0."""
    found = mean_difference(
        [one[seed] - other[seed] for seed in one if seed in other],
        evaluated_per_trained=evaluated_per_trained)
    return (found.low > 0) - (found.high < 0)


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


def interval_text(values: Iterable[float], evaluated_per_trained: float = 0.0) -> str:
    """Return a mean and its t interval in percent, or "-" for no values."""
    return number_format.interval(
        mean_interval(list(values), evaluated_per_trained=evaluated_per_trained))


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

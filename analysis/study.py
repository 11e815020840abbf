"""The study's results and planned contrasts; `study_design.md` says what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from deepmac_ablate import results
from deepmac_ablate.results.effects.contrasts import Contrast, Group

RESULTS = Path(__file__).resolve().parent / "study"
METRIC = "groundtruth/iou"
HEADS = ("default", "fully_connected", "resnet8", "resnet20", "hourglass10", "hourglass20")
BOXES = ("proposals", "groundtruth", "jittered")
PLAIN = {"box_source": "groundtruth", "weak_losses": "none"}
HALVES = ("shapes_a", "shapes_b")


def load_halves(folder: Path = RESULTS, name: str = "shapes") -> pd.DataFrame:
    """Return the trials of part A, or of its reruns, with masks of one half of the classes or all.

    An axis `masks` is added: "half" are the trials with masks of one half or the other; "all" are
    those with masks of all classes, counted once for each half, with the means over the classes
    that are novel or seen in it. The axis `seen` has the half.
    """
    frame = results.load(folder / f"{name}.csv")
    classes = pd.read_csv(folder / f"{name}_classes.csv", dtype={"trial": "string"})
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
    return joined


def load_shapes(folder: Path = RESULTS, name: str = "shapes") -> pd.DataFrame:
    """Return what `load_halves` does, pooled: each seed has the mean of both halves."""
    return results.pool(load_halves(folder, name), "seen")


def load_detectors(folder: Path = RESULTS) -> pd.DataFrame:
    """Return the trials of part B, pooled over the halves of the classes."""
    return results.pool(results.load(folder / "detectors.csv"), "seen")


def load_pictures(folder: Path = RESULTS) -> pd.DataFrame:
    """Return the trials of part C, pooled over splits, each with a seed and a direction."""
    return results.pool(results.pool(results.load(folder / "pictures.csv"), "seen"), "pictures")


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


def detectors_contrasts(frame: pd.DataFrame) -> list[Contrast]:
    """Return the contrasts of part B, in the order of the design."""
    def group(head: str, detector: str = "none") -> Group:
        return Group({"mask_head": head, "detector": detector})

    pairs = {
        "detector, default": (group("default"), group("default", "mask_rcnn")),
        "detector, Hourglass-20": (group("hourglass20"), group("hourglass20", "mask_rcnn")),
        "deep without detector": (group("hourglass20"), group("default")),
    }
    return [results.contrast(frame, name, *sides, METRIC) for name, sides in pairs.items()]


def pictures_contrasts(frame: pd.DataFrame, metric: str = METRIC) -> list[Contrast]:
    """Return the contrasts of part C, in the order of the design."""
    def group(
        head: str | Sequence[str], boxes: str = "groundtruth", weak: str = "none",
        on: str = "novel",
    ) -> Group:
        return Group({"mask_head": head, "box_source": boxes, "weak_losses": weak}, on)

    deep, colour = "hourglass20", "projection_and_colour"
    pairs: dict[str, tuple[Group | list[Group], Group | list[Group]]] = {
        "pictures: deep": (group(deep), group("default")),
        "pictures: deep, novel against seen": (
            [group(deep), group("default", on="seen")], [group("default"), group(deep, on="seen")]),
        "pictures: jitter": (
            group(("default", deep), "jittered"), group(("default", deep))),
        "pictures: weak losses, default": (group("default", weak=colour), group("default")),
        "pictures: weak losses, Hourglass-20": (group(deep, weak=colour), group(deep)),
    }
    return [results.contrast(frame, name, *sides, metric) for name, sides in pairs.items()]


class Part(NamedTuple):
    """Part of the study.

    Attributes:
        trials: Its trials, one by one.
        frame: Its trials, pooled by `load_shapes` and the like.
        contrasts: Its planned contrasts.
    """

    trials: pd.DataFrame
    frame: pd.DataFrame
    contrasts: list[Contrast]


def load_parts(folder: Path = RESULTS) -> dict[str, Part]:
    """Return the parts "A", "B" and "C" as far as there are results of them."""
    loaders: dict[str, tuple[str, Callable, Callable]] = {
        "A": ("shapes", load_shapes, shapes_contrasts),
        "B": ("detectors", load_detectors, detectors_contrasts),
        "C": ("pictures", load_pictures, pictures_contrasts),
    }
    parts = {}
    for part, (name, load, contrasts) in loaders.items():
        if (folder / f"{name}.csv").exists():
            frame = load(folder)
            trials = results.load(folder / f"{name}.csv")
            parts[part] = Part(trials, frame, contrasts(frame))
    return parts


def groups(
    frame: pd.DataFrame, axes: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yield the finished trials by levels, in the order of the sweep."""
    finished = frame[frame["status"] == "finished"]
    for levels, rows in finished.groupby(list(axes), sort=False):
        yield tuple(map(str, levels)), rows


def by_seed(rows: pd.DataFrame, metric: str) -> dict[int, float]:
    """Return a metric by seed."""
    known = rows.dropna(subset=[metric])
    return {int(seed): float(value)
            for seed, value in zip(known["seed"], known[metric], strict=True)}

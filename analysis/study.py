"""The study's results and planned contrasts; `study_design.md` says what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from deepmac_ablate import results
from deepmac_ablate.results.effects.contrasts import Contrast, Group

RESULTS = Path(__file__).resolve().parent / "study"
METRIC = "groundtruth/iou"
MASK_AP = "detections/mask_ap"
HEADS = ("default", "fully_connected", "resnet8", "resnet20", "hourglass10", "hourglass20")
BOXES = ("proposals", "groundtruth", "jittered")
PLAIN = {"box_source": "groundtruth", "weak_losses": "none"}
HALVES = ("shapes_a", "shapes_b")
DEEP, COLOUR = "hourglass20", "projection_and_colour"
# The images of each split of part C.
EVALUATED_PER_TRAINED = 51 / 105


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


def load_novel_classes(folder: Path = RESULTS) -> pd.DataFrame:
    """Return mask IoU of each novel class in each trial of part A without weak losses.

    A row has the class's `name`, the trial's `seed`, `mask_head` and `box_source`, and `iou`.
    """
    classes = pd.read_csv(folder / "shapes_classes.csv", dtype={"trial": "string"})
    novel = classes[(classes["reading"] == METRIC.partition("/")[0]) & (classes["role"] == "novel")]
    trials = results.load(folder / "shapes.csv")
    trials = trials[trials["weak_losses"] == PLAIN["weak_losses"]]
    return novel[["trial", "seed", "name", "iou"]].merge(
        trials[["trial", "mask_head", "box_source"]], on="trial")


def load_detectors(folder: Path = RESULTS) -> pd.DataFrame:
    """Return the trials of part B, pooled over the halves of the classes."""
    return results.pool(results.load(folder / "detectors.csv"), "seen")


def load_pictures(folder: Path = RESULTS) -> pd.DataFrame:
    """Return the trials of part C, pooled over splits, each with its seed and direction."""
    return results.pool(results.pool(results.load(folder / "pictures.csv"), "seen"), "pictures")


def _group(
    head: str | Sequence[str], boxes: str = "groundtruth", weak: str = "none", on: str = "novel",
    masks: str | None = "half",
) -> Group:
    """Return arms of part A, or of part C, which has no axis `masks` (None)."""
    levels = {"mask_head": head, "box_source": boxes, "weak_losses": weak}
    return Group(levels if masks is None else levels | {"masks": masks}, on)


def _contrasts(
    frame: pd.DataFrame, pairs: Mapping[str, tuple[Sequence[Group], Sequence[Group]]],
    metric: str, evaluated_per_trained: float = 0.0,
) -> list[Contrast]:
    return [
        results.contrast(frame, name, *sides, metric, evaluated_per_trained=evaluated_per_trained)
        for name, sides in pairs.items()]


def shapes_contrasts(frame: pd.DataFrame, metric: str = METRIC) -> list[Contrast]:
    """Return the contrasts of part A, in the order of the design."""
    default, deep = _group("default"), _group(DEEP)
    six, six_seen = _group(HEADS), _group(HEADS, on="seen")
    colour_default, colour_deep = _group("default", weak=COLOUR), _group(DEEP, weak=COLOUR)
    in_proposals = {head: _group(head, "proposals") for head in ("default", DEEP)}
    return _contrasts(frame, {
        "boxes, default": ([default], [in_proposals["default"]]),
        "boxes, Hourglass-20": ([deep], [in_proposals[DEEP]]),
        "boxes, all heads": ([six], [_group(HEADS, "proposals")]),
        "boxes x head": ([deep, in_proposals["default"]], [in_proposals[DEEP], default]),
        "jitter, all heads": ([_group(HEADS, "jittered")], [six]),
        "Hourglass-20 against default": ([deep], [default]),
        "Hourglass-20 against default, in proposals": (
            [in_proposals[DEEP]], [in_proposals["default"]]),
        "Hourglass-20 against ResNet-20": ([deep], [_group("resnet20")]),
        "Hourglass-20 against Hourglass-10": ([deep], [_group("hourglass10")]),
        "ResNet-20 against ResNet-8": ([_group("resnet20")], [_group("resnet8")]),
        "fully connected against default": ([_group("fully_connected")], [default]),
        "no shortcuts": ([_group("hourglass20_no_shortcut")], [deep]),
        "uniform size": ([_group("hourglass20_uniform_size")], [deep]),
        "class-specific, default": ([_group("default_class_specific")], [default]),
        "class-specific, Hourglass-20": ([_group(f"{DEEP}_class_specific")], [deep]),
        "weak losses, default": ([colour_default], [default]),
        "weak losses, Hourglass-20": ([colour_deep], [deep]),
        "weak losses x head": ([colour_deep, default], [deep, colour_default]),
        "Hourglass-20 against default, novel - seen": (
            [deep, _group("default", on="seen")], [default, _group(DEEP, on="seen")]),
        "boxes, novel - seen": (
            [six, _group(HEADS, "proposals", on="seen")], [_group(HEADS, "proposals"), six_seen]),
        "novel - oracle, default": ([default], [_group("default", masks="all")]),
        "novel - oracle, Hourglass-20": ([deep], [_group(DEEP, masks="all")]),
    }, metric)


def detectors_contrasts(frame: pd.DataFrame, metric: str = METRIC) -> list[Contrast]:
    """Return the contrasts of part B, in the order of the design."""
    group = _of_detector
    return _contrasts(frame, {
        "no detector, default": ([group("default")], [group("default", "mask_rcnn")]),
        "no detector, Hourglass-20": ([group(DEEP)], [group(DEEP, "mask_rcnn")]),
        "Hourglass-20 against default, no detector": ([group(DEEP)], [group("default")]),
    }, metric)


def pictures_contrasts(frame: pd.DataFrame, metric: str = METRIC) -> list[Contrast]:
    """Return the contrasts of part C, in the order of the design."""
    def group(
        head: str | Sequence[str], boxes: str = "groundtruth", weak: str = "none",
        on: str = "novel",
    ) -> Group:
        return _group(head, boxes, weak, on, None)

    both = ("default", DEEP)
    return _contrasts(frame, {
        "pictures: Hourglass-20 against default": ([group(DEEP)], [group("default")]),
        "pictures: Hourglass-20 against default, novel - seen": (
            [group(DEEP), group("default", on="seen")], [group("default"), group(DEEP, on="seen")]),
        "pictures: jitter": ([group(both, "jittered")], [group(both)]),
        "pictures: weak losses, default": ([group("default", weak=COLOUR)], [group("default")]),
        "pictures: weak losses, Hourglass-20": ([group(DEEP, weak=COLOUR)], [group(DEEP)]),
    }, metric, EVALUATED_PER_TRAINED)


def unplanned_contrasts(shapes: pd.DataFrame, detectors: pd.DataFrame) -> list[Contrast]:
    """Return contrasts of parts A and B that their results, not the design, suggested."""
    default, deep = _group("default"), _group(DEEP)
    oracle, oracle_deep = _group("default", masks="all"), _group(DEEP, masks="all")
    connected = _group("fully_connected")
    others = [head for head in HEADS if head != "fully_connected"]
    found = _contrasts(shapes, {
        "Hourglass-20 against default, masks of all classes": ([oracle_deep], [oracle]),
        "Hourglass-20 against default, novel - oracle": ([deep, oracle], [default, oracle_deep]),
        "fully connected against default, seen classes": (
            [_group("fully_connected", on="seen")], [_group("default", on="seen")]),
        "fully connected against default, masks of all classes": (
            [_group("fully_connected", masks="all")], [oracle]),
        "fully connected against default, novel - seen": (
            [connected, _group("default", on="seen")],
            [default, _group("fully_connected", on="seen")]),
        "boxes, fully connected": ([connected], [_group("fully_connected", "proposals")]),
        "boxes, the other five heads": ([_group(others)], [_group(others, "proposals")]),
        "boxes, the other five heads, novel - seen": (
            [_group(others), _group(others, "proposals", on="seen")],
            [_group(others, "proposals"), _group(others, on="seen")]),
        "no shortcuts, novel - seen": (
            [_group(f"{DEEP}_no_shortcut"), _group(DEEP, on="seen")],
            [deep, _group(f"{DEEP}_no_shortcut", on="seen")]),
    }, METRIC)
    return found + _contrasts(detectors, {
        "Hourglass-20 against default, with Mask R-CNN's detector": (
            [_of_detector(DEEP, "mask_rcnn")], [_of_detector("default", "mask_rcnn")]),
        "Hourglass-20 against default, without - with a detector": (
            [_of_detector(DEEP), _of_detector("default", "mask_rcnn")],
            [_of_detector("default"), _of_detector(DEEP, "mask_rcnn")]),
    }, METRIC)


def _of_detector(head: str, detector: str = "none") -> Group:
    return Group({"mask_head": head, "detector": detector})


class Part(NamedTuple):
    """Part of the study.

    Attributes:
        trials: Its trials, one by one.
        frame: Its trials, pooled by `load_shapes` and the like.
        contrasts: Its planned contrasts.
        mask_ap: The same of mask AP in detected boxes; empty where nothing is detected.
    """

    trials: pd.DataFrame
    frame: pd.DataFrame
    contrasts: list[Contrast]
    mask_ap: list[Contrast]


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
            detected = any(name.startswith(f"{MASK_AP}/") for name in frame)
            parts[part] = Part(
                trials, frame, contrasts(frame), contrasts(frame, MASK_AP) if detected else [])
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

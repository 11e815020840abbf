"""Growth of our costs with the size of the work: measured, and drawn as small multiples."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import bench_evaluator, bench_train_step, measuring, ours
from tests.benchmarks.bench_train_step import NUM_BATCHES
from tests.benchmarks.measuring import Commands, Run
from tests.benchmarks.settings import Setting

_SEEDS = 5
_SWEEP = """
from deepmac_ablate.sweep import Sweep, values
ARMS = values("LEARNING_RATE", *[(i + 1) / 1e5 for i in range({arms})])
SWEEP = Sweep("gin/experiments/shapes_small.gin", arms=ARMS, seeds={seeds})
"""


class Panel(NamedTuple):
    """One small plot.

    Attributes:
        name: Size that grows.
        unit: Unit of work that the costs are for.
        values: Sizes that are measured.
        power: Power of the size that the amount of work grows with.
    """

    name: str
    unit: str
    values: tuple[int, ...]
    power: int = 1


PANELS = (
    Panel("side of a picture", "training step", (128, 256, 512), 2),
    Panel("pictures in a batch", "training step", (1, 2, 4, 8)),
    Panel("mask slots in a picture", "training step", (4, 8, 16, 32)),
    Panel("classes", "training step", (91, 364, 1456)),
    Panel("detections in a picture", "evaluation", (25, 50, 100, 200)),
    Panel("trials in a sweep", "plan", (50, 200, 500)),
)
Costs = dict[Panel, list[Run]]


def measure(runs: int, folder: Path) -> Iterator[tuple[Panel, int, Run]]:
    """Yield the cost of each size."""
    prefix = ours.coco_records(folder)
    for panel in PANELS:
        for value in panel.values:
            yield panel, value, _cost(panel, value, runs, prefix)


def _cost(panel: Panel, value: int, runs: int, prefix: str) -> Run:
    if panel.name == "detections in a picture":
        return measuring.cost(functools.partial(
            bench_evaluator.build_ours, bench_evaluator.annotations_path(), detections=value), runs)
    if panel.name == "trials in a sweep":
        return _plan(value)
    base = Setting(head="hourglass20", depth=18, image_size=256, filters=64, head_width=32)
    field = {"side of a picture": "image_size", "mask slots in a picture": "slots_per_image",
             "classes": "num_classes"}.get(panel.name)
    setting = dataclasses.replace(base, **({field: value} if field else {}))
    return measuring.cost(
        functools.partial(
            bench_train_step.build_step, "ours", setting, prefix, 2 if field else value,
            # The slots themselves are to be seen, not the boxes in them.
            trim=field != "slots_per_image"), runs, NUM_BATCHES)


def _plan(trials: int) -> Run:
    """Plan trials of one architecture in arms of five seeds, with nothing cached."""

    def commands(folder: Path) -> list[list[str]]:
        sweep = folder / "sweep.py"
        sweep.write_text(_SWEEP.format(arms=trials // _SEEDS, seeds=_SEEDS))
        return [["-m", "deepmac_ablate.cli", "plan", str(sweep)]]

    return Commands(commands).run()


def draw(costs: Costs, path: Path) -> None:
    """Draw seconds and CPU seconds by size, beside a line from zero to the largest."""
    from deepmac_ablate.results.report.figures import style

    with style.applied():
        figure = style.new_figure(4.8, 8.0)
        plots = figure.subplots(2, -(-len(costs) // 2)).flat
        for axes, (panel, runs) in zip(plots, costs.items(), strict=True):
            work = [value**panel.power for value in panel.values]
            axes.plot([0, work[-1]], [0, runs[-1].seconds], ":", color=style.QUIET,
                      label="in proportion")
            axes.plot(work, [run.cpu_seconds for run in runs], "--s", color="#d55e00",
                      markersize=4, label="CPU seconds")
            axes.plot(work, [run.seconds for run in runs], "-o", color="#0072b2", markersize=4,
                      label="seconds")
            axes.set(xlim=0, ylim=0, xlabel=panel.name, title=panel.unit)
            axes.set_xticks(work, [f"{value:,}" for value in panel.values])
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120, facecolor="white")

"""Results of each arm: a marker for each seed, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import MAX_LENGTH, shorten_label
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.reference_lines import draw_references
from deepmac_ablate.results.statistics import mean_interval
from deepmac_ablate.results.tables.references import FLOOR_MARK, find_references, is_at_floor

_INCHES_PER_ARM = 0.34
_INCHES_BESIDE = 1.05
# Distance of the seeds below the mean, as a share of the row.
_BELOW = 0.26


def draw_arms(
    arms: Sequence[ArmTrials], metric: str, confidence: float = 0.95
) -> Figure | None:
    """Draw one row per arm, with a panel each for novel and seen classes, in percent.

    Both panels have the same scale. Grey lines mark floors and ceiling of mask IoU, see
    `references`, where all arms share them; names of arms at the floor end with "#".

    Args:
        arms: Arms to draw, the first on top.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        confidence: Confidence level of the intervals, in (0, 1).

    Returns:
        The figure; None if no trial of these arms has the metric.
    """
    roles = [
        role for role in style.ROLES
        if any(arm.values_by_seed(f"{metric}/{role}") for arm in arms)]
    if not roles:
        return None
    with style.applied():
        figure = style.new_figure(_INCHES_BESIDE + _INCHES_PER_ARM * len(arms))
        panels = figure.subplots(1, len(roles), sharex=True, sharey=True, squeeze=False)[0]
        shown, labels = [], _mark_floors(arms, metric, confidence)
        for panel, role in zip(panels, roles, strict=True):
            for row, arm in enumerate(arms):
                values = [100 * value for value in arm.values_by_seed(f"{metric}/{role}").values()]
                if values:
                    shown += _draw_arm(panel, row, values, role, arm.baseline, confidence)
            references = draw_references(panel, arms, metric, role)
            shown += references
            # Above the names of the references.
            panel.set_title(style.ROLE_TITLES[role], pad=16 if references else None)
            style.label_rows(panel, labels, MAX_LENGTH + len(FLOOR_MARK))
        limits = style.axis_limits(shown, (0.0, 100.0))
        panels[0].set_xlim(limits)
        style.set_x_title(figure, f"{metric_title(metric)}, {style.name_range('%', limits)}")
    return figure


def _mark_floors(arms: Sequence[ArmTrials], metric: str, confidence: float) -> list[str]:
    """Return the names of the arms, shortened, and marked if not above the floor on any classes."""
    references, labels = find_references(arms, metric), []
    for arm in arms:
        marked = any(
            is_at_floor(
                mean_interval(list(arm.values_by_seed(f"{metric}/{role}").values()), confidence),
                references, arm.label, role)
            for role in style.ROLES)
        labels.append(shorten_label(arm.label) + FLOOR_MARK * marked)
    return labels


def _draw_arm(
    panel: Axes, row: int, values: Sequence[float], role: str, baseline: bool, confidence: float
) -> list[float]:
    """Draw an arm and return the ends of what is drawn."""
    role_style = style.ROLES[role]
    interval = mean_interval(values, confidence)
    ends = [*values]
    if interval.low is not None:
        ends += [interval.low, interval.high]
        panel.plot(
            [interval.low, interval.high], [row, row], color=role_style["color"],
            gid=f"{role}-interval-{row}", **style.INTERVAL)
    panel.plot(interval.mean, row, gid=f"{role}-mean-{row}", **style.MEAN, **role_style)
    panel.plot(
        values, [row + _BELOW] * len(values), gid=f"{role}-seeds-{row}",
        **style.SEED | {"color": role_style["color"]})
    if baseline:
        panel.axvline(interval.mean, **style.BASELINE)
    return ends

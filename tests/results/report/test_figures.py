"""Figures of the report show the measured results, and their files are reproducible."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

import pytest
import scipy.stats

from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.effects.axis_effects import axis_effects
from deepmac_ablate.results.report.figures import figure_files, style
from deepmac_ablate.results.report.figures.arms_plot import draw_arms
from deepmac_ablate.results.report.figures.classes_plot import draw_classes, summarize_classes
from deepmac_ablate.results.report.figures.cost_plot import draw_cost, measure_costs, spread_labels
from deepmac_ablate.results.report.figures.curves_plot import Run, draw_curves
from deepmac_ablate.results.report.figures.differences_plot import draw_effects
from deepmac_ablate.results.report.figures.noise_plot import draw_noise
from tests.helpers import result_frames

METRIC = "groundtruth/iou"
HOSTILE = "<script>alert(1)</script> & \"$x^2$\" 'q'"
PLAIN = {"novel": [0.40, 0.44, 0.42], "seen": [0.60, 0.62, 0.58]}
DEEP = {"novel": [0.50, 0.53, 0.51], "seen": [0.61, 0.65, 0.63]}


def swept(name="deep", **fields):
    """Return results of a baseline and another arm with three seeds each."""
    of_plain, of_deep = (
        {f"{METRIC}/{classes}": values for classes, values in numbers.items()}
        for numbers in (PLAIN, DEEP))
    return result_frames.frame(
        result_frames.arm("plain", of_plain, baseline=True, **{"parameters": 10, **fields}),
        result_frames.arm(name, of_deep, **{"parameters": 30, **fields}))


def arms_of(frame):
    return group_by_arm(frame).arms


def drawn(figure):
    """Return the coordinates of lines with an id, by panel and id."""
    return [
        {line.get_gid(): (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
         for line in panel.get_lines() if line.get_gid()}
        for panel in figure.axes]


def test_seeds_means_and_intervals_of_arms():
    """Seeds, means and t intervals are in percent and agree with SciPy."""
    novel, seen = drawn(draw_arms(arms_of(swept()), METRIC))
    for panel, role in ((novel, "novel"), (seen, "seen")):
        for row, numbers in enumerate((PLAIN, DEEP)):
            values = [100 * value for value in numbers[role]]
            assert values == pytest.approx(panel[f"{role}-seeds-{row}"][0])
            mean = sum(values) / 3
            assert [mean] == pytest.approx(panel[f"{role}-mean-{row}"][0])
            low, high = scipy.stats.t.interval(0.95, 2, mean, scipy.stats.sem(values))
            assert [low, high] == pytest.approx(panel[f"{role}-interval-{row}"][0])


def test_one_seed_has_no_interval():
    """One seed is drawn as a marker and a mean without an interval."""
    frame = swept()
    [novel, _] = drawn(draw_arms(arms_of(frame[frame["seed"] == 0]), METRIC))
    assert {"novel-seeds-0", "novel-mean-0", "novel-seeds-1", "novel-mean-1"} == novel.keys()


@pytest.mark.parametrize("draw", [draw_arms, draw_cost])
def test_no_figure_without_finished_trials(draw):
    """There is no figure before a trial has finished."""
    rows = result_frames.arm("a", {}, statuses=["new"] * 3, parameters=1)
    assert draw(arms_of(result_frames.frame(rows)), METRIC) is None


def test_effects_are_in_percentage_points():
    """The effects of 0.10, 0.09 and 0.09 by seed are drawn in percentage points."""
    [panel] = drawn(draw_effects(axis_effects(swept(), METRIC).rows, METRIC))
    assert [28 / 3] == pytest.approx(panel["difference-0"][0])
    low, high = panel["interval-0"][0]
    half = scipy.stats.t.ppf(0.975, 2) * (1 / 3) ** 0.5 / 3 ** 0.5
    assert (28 / 3 - half, 28 / 3 + half) == pytest.approx((low, high))


def test_costs_are_relative_to_the_baseline():
    """Costs are relative to the baseline, in multiply-adds if all arms have them."""
    points, axis = measure_costs(arms_of(swept()), METRIC)
    assert [1.0, 3.0] == [point.cost for point in points]
    assert [42.0, 100 * sum(DEEP["novel"]) / 3] == pytest.approx(
        [point.value.mean for point in points])
    assert "parameters, baseline = 1" == axis
    [panel, _] = drawn(draw_cost(arms_of(swept()), METRIC))
    assert [3.0] == panel["arm-1"][0]
    _, axis = measure_costs(arms_of(swept(training_gmacs=5.0)), METRIC)
    assert "training multiply-adds (estimate), baseline = 1" == axis


def test_names_beside_points_keep_apart():
    """Labels keep their order, stay near their points and inside the panel."""
    heights = spread_labels([5.0, 5.1, 9.9, 0.0], 0.0, 10.0, 10.0)
    assert [5.0, 6.0, 9.5, 0.5] == pytest.approx(heights)
    crowded = spread_labels([1.0] * 4, 0.0, 10.0, 4.0)
    assert [1.25, 3.75, 6.25, 8.75] == pytest.approx(crowded)


def class_numbers(frame):
    """Return results of three classes, on which the deep arm is 0.1, 0.2 and -0.1 better."""
    trials = frame.loc[frame["status"] == "finished", "trial"]
    gain = [0.0 if trial.startswith("plain") else 1.0 for trial in trials]
    return result_frames.per_class(
        list(trials), {"ring": "novel", "star": "novel", "disc": "seen"},
        {"ring": [0.3 + 0.1 * share for share in gain],
         "star": [0.3 + 0.2 * share for share in gain],
         "disc": [0.7 - 0.1 * share for share in gain]})


def test_classes_show_differences_to_the_baseline():
    """Differences are sorted, with novel classes in a panel of their own."""
    frame = swept()
    figure = draw_classes(arms_of(frame), class_numbers(frame), METRIC)
    novel, seen = drawn(figure)
    assert [20.0, 10.0] == pytest.approx(novel["novel-0"][0])
    assert [-10.0] == pytest.approx(seen["seen-0"][0])
    assert ["star", "ring"] == [
        label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_classes_have_their_floors_and_ceiling():
    """Each class has a grey line of its row; with a baseline, at its distance from the baseline."""
    frame = swept()
    rows = class_numbers(frame)
    floors = {"ring": 0.2, "star": 0.35, "disc": 0.5}
    rows = rows.assign(iou_ellipse=rows["name"].map(floors), iou_ceiling=0.9)
    alone = [arm for arm in arms_of(frame) if not arm.baseline]
    for arms, baseline in ((arms_of(frame), {"ring": 30, "star": 30, "disc": 70}), (alone, {})):
        found = summarize_classes(arms, rows, METRIC).references
        assert {"iou_ellipse", "iou_ceiling"} == found.keys()
        assert found["iou_ellipse"] == pytest.approx(
            {name: 100 * floor - baseline.get(name, 0) for name, floor in floors.items()})
    novel, seen = drawn(draw_classes(alone, rows, METRIC))
    assert [35.0] * 3 + [20.0] * 3 == pytest.approx(novel["novel-iou_ellipse"][0])
    assert [-0.45, 0.45] == novel["novel-iou_ellipse"][1][:2]
    assert [50.0] * 3 == pytest.approx(seen["seen-iou_ellipse"][0])
    # Arms with masks of another size have another ceiling, so that there is none of all.
    other = rows["iou_ceiling"].where(rows["trial"] != rows["trial"][0], 0.8)
    several = summarize_classes(arms_of(frame), rows.assign(iou_ceiling=other), METRIC)
    assert {"iou_ellipse"} == several.references.keys()


def test_classes_without_a_baseline_show_values():
    """Without a baseline, classes show values in percent."""
    frame = swept()
    alone = [arm for arm in arms_of(frame) if not arm.baseline]
    found = summarize_classes(alone, class_numbers(frame), METRIC)
    assert {"deep": {"star": 50.0, "ring": 40.0, "disc": 60.0}} == {
        arm: pytest.approx(values) for arm, values in found.values.items()}
    assert "" == found.baseline


def titled(figure):
    """Return the visible panels of a figure by their titles."""
    return {panel.get_title(): panel for panel in figure.axes if panel.get_visible()}


def test_curves_show_what_was_noted():
    """Curves show losses, that of masks apart, and evaluations; many steps are averaged."""
    metrics = [{"step": step, "train/total_loss": float(step), "train/mask_loss": step / 4}
               for step in range(1, 301)]
    evaluations = [{"step": 100, f"{METRIC}/novel": 0.2}, {"step": 200, f"{METRIC}/novel": None},
                   {"step": 300, f"{METRIC}/novel": 0.3}]
    panels = titled(draw_curves([Run("a", metrics, evaluations)], METRIC))
    assert ["total loss", "mask loss", "novel classes"] == list(panels)
    total, mask, novel = (panel.get_lines()[0] for panel in panels.values())
    assert [step + 0.5 for step in range(1, 301, 2)] == list(total.get_ydata())
    assert [(step + 0.5) / 4 for step in range(1, 301, 2)] == list(mask.get_ydata())
    assert ([100.0, 300.0], [20.0, 30.0]) == (list(novel.get_xdata()), list(novel.get_ydata()))
    assert draw_curves([Run("a", [], evaluations[:1])], METRIC) is None


def test_a_single_loss_is_a_marker():
    """A line through one point would be an empty plot; longer lines of a loss have no markers."""
    metrics = [{"step": step, "train/total_loss": 1.0 / step} for step in (1, 2, 3)]
    figure = draw_curves([Run("a", metrics[:1], []), Run("b", metrics, [])], METRIC)
    single, line = figure.axes[0].get_lines()
    assert single.get_marker() not in (None, "None", "")
    assert line.get_marker() in (None, "None", "")
    [alone] = titled(draw_curves([Run("a", metrics[:1], [])], METRIC)).values()
    assert alone.get_lines()
    # Its axis shows whole steps from 0, not fractions of the only one.
    assert (0, True) == (alone.get_xlim()[0], all(step == int(step) for step in alone.get_xticks()))


def test_loss_axes_begin_at_0_or_are_logarithmic():
    """A loss of 1.03 does not look three times as high as one of 1.01."""
    metrics = [
        {"step": step, "train/total_loss": 1.0 + step / 100, "train/mask_loss": 10.0 ** -step}
        for step in (1, 2, 3)]
    total, mask = titled(draw_curves([Run("a", metrics, [])], METRIC)).values()
    assert (0.0, "linear") == (total.get_ylim()[0], total.get_yscale())
    assert ("log", "logarithmic axis") == (mask.get_yscale(), mask.get_ylabel())


@pytest.mark.parametrize(("values", "bounds", "expected"), [
    ([70.0, 73.0], (0.0, 100.0), (60.0, 80.0)),
    ([98.0, 99.0], (0.0, 100.0), (80.0, 100.0)),
    ([0.1, 0.4], (0.0, 100.0), (0.0, 20.0)),
    ([40.0, 95.0], (0.0, 100.0), (35.0, 100.0)),
    ([99.0, 103.0], (0.0, 100.0), (85.0, 105.0)),
    ([0.0, 3.0], (-float("inf"), float("inf")), (-10.0, 10.0)),
    ([-30.0, 41.0], (-float("inf"), float("inf")), (-35.0, 45.0)),
])
def test_axes_span_at_least_20_points(values, bounds, expected):
    """A difference of 3 points takes at most 15 % of an axis, and all values are on it."""
    assert expected == style.axis_limits(values, bounds)


def test_both_panels_of_arms_have_one_scale_and_say_it():
    """Novel and seen classes can be compared by eye."""
    figure = draw_arms(arms_of(swept()), METRIC)
    novel, seen = figure.axes
    assert novel.get_xlim() == seen.get_xlim() == (35.0, 70.0)
    assert "in % (axis from 35 to 70)" in figure.get_supxlabel()


def test_every_sign_has_one_meaning():
    """No colour or marker of an arm is that of classes, seeds or references, nor of another arm."""
    arms = style.arm_styles(map(str, range(36))).values()
    assert 36 == len({tuple(map(str, signs.values())) for signs in arms})
    for name in ("color", "marker", "linestyle"):
        others = {str(signs[name]) for _, signs in style.KEY if signs.get(name, "none") != "none"}
        assert not others & {str(signs[name]) for signs in arms}
    assert len(style.KEY) == len({str(signs) for _, signs in style.KEY})


def test_an_arm_looks_the_same_in_every_figure():
    """Its place on the page decides, not that among the arms of a figure."""
    frame = swept()
    styles = style.arm_styles(["plain", "deep"])
    alone = [arm for arm in arms_of(frame) if arm.label == "deep"]
    rows = class_numbers(frame)
    runs = [Run("deep", [{"step": step, "train/total_loss": 1.0} for step in (1, 2)], [])]
    lines = [
        draw_cost(alone, METRIC, styles).axes[0].get_lines()[0],
        draw_classes(alone, rows, METRIC, styles).axes[0].get_lines()[0],
        draw_curves(runs, METRIC, alone, styles).axes[0].get_lines()[0]]
    assert {styles["deep"]["color"]} == {line.get_color() for line in lines}


def test_box_noise_of_one_trial():
    """Both roles have panels of one scale; without jittered boxes there is no figure."""
    scores = {
        f"{METRIC}/novel": [0.7], f"{METRIC}/seen": [0.8], "jittered0.1/iou/novel": [0.5],
        "jittered0.1/iou/seen": [0.75], "jittered0.1/mask_ap/novel": [0.1]}
    trial = arms_of(result_frames.frame(result_frames.arm("a", scores, seeds=[0])))
    panels = titled(draw_noise(trial))
    for title, values in (("novel classes", [70.0, 50.0]), ("seen classes", [80.0, 75.0])):
        [line] = panels[title].get_lines()
        assert [0.0, 0.1] == list(line.get_xdata())
        assert values == pytest.approx(line.get_ydata())
    assert panels["novel classes"].get_ylim() == panels["seen classes"].get_ylim()
    plain = arms_of(result_frames.frame(result_frames.arm("a", {f"{METRIC}/novel": [0.7] * 3})))
    assert draw_noise(plain) is None


@pytest.fixture(scope="module")
def figure():
    return draw_arms(arms_of(swept(HOSTILE)), METRIC)


@pytest.mark.slow
def test_files_for_papers_are_whole_and_always_the_same(figure):
    """PDF and SVG files are complete, have no dates and are reproducible."""
    again = draw_arms(arms_of(swept(HOSTILE)), METRIC)
    assert figure_files.to_pdf(figure) == figure_files.to_pdf(again)
    assert figure_files.to_pdf(figure).startswith(b"%PDF-")
    assert figure_files.to_pdf(figure).rstrip().endswith(b"%%EOF")
    assert b"CreationDate" not in figure_files.to_pdf(figure)
    assert figure_files.to_svg(figure) == figure_files.to_svg(again)
    root = ElementTree.fromstring(figure_files.to_svg(figure))
    assert "{http://www.w3.org/2000/svg}svg" == root.tag
    # Letters are outlines.
    assert [] == list(root.iter("{http://www.w3.org/2000/svg}text"))


def test_names_of_every_script_are_in_figures(capsys):
    """Names beyond the usual font's characters make no warning; those without a font are named."""
    made = draw_arms(arms_of(swept("чашка 杯子\n☕")), METRIC)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figure_files.to_pdf(made).startswith(b"%PDF-")
        assert "чашка 杯子 ☕" in figure_files.to_inline_svg(made, "one", "arms")
    said = capsys.readouterr().err
    assert said.count("\n") == (1 if "чашка 杯子 ☕" in said else 0)


def test_a_figure_inside_a_page(figure):
    """An inline figure has unique ids, real text in the page's colour and a description."""
    one, other = (figure_files.to_inline_svg(figure, name, HOSTILE) for name in ("one", "other"))
    root = ElementTree.fromstring(one)
    assert ("svg", "img", HOSTILE) == (root.tag, root.get("role"), root.get("aria-label"))
    listed = [element.get("id") for element in root.iter() if element.get("id")]
    ids = set(listed)
    assert len(listed) == len(ids)
    assert all(name.startswith("one-") for name in ids)
    others = {element.get("id") for element in ElementTree.fromstring(other).iter()}
    assert set() == ids & others - {None}
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', one))
    assert referred
    assert referred <= ids
    texts = [element.text for element in root.iter("text")]
    # As it was written, but for its length.
    assert f"{HOSTILE[:33]}…" in texts
    assert set() == {"script", "metadata", "style"} & {element.tag for element in root.iter()}
    assert "fill: currentColor" in one
    assert one == figure_files.to_inline_svg(figure, "one", HOSTILE)
    # Ids of matplotlib are hashes of coordinates, which a second layout may change in the last bit.
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position([box.x0 + 1e-13, box.y0, box.width, box.height])
    assert one == figure_files.to_inline_svg(figure, "one", HOSTILE)

"""The report's figures: what is drawn is what was measured, and files are the same every time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import scipy.stats

from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.effects.axis_effects import axis_effects
from deepmac_ablate.results.report.figures import arms, classes, cost, curves, effects, rendering
from tests.helpers import result_frames

METRIC = "groundtruth/iou"
HOSTILE = "<script>alert(1)</script> & \"$x^2$\" 'q'"
PLAIN = {"novel": [0.40, 0.44, 0.42], "seen": [0.60, 0.62, 0.58]}
DEEP = {"novel": [0.50, 0.53, 0.51], "seen": [0.61, 0.65, 0.63]}


def swept(name="deep", **fields):
    """A baseline and another arm, three seeds each."""
    of_plain, of_deep = (
        {f"{METRIC}/{classes}": values for classes, values in numbers.items()}
        for numbers in (PLAIN, DEEP))
    return result_frames.frame(
        result_frames.arm("plain", of_plain, baseline=True, **{"parameters": 10, **fields}),
        result_frames.arm(name, of_deep, **{"parameters": 30, **fields}))


def arms_of(frame):
    return group_by_arm(frame).arms


def drawn(figure):
    """What has a name: its x and y, by panel and name."""
    return [
        {line.get_gid(): (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
         for line in panel.get_lines() if line.get_gid()}
        for panel in figure.axes]


def test_seeds_means_and_intervals_of_arms():
    """Against scipy: every seed a dot, the mean, and the t interval, in percent."""
    novel, seen = drawn(arms.draw(arms_of(swept()), METRIC))
    for panel, role in ((novel, "novel"), (seen, "seen")):
        for row, numbers in enumerate((PLAIN, DEEP)):
            values = [100 * value for value in numbers[role]]
            assert values == pytest.approx(panel[f"{role}-seeds-{row}"][0])
            mean = sum(values) / 3
            assert [mean] == pytest.approx(panel[f"{role}-mean-{row}"][0])
            low, high = scipy.stats.t.interval(0.95, 2, mean, scipy.stats.sem(values))
            assert [low, high] == pytest.approx(panel[f"{role}-interval-{row}"][0])


def test_one_seed_has_no_interval():
    """A dot and a mean, and nothing that looks like knowledge of chance."""
    frame = swept()
    [novel, _] = drawn(arms.draw(arms_of(frame[frame["seed"] == 0]), METRIC))
    assert {"novel-seeds-0", "novel-mean-0", "novel-seeds-1", "novel-mean-1"} == novel.keys()


@pytest.mark.parametrize("draw", [arms.draw, cost.draw])
def test_nothing_finished_is_no_figure(draw):
    """The page says so instead."""
    rows = result_frames.arm("a", {}, statuses=["new"] * 3, parameters=1)
    assert draw(arms_of(result_frames.frame(rows)), METRIC) is None


def test_effects_are_in_percentage_points():
    """By hand: the deep head adds 0.10, 0.09, 0.09 on novel classes, by seed."""
    [panel] = drawn(effects.draw(axis_effects(swept(), METRIC).rows, METRIC))
    assert [28 / 3] == pytest.approx(panel["effect-0"][0])
    low, high = panel["interval-0"][0]
    half = scipy.stats.t.ppf(0.975, 2) * (1 / 3) ** 0.5 / 3 ** 0.5
    assert (28 / 3 - half, 28 / 3 + half) == pytest.approx((low, high))


def test_costs_are_relative_to_the_baseline():
    """Thrice the parameters; multiply-adds win where all arms have them."""
    points, axis = cost.measure(arms_of(swept()), METRIC)
    assert [1.0, 3.0] == [point.cost for point in points]
    assert [42.0, 100 * sum(DEEP["novel"]) / 3] == pytest.approx([it.value.mean for it in points])
    assert "parameters, baseline = 1" == axis
    [panel, _] = drawn(cost.draw(arms_of(swept()), METRIC))
    assert [3.0] == panel["arm-1"][0]
    _, axis = cost.measure(arms_of(swept(training_gmacs=5.0)), METRIC)
    assert "multiply-adds of training (an estimate), baseline = 1" == axis


def test_names_beside_points_keep_apart():
    """Nearest to their points, in their order, inside the panel."""
    heights = cost.spread([5.0, 5.1, 9.9, 0.0], 0.0, 10.0, 10.0)
    assert [5.0, 6.0, 9.5, 0.5] == pytest.approx(heights)
    crowded = cost.spread([1.0] * 4, 0.0, 10.0, 4.0)
    assert [1.25, 3.75, 6.25, 8.75] == pytest.approx(crowded)


def class_numbers(frame):
    """Numbers of three classes, in which the deep arm is 0.1, 0.2 and -0.1 better."""
    trials = frame.loc[frame["status"] == "finished", "trial"]
    gain = [0.0 if it.startswith("plain") else 1.0 for it in trials]
    return result_frames.per_class(
        list(trials), {"ring": "novel", "star": "novel", "disc": "seen"},
        {"ring": [0.3 + 0.1 * it for it in gain], "star": [0.3 + 0.2 * it for it in gain],
         "disc": [0.7 - 0.1 * it for it in gain]})


def test_classes_show_differences_to_the_baseline():
    """By hand, the largest first, novel classes apart from seen ones and hollow."""
    frame = swept()
    figure = classes.draw(arms_of(frame), class_numbers(frame), METRIC)
    novel, seen = drawn(figure)
    assert [20.0, 10.0] == pytest.approx(novel["novel-0"][0])
    assert [-10.0] == pytest.approx(seen["seen-0"][0])
    assert ["star", "ring"] == [it.get_text() for it in figure.axes[0].get_yticklabels()]
    hollow = {line.get_gid(): line.get_markerfacecolor() == "none"
              for panel in figure.axes for line in panel.get_lines() if line.get_gid()}
    assert {"novel-0": True, "seen-0": False} == hollow


def test_classes_without_a_baseline_show_values():
    """An arm that is alone, or a sweep without a baseline."""
    frame = swept()
    alone = [arm for arm in arms_of(frame) if not arm.baseline]
    found = classes.measure(alone, class_numbers(frame), METRIC)
    assert {"deep": {"star": 50.0, "ring": 40.0, "disc": 60.0}} == {
        arm: pytest.approx(values) for arm, values in found.values.items()}
    assert "" == found.baseline


def test_curves_show_what_was_noted():
    """The loss and evaluations by step; many steps are averaged in order."""
    metrics = [{"step": step, "train/total_loss": float(step)} for step in range(1, 301)]
    evaluations = [{"step": 100, f"{METRIC}/novel": 0.2}, {"step": 200, f"{METRIC}/novel": None},
                   {"step": 300, f"{METRIC}/novel": 0.3}]
    figure = curves.draw([curves.Run("a", metrics, evaluations)], METRIC)
    loss, novel = (panel.get_lines()[0] for panel in figure.axes)
    assert ["loss", "novel classes"] == [panel.get_title() for panel in figure.axes]
    assert [step + 0.5 for step in range(1, 301, 2)] == list(loss.get_ydata())
    assert ([100.0, 300.0], [20.0, 30.0]) == (list(novel.get_xdata()), list(novel.get_ydata()))
    assert curves.draw([curves.Run("a", [], evaluations[:1])], METRIC) is None


@pytest.fixture(scope="module")
def figure():
    return arms.draw(arms_of(swept(HOSTILE)), METRIC)


def test_files_for_papers_are_whole_and_always_the_same(figure):
    """PDF and SVG without dates."""
    again = arms.draw(arms_of(swept(HOSTILE)), METRIC)
    assert rendering.pdf(figure) == rendering.pdf(again)
    assert rendering.pdf(figure).startswith(b"%PDF-")
    assert rendering.pdf(figure).rstrip().endswith(b"%%EOF")
    assert b"CreationDate" not in rendering.pdf(figure)
    assert rendering.svg(figure) == rendering.svg(again)
    root = ElementTree.fromstring(rendering.svg(figure))
    assert "{http://www.w3.org/2000/svg}svg" == root.tag
    # Letters are outlines.
    assert [] == list(root.iter("{http://www.w3.org/2000/svg}text"))


def test_a_figure_inside_a_page(figure):
    """Ids are its own, text is text in the page's colour, and it says what it shows."""
    one, other = (rendering.inline_svg(figure, name, HOSTILE) for name in ("one", "other"))
    root = ElementTree.fromstring(one)
    assert ("svg", "img", HOSTILE) == (root.tag, root.get("role"), root.get("aria-label"))
    listed = [it.get("id") for it in root.iter() if it.get("id")]
    ids = set(listed)
    assert len(listed) == len(ids)
    assert all(it.startswith("one-") for it in ids)
    assert set() == ids & {it.get("id") for it in ElementTree.fromstring(other).iter()} - {None}
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', one))
    assert referred
    assert referred <= ids
    texts = [it.text for it in root.iter("text")]
    # As it was written, but for its length.
    assert f"{HOSTILE[:33]}…" in texts
    assert set() == {"script", "metadata", "style"} & {it.tag for it in root.iter()}
    assert "fill: currentColor" in one
    assert one == rendering.inline_svg(figure, "one", HOSTILE)

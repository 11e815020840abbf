"""The page that `deepmac-ablate report` writes, in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from deepmac_ablate import cli, results
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.report.page import ReportOptions, render_report, write_report
from deepmac_ablate.results.report.sections import design
from tests.helpers import report_workdirs, result_workdirs
from tests.helpers.report_workdirs import Names

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
_SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run"]
_MAX_BYTES = 8_000_000

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"
HOSTILE = Names(
    sweep=f"sweep {EVIL}", heads=(f"default {EVIL}", "hourglass20"), star=f"star {EVIL}",
    cause=f"It failed: {EVIL}")


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A workdir with its report and its figures."""
    folder = tmp_path_factory.mktemp("report") / "w"
    report_workdirs.write(folder)
    figures = folder / "figures"
    assert 0 == cli.main(["report", str(folder), "--images", "2", "--figures", str(figures)])
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a sweep whose names contain HTML and scripts."""
    folder = tmp_path_factory.mktemp("hostile") / "w"
    report_workdirs.write(folder, HOSTILE)
    write_report([str(folder)], None, ReportOptions(images=6))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"There is no {CHROMIUM} to look at the page with.")
    from playwright.sync_api import sync_playwright

    with (
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=CHROMIUM, args=_SWITCHES) as started):
        yield started


@pytest.fixture
def visit(browser):
    """Open a page from its file, and record console messages, dialogs and requests."""
    contexts = []

    def opened(path, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        page.on("console", lambda message: page.trouble.append(message.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("dialog", lambda dialog: (page.trouble.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: (
            request.url.startswith("data:") or page.trouble.append(request.url)))
        page.goto(path.as_uri())
        assert [path.as_uri()] == page.trouble
        page.trouble.clear()
        return page

    yield opened
    for context in contexts:
        context.close()


def arms(page):
    return page.locator("table.sortable tbody th").all_inner_texts()


def novel(page, arm):
    """Return the mean of an arm on novel classes, as the table shows it."""
    row = page.locator("table.sortable tbody tr", has_text=arm)
    return row.locator("td").nth(1).inner_text()


def test_the_command_names_what_it_wrote(usual, capsys):
    """The command prints the paths of the page and the figures, which are reproducible."""
    page = (usual / "report.html").read_bytes()
    figures = usual / "figures"
    arguments = ["report", str(usual), "--images", "2", "--figures", str(figures)]
    assert 0 == cli.main(arguments)
    written = capsys.readouterr().out.split()
    assert str(usual / "report.html") == written[0]
    names = ("arms", "effects", "cost", "classes", "curves")
    assert {str(figures / f"{n}.{form}") for n in names for form in ("pdf", "svg")} == set(
        written[1:])
    assert page == (usual / "report.html").read_bytes()
    assert len(page) < _MAX_BYTES
    assert not list(usual.glob("*.tmp"))


def test_the_page_needs_nothing_else(usual, visit):
    """The page loads nothing else, has no errors, and all links have targets."""
    page = visit(usual / "report.html")
    for link in page.locator("nav a").all():
        assert 1 == page.locator(link.get_attribute("href")).count()
    ids = page.eval_on_selector_all("[id]", "found => found.map(element => element.id)")
    assert len(ids) == len(set(ids))
    loaded = page.eval_on_selector_all("img", "found => found.map(image => image.naturalWidth)")
    assert set(loaded) == {400}
    assert page.trouble == []


def test_it_says_what_there_is(usual, visit):
    """The page shows question, progress, results, failures and differences."""
    page = visit(usual / "report.html")
    text = page.inner_text("main")
    assert "Is it the deep mask head or the ground-truth boxes" in text
    assert "4 arms, seeds 0, 1, 2: 10 finished, 1 failed, 1 missing" in text
    assert f"1 failed: {report_workdirs.CAUSE}" in text
    assert str(usual / "trials/000000000001/logs/train-1.log") in text
    results = [json.loads((usual / f"trials/{n:012x}/result.json").read_text()) for n in (3, 4, 5)]
    mean = sum(result["groundtruth/iou/novel"] for result in results) / 3
    assert novel(page, "default+groundtruth").startswith(f"{100 * mean:.1f} ± ")
    bindings = page.locator("details", has_text="default+groundtruth").locator("tbody tr")
    assert ["Model.boxes\t'proposals'\t'groundtruth'"] == bindings.all_inner_texts()
    assert "val@0123456789ab, 10 trials" in text


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (420, 900)])
def test_the_first_screen_has_the_answer(usual, visit, width, height):
    """The largest difference with its interval, or that there is none, and a picture of it."""
    page = visit(usual / "report.html", viewport={"width": width, "height": height})
    answer = page.locator(".answer")
    # One arm failed and one is missing, so that some comparisons have two pairs of seeds only.
    assert answer.locator(".headline").inner_text().startswith("The data show no difference.")
    assert "One pair of seeds, so neither interval nor test: hourglass20+groundtruth." in (
        answer.inner_text())
    box = answer.locator("svg").bounding_box()
    assert 0 <= box["x"] < box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= height


def test_floors_and_ceiling_stay_below_the_arms(usual, visit):
    """They are rows of the table, which sorting leaves where they are."""
    page = visit(usual / "report.html")
    page.locator("th[data-kind=number] button").nth(1).click()
    names = page.locator("table.sortable tfoot th").all_inner_texts()
    assert ["floor: filled box", "floor: inscribed ellipse", "ceiling: annotation"] == names
    result = json.loads((usual / "trials/000000000003/result.json").read_text())
    cells = page.locator("table.sortable tfoot tr").nth(1).locator("td").all_inner_texts()
    assert f"{100 * result['groundtruth/iou_ellipse/novel']:.1f}" == cells[1]


def test_pictures_enlarge_and_lead_to_their_neighbours(usual, visit):
    """By click and by key; Escape and a click close, and the page has its focus back."""
    page = visit(usual / "report.html")
    second = page.locator(".cells img").nth(1)
    small = second.bounding_box()["width"]
    second.click()
    large = page.locator("dialog img")
    assert large.bounding_box()["width"] > 2 * small
    caption = page.locator("dialog p").inner_text()
    page.keyboard.press("ArrowRight")
    assert large.get_attribute("alt") == page.locator(".cells img").nth(2).get_attribute("alt")
    assert caption != page.locator("dialog p").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.locator(".cells img").nth(2).evaluate("image => image === document.activeElement")
    page.keyboard.press("Enter")
    assert large.is_visible()
    large.click()
    assert not page.locator("dialog").is_visible()
    figure = page.locator("figure.plot svg").nth(1)
    narrow = figure.bounding_box()["width"]
    figure.click()
    assert page.locator("dialog svg").bounding_box()["width"] > 1.5 * narrow
    assert page.trouble == []


def test_the_gallery_shows_one_class_or_role(usual, hostile, visit):
    """Objects of other classes and empty groups are hidden; the options say how many there are."""
    page = visit(usual / "report.html")
    objects = page.locator(".object")
    names = [name.split()[0] for name in page.locator(".object h4").all_inner_texts()]
    everything = objects.count()
    for option in page.locator("#filter option").all():
        text = option.inner_text()
        page.locator("#filter select").select_option(option.get_attribute("value"))
        shown = page.locator(".object:visible")
        if text.startswith("all "):
            assert f"all {everything} objects" == text
            assert everything == shown.count()
        else:
            assert f"({shown.count()})" in text
            assert 0 < shown.count() < everything
        if text.split()[0] in names:
            assert {text.split()[0]} == {
                name.split()[0] for name in page.locator(".object:visible h4").all_inner_texts()}
        assert all(group.locator(".object:visible").count()
                   for group in page.locator(".group:visible").all())
    evil = visit(hostile)
    evil.locator("#filter select").select_option(f"name {HOSTILE.star}")
    assert evil.locator(".object:visible").count()


def test_heads_sort_by_click_and_by_keyboard(usual, visit):
    """Column headers sort by click and key, and expose the order to screen readers."""
    page = visit(usual / "report.html")
    planned = arms(page)
    header = page.locator("th[data-kind=number]").nth(1)
    header.locator("button").click()
    column = page.locator("table.sortable tbody td:nth-child(3)")
    numbers = [float(text.split()[0]) for text in column.all_inner_texts()]
    assert sorted(numbers, reverse=True) == numbers
    assert "descending" == header.get_attribute("aria-sort")
    assert planned != arms(page)
    page.keyboard.press("Enter")
    assert "ascending" == header.get_attribute("aria-sort")
    assert sorted(numbers) == [float(text.split()[0]) for text in column.all_inner_texts()]
    page.locator("th[data-kind=name] button").focus()
    page.keyboard.press("Space")
    assert sorted(planned) == arms(page)
    assert 1 == page.locator("th[aria-sort]").count()
    assert page.trouble == []


def test_rows_without_a_number_stay_below(usual, visit):
    """Rows without a number stay last in both orders."""
    page = visit(usual / "report.html")
    button = page.locator("th[data-kind=number] button", has_text="Δ").first
    for _ in range(2):
        button.click()
        assert "default+proposals *" == arms(page)[-1]


def test_hostile_names_stay_text(hostile, visit):
    """Names with HTML and scripts remain text everywhere."""
    page = visit(hostile)
    assert 1 == page.locator("script").count()
    assert 0 == page.locator("img[src=x]").count()
    assert any(EVIL in text for text in arms(page))
    assert EVIL in page.inner_text("h1")
    assert EVIL in page.inner_text("#failures")
    descriptions = page.eval_on_selector_all("img", "found => found.map(image => image.alt)")
    assert any(EVIL in text for text in descriptions)
    drawn = page.eval_on_selector_all("svg text", "found => found.map(text => text.textContent)")
    assert any(text.startswith("default <script>alert(1)") for text in drawn)
    assert page.trouble == []


@pytest.mark.parametrize("width", [390, 420, 768])
def test_a_narrow_screen_is_not_left(usual, hostile, visit, width):
    """On narrow screens only tables scroll sideways, and pictures shrink."""
    for path in (usual / "report.html", hostile):
        page = visit(path, viewport={"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        edges = page.eval_on_selector_all(
            "img, svg, select, p, figcaption",
            "found => found.filter(each => each.checkVisibility())"
            ".map(each => each.getBoundingClientRect().right)")
        assert max(edges) <= width
        assert page.evaluate(
            "(box => box.scrollWidth > box.clientWidth)(document.querySelector('#table .scroll'))")


def luminance(colour):
    """Return the relative luminance (https://www.w3.org/TR/WCAG21/#dfn-relative-luminance)."""
    shares = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [
        share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4
        for share in shares]
    return sum(
        weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_light_and_dark(usual, visit, scheme):
    """All text has a contrast of at least 4.5 (WCAG AA) in both colour schemes."""
    page = visit(usual / "report.html", color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) < 0.1) == (scheme == "dark")
    for selector, style in (
            ("p", "color"), ("figcaption", "color"), ("nav a", "color"), ("td", "color"),
            ("svg text", "fill")):
        colour = page.eval_on_selector(selector, f"element => getComputedStyle(element).{style}")
        one, other = sorted([luminance(colour), luminance(paper)], reverse=True)
        assert (one + 0.05) / (other + 0.05) >= 4.5, selector


def test_everything_is_on_paper(usual, visit):
    """In print, details are open, headers are not sticky, and nothing is cut off."""
    page = visit(usual / "report.html", viewport={"width": 1000, "height": 1000})
    page.eval_on_selector_all("details", "found => found.forEach(each => { each.open = false; })")
    page.emulate_media(media="print")
    assert page.locator("details tbody tr").first.is_visible()
    assert "static" == page.eval_on_selector(
        "thead", "element => getComputedStyle(element).position")
    assert "visible" == page.eval_on_selector(
        ".scroll", "element => getComputedStyle(element).overflowX")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.pdf().startswith(b"%PDF-")


def test_pictures_and_figures_are_described(usual, visit):
    """All images and figures have descriptions."""
    page = visit(usual / "report.html")
    assert all(page.eval_on_selector_all("img", "found => found.map(image => image.alt)"))
    described = page.locator("figure.plot svg[role=img]")
    assert 6 == described.count()
    assert all(figure.get_attribute("aria-label").strip() for figure in described.all())


def test_a_sweep_that_has_not_started_is_a_page_too(tmp_path):
    """Before the first trial, each section says why it is empty."""
    folder = tmp_path / "w"
    workdir = report_workdirs.write(folder)
    for trial in list((folder / "trials").iterdir()):
        trial.rename(tmp_path / trial.name)
    [page] = write_report([str(workdir.path)], None, ReportOptions())
    text = Path(page).read_text()
    for sentence in (
            "12 missing", "No trial has finished yet.",
            "Nothing to draw: no trial has finished with this metric.",
            "Nothing to show: no finished trial of these arms has masks", "No trial has failed.",
            "No trial recorded its code."):
        assert sentence in text
    # What is planned can be compared before anything ran.
    assert "Deep.depth" in text


def test_another_split_changes_the_numbers(usual, tmp_path, visit):
    """Another class split changes the results and is named in the caption."""
    output = tmp_path / "page.html"
    arguments = ["report", str(usual), "--split", "star,ring", "--images", "0"]
    assert 0 == cli.main([*arguments, "--output", str(output)])
    page = visit(output)
    means = []
    for number in (3, 4, 5):
        classes = pd.read_csv(usual / f"trials/{number:012x}/per_class.csv").set_index("name")
        means.append(classes.loc[classes.index.difference(["star", "ring"]), "iou"].mean())
    assert novel(page, "default+groundtruth").startswith(f"{100 * sum(means) / 3:.1f} ± ")
    assert "Seen and novel classes are those of the split" in page.inner_text("#table")
    assert "No images were requested (--images 0)." in page.inner_text("#gallery")
    panel = page.locator("#figures svg[aria-label^='Results by class']").text_content()
    assert panel.index("disc") < panel.index("novel classes") < panel.index("star")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ReportOptions(metric="groundtruth/iuo"), "Did you mean 'groundtruth/iou'?"),
        (ReportOptions(split="vok"), "Did you mean 'voc'?"),
        (ReportOptions(data="nowhere/val"), "There is no dataset nowhere/val"),
        (ReportOptions(images=-1), "--images must be at least 0, got -1."),
    ],
)
def test_mistakes_are_named(usual, tmp_path, options, message):
    """Wrong options are errors, and no page is written."""
    output = tmp_path / "page.html"
    with pytest.raises(UserError) as error:
        write_report([str(usual)], str(output), options)
    assert message in str(error.value)
    assert not output.exists()


def test_the_page_needs_a_place(usual, tmp_path):
    """A missing folder or a server as output is an error."""
    with pytest.raises(UserError, match="Cannot write the report"):
        write_report([str(usual)], str(tmp_path / "no" / "page.html"), ReportOptions(images=0))
    with pytest.raises(UserError, match=r"wandb:a/b is not a folder .*; pass a file with --output"):
        write_report(["wandb:a/b"], None, ReportOptions())


def test_several_sweeps_share_a_page(usual, tmp_path):
    """Arms of the same name are labelled with their sweep."""
    other = report_workdirs.write(tmp_path / "w", Names(sweep="again"))
    for number in (0, 3):
        # Ids are hashes of what differs; here they are told apart by hand.
        (other.path / "trials" / f"{number:012x}").rename(tmp_path / f"trial{number}")
        text = (tmp_path / f"trial{number}" / "trial.json").read_text()
        (tmp_path / f"trial{number}" / "trial.json").write_text(
            text.replace(f"{number:012x}", f"trial{number}"))
    paths = [str(usual), str(tmp_path / "trial0"), str(tmp_path / "trial3")]
    text = render_report(paths, ReportOptions(images=0)).page
    assert "<h3>again</h3>" in text
    assert 'data-key="again/default+groundtruth"' in text
    assert 'data-key="heads_and_boxes/default+groundtruth"' in text


def test_two_runs_of_one_sweep_keep_its_question(tmp_path):
    """Two workdirs of the same sweep keep its question."""
    plan = result_workdirs.plan({"a": {"x": "1"}})
    other = plan._replace(trials=tuple(trial._replace(id="other") for trial in plan.trials))
    paths = [str(tmp_path / name) for name in "12"]
    for path, a_plan in zip(paths, (plan, other), strict=True):
        result_workdirs.write(path, a_plan)
    frame = results.load(*paths)
    found = design.sweep_designs(frame, design.read_plans(paths, frame))
    assert [("heads (1)", "?"), ("heads (2)", "?")] == [
        (each.name, each.question) for each in found]


@pytest.mark.extended
def test_pictures_come_from_the_records(tmp_path, capsys):
    """The images come from the dataset that trials or the user name; another one is an error."""
    from deepmac_ablate.data.convert_coco import convert_dataset
    from deepmac_ablate.data.shapes import scenes

    truth = report_workdirs.document()
    images = tmp_path / "images"
    images.mkdir()
    for entry in truth["images"]:
        png, _ = scenes.render_scene(report_workdirs.scene_task(entry["id"]))
        (images / entry["file_name"]).write_bytes(png)
    (tmp_path / "val.json").write_text(json.dumps(truth))
    prefix = tmp_path / "data" / "val"
    identity = convert_dataset(images, tmp_path / "val.json", prefix).info.identity
    workdir = report_workdirs.write(tmp_path / "w", truth=truth, dataset=identity)
    without = render_report([str(workdir.path)], ReportOptions(images=2)).page
    given = render_report([str(workdir.path)], ReportOptions(images=2, data=str(prefix))).page
    assert "Masks are drawn on grey" in without
    assert "Masks are drawn on grey" not in given
    assert ', annotated mask"' in given
    assert ', annotated mask"' not in without
    # The data of the trials is found from the folder of the sweep, wherever the report is written.
    capsys.readouterr()
    lost, near = (
        report_workdirs.write(tmp_path / folder, truth=truth, dataset=identity, prefix="data/val")
        for folder in ("lost", "runs/near"))
    assert 0 == cli.main(["report", str(near.path), "--images", "2"])
    assert "Masks are drawn on grey" not in (Path(near.path) / "report.html").read_text()
    assert "" == capsys.readouterr().err
    assert 0 == cli.main(["report", str(lost.path), "--images", "2"])
    assert "Masks are drawn on grey" in (Path(lost.path) / "report.html").read_text()
    assert "There is no dataset data/val" in capsys.readouterr().err
    found = report_workdirs.write(
        tmp_path / "v", truth=truth, dataset=identity, prefix=str(prefix))
    assert ', annotated mask"' in render_report([str(found.path)], ReportOptions(images=2)).page
    other = report_workdirs.write(tmp_path / "u", truth=truth)
    with pytest.raises(UserError, match=f"is {identity}, but the trials were evaluated on val@01"):
        render_report([str(other.path)], ReportOptions(images=2, data=str(prefix)))

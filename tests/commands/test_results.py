"""`deepmac-ablate table` and `effects` on workdirs, and the table at the end of a launch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate import cli, results
from deepmac_ablate.commands import launch as commands
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from tests.helpers import result_workdirs
from tests.helpers.result_frames import cells_of

RECORDED = Path(__file__).parents[1] / "golden/sweeps/recorded_a"
ARMS = {
    f"{head}+{boxes}": {"head": head, "boxes": boxes}
    for head in ("plain", "deep") for boxes in ("proposals", "groundtruth")}


@pytest.fixture
def swept(tmp_path):
    """A sweep of four arms and two seeds of which one trial is missing."""
    plan = result_workdirs.plan(ARMS, seeds=2)
    workdir = result_workdirs.write(tmp_path / "w", plan)
    for number, planned in enumerate(plan.trials[:-1]):
        folder = workdir.folder(planned.id)
        folder.mkdir(parents=True)
        scalars = result_workdirs.write_classes(folder, number)
        result_workdirs.finish(workdir, plan, planned.id, scalars)
    return workdir.path


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.slow
def test_table_reads_a_workdir(swept, capsys):
    """Its default metrics, in Markdown no wider than a terminal; other code is flagged."""
    status, out, err = run(capsys, "table", swept)
    assert (0, "") == (status, err)
    assert "### mask IoU in ground-truth boxes\n" in out
    assert "### mask AP in detected boxes\n" in out
    assert ["1/2, 1 missing"] == cells_of(out, "deep+groundtruth !")[-1]
    assert 100 >= max(map(len, out.splitlines()))


@pytest.mark.slow
def test_table_as_json_says_the_rest_on_stderr(swept, capsys):
    """The numbers are means of those in result.json."""
    _, out, err = run(
        capsys, "table", swept, "--format", "json", "--metric", "groundtruth/iou")
    arms = json.loads(out)
    results = [
        json.loads((swept / f"trials/plain+proposals-{seed}/result.json").read_text())
        for seed in (0, 1)]
    expected = sum(result["groundtruth/iou/novel"] for result in results) / 2
    assert expected == pytest.approx(arms[0]["metrics"]["groundtruth/iou"]["novel"]["mean"])
    assert ["groundtruth/iou"] == list(arms[0]["metrics"])
    assert "t interval over seeds" in err


@pytest.mark.slow
def test_table_of_another_split_is_computed_from_classes(swept, capsys):
    """Disc, which was seen, is the only novel class with a number then."""
    _, out, _ = run(
        capsys, "table", swept, "--split", "ring, 3", "--format", "json",
        "--metric", "groundtruth/iou")
    discs = [result_workdirs.tables(seed)["groundtruth"]["iou"][0] for seed in (0, 1)]
    novel = json.loads(out)[0]["metrics"]["groundtruth/iou"]["novel"]
    assert sum(discs) / 2 == pytest.approx(novel["mean"])
    _, out, _ = run(capsys, "table", swept, "--split", "ring")
    assert "- Seen and novel classes are those of the split ring; each trial was trained" in out


@pytest.mark.slow
def test_output_is_written(swept, tmp_path, capsys):
    """And its name is printed."""
    _, out, _ = run(capsys, "table", swept, "--format", "latex", "--output", tmp_path / "t.tex")
    assert f"{tmp_path}/t.tex\n" == out
    assert r"\toprule" in (tmp_path / "t.tex").read_text()


def test_a_sweep_that_has_not_begun_has_a_table(tmp_path, capsys):
    """Of what is missing, and the status is that of success."""
    workdir = result_workdirs.write(tmp_path / "w", result_workdirs.plan(ARMS))
    for command in ("table", "effects"):
        status, out, err = run(capsys, command, workdir.path)
        assert (0, "") == (status, err)
        assert "finished yet." in out


def test_effects_reads_a_workdir(swept, capsys):
    """An effect per level, on novel and on seen classes, and their interaction."""
    status, out, _ = run(capsys, "effects", swept)
    assert 0 == status
    assert "### effects on mask IoU in ground-truth boxes" in out
    assert "| head: plain -> deep " in out
    assert "| head=deep x boxes=groundtruth |" in out
    assert 100 >= max(map(len, out.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "sentence"), [
    (["table", "--metric", "detections/mask_pa"], "Did you mean 'detections/mask_ap'?"),
    (["table", "--baseline", "plain"], "There is no arm 'plain' to compare with."),
    (["table", "--confidence", "95"], "must be between 0 and 1, such as 0.95, got 95."),
    (["table", "--split", "voc2"], "Unknown class split 'voc2'. Did you mean 'voc'?"),
    (["table", "--split", "ring,disk"], "names class 'disk', which the dataset lacks."),
    (["table", "--output", "/nowhere/t.md"], "Cannot write /nowhere/t.md: "),
    (["effects", "--metric", "iou"], "No trial has a metric 'iou'."),
])
def test_mistakes_are_named(swept, capsys, arguments, sentence):
    """In one sentence, with status 2 and nothing on stdout."""
    status, out, err = run(capsys, arguments[0], swept, *arguments[1:])
    assert (2, "") == (status, out)
    assert sentence in err
    assert 1 == len(err.splitlines())


def test_the_table_after_a_launch_is_of_its_plan(swept):
    """Trials of an earlier launch are left out, and missing ones are listed."""
    plan = result_workdirs.plan(dict(list(ARMS.items())[-2:]), seeds=3)
    workdir = SweepWorkdir(swept)
    workdir.write_plan(plan)
    shown = commands.results_text(workdir, plan)
    assert "plain+proposals" not in shown
    assert ["2/3, 1 missing"] == cells_of(shown, "deep+proposals ! *")[-1]
    assert "*: baseline" in shown


@pytest.mark.slow
def test_after_a_launch_masks_in_groundtruth_boxes_stand_beside_the_detector():
    """Of a recorded sweep: IoU and AP in ground-truth boxes, AP of detected masks and boxes."""
    workdir = SweepWorkdir(RECORDED)
    shown = commands.results_text(workdir, workdir.read_plan())
    assert [
        "mask IoU in ground-truth boxes", "mask AP in ground-truth boxes",
        "mask AP in detected boxes", "box AP in detected boxes",
    ] == re.findall("^### (.* boxes)$", shown, re.MULTILINE)
    frame = results.load(RECORDED)
    mean = frame.groupby("arm", sort=False)["groundtruth/mask_ap/novel"].mean()
    of_ap = shown.partition("### mask AP in ground-truth boxes")[2]
    # Long labels are numbered, in order.
    assert f"{100 * mean.iloc[0]:.1f} " in cells_of(of_ap, "1")[0][0]


def test_other_commands_do_not_wait_for_pandas():
    """Nor does the command line itself."""
    code = "import sys, deepmac_ablate.cli; print({'pandas', 'scipy'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "set()" == run.stdout.strip()


@pytest.mark.slow
def test_an_axis_may_be_pooled(capsys):
    """Levels leave the labels of arms; a note says so, and what is not there is named."""
    status, out, _ = run(capsys, "effects", RECORDED, "--pool", "masks_of", "--format", "json")
    assert 0 == status
    assert "masks_of" not in out
    assert "mask_head" in out
    status, out, _ = run(capsys, "table", RECORDED, "--pool", "masks_of=shapes_a")
    assert "shapes_a" not in out.partition("Pooled over")[0]
    assert ("Pooled over masks_of=shapes_a: trials with the same seed count as one, their mean." in
            " ".join(out.split()))
    for wrong, message in (
            ("mask", "The results have no axis 'mask'. Did you mean 'masks_of'?"),
            ("masks_of=shapes_c", "masks_of has no level 'shapes_c'. Did you mean 'shapes_a'?")):
        status, _, err = run(capsys, "table", RECORDED, "--pool", wrong)
        assert 2 == status
        assert message in err


@pytest.mark.slow
def test_a_file_of_rows_takes_the_place_of_a_workdir(tmp_path, capsys):
    """Means are the same; what needs results by class is said, and a comparison refused."""
    rows = tmp_path / "rows.csv"
    assert 0 == run(capsys, "rows", RECORDED, "--output", rows)[0]
    tables = [json.loads(run(capsys, "table", source, "--format", "json")[1])
              for source in (RECORDED, rows)]
    means = [[row["metrics"]["groundtruth/iou"]["seen"]["mean"] for row in table]
             for table in tables]
    assert 6 == len(means[0])
    assert means[0] == pytest.approx(means[1])
    note = "Results by class are not available, so arms are compared as if all had the same novel"
    shown = [" ".join(run(capsys, "table", source)[1].split()) for source in (RECORDED, rows)]
    assert [False, True] == [note in each for each in shown]
    arms = ("default+proposals+shapes_a", "hourglass20+proposals+shapes_a")
    status, _, err = run(capsys, "compare", rows, *arms)
    assert 2 == status
    assert "a comparison needs the workdir itself, not only its numbers." in err
    status, _, err = run(capsys, "report", rows, "--output", tmp_path / "r.html")
    assert (0, False) == (status, "left out" in err)

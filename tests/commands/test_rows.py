"""`deepmac-ablate rows`: raw numbers for other programs, from a recorded sweep."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from deepmac_ablate import cli, results

RECORDED = Path(__file__).parents[1] / "golden/sweeps/recorded_b"


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = cli.main(["rows", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def table(capsys, *arguments) -> pd.DataFrame:
    status, out, err = run(capsys, *arguments)
    assert (0, "") == (status, err)
    return pd.read_csv(io.StringIO(out), keep_default_na=False, na_values=[""])


def test_a_trial_is_a_row_with_every_metric(capsys):
    """The numbers are those of result.json, for each arm and seed."""
    rows = table(capsys, RECORDED)
    assert [(arm, seed) for arm in ("default", "hourglass20") for seed in range(3)] == list(
        zip(rows["arm"], rows["seed"], strict=True))
    for row in rows.to_dict("records"):
        result = json.loads((RECORDED / f"trials/{row['trial']}/result.json").read_text())
        numbers = {name: value for name, value in result.items() if name.count("/") == 2}
        assert len(numbers) > 50
        assert numbers == {
            name: None if pd.isna(row[name]) else row[name] for name in numbers}


def test_an_object_is_a_row_of_each_trial(capsys):
    """Each object of instances.csv.gz has its trial's arm and seed, and its class's role."""
    rows = table(capsys, RECORDED, "--per", "object")
    total = 0
    for trial, of_trial in rows.groupby("trial"):
        folder = RECORDED / "trials" / trial
        content = pd.read_csv(io.BytesIO(gzip.decompress(
            (folder / "instances.csv.gz").read_bytes())))
        content = content[content["reading"] == "groundtruth"].set_index("annotation_id")
        found = of_trial.set_index("annotation_id")
        for column in ("image_id", "category_id", "iou", "boundary_iou"):
            pd.testing.assert_series_equal(
                content[column].sort_index(), found[column].sort_index(), check_dtype=False)
        roles = pd.read_csv(folder / "per_class.csv").drop_duplicates("category_id")
        expected = roles.set_index("category_id")["role"].loc[found["category_id"]]
        assert list(expected) == list(found["role"])
        assert 1 == len(set(of_trial["seed"])) == len(set(of_trial["arm"]))
        total += len(content)
    assert total == len(rows)
    # The mean over classes of the means over objects is the trial's metric.
    trial = results.load(RECORDED).iloc[0]
    of_first = rows[(rows["trial"] == trial["trial"]) & (rows["role"] == "novel")]
    assert trial["groundtruth/iou/novel"] == pytest.approx(
        of_first.groupby("name")["iou"].mean().mean())


def test_an_image_has_means_of_its_objects(capsys):
    """By role and over all objects."""
    objects = table(capsys, RECORDED, "--per", "object")
    images = table(capsys, RECORDED, "--per", "image")
    image = images[(images["trial"] == images["trial"][0]) & (images["image_id"] == 1)]
    of_image = objects[(objects["trial"] == images["trial"][0]) & (objects["image_id"] == 1)]
    for role, mean, number in zip(image["role"], image["iou"], image["instances"], strict=True):
        of_role = of_image if role == "all" else of_image[of_image["role"] == role]
        assert (len(of_role), of_role["iou"].mean()) == (number, pytest.approx(mean))
    assert {"all", *of_image["role"]} == set(image["role"])
    assert len(objects) == images[images["role"] == "all"]["instances"].sum()


def test_a_class_is_a_row_and_a_split_changes_its_role(capsys):
    """The rows are those of per_class.csv; `--split` names the seen classes."""
    rows = table(capsys, RECORDED, "--per", "class", "--split", "disc")
    assert {("disc", "seen")} == {
        (name, role) for name, role in zip(rows["name"], rows["role"], strict=True)
        if role == "seen"}
    first = pd.read_csv(RECORDED / "trials" / rows["trial"][0] / "per_class.csv")
    assert list(first["iou"].dropna()) == list(
        rows[rows["trial"] == rows["trial"][0]]["iou"].dropna())
    objects = table(capsys, RECORDED, "--per", "object", "--split", "disc")
    assert {"disc"} == set(objects[objects["role"] == "seen"]["name"])


def test_json_has_null_for_missing_numbers(capsys):
    """A list of one object per row."""
    _, out, _ = run(capsys, RECORDED, "--per", "class", "--format", "json")
    rows = json.loads(out)
    assert len(table(capsys, RECORDED, "--per", "class")) == len(rows)
    assert {"sweep", "arm", "seed", "trial", "reading", "name", "iou"} <= rows[0].keys()
    assert rows[0]["iou"] is None


def test_trials_without_the_file_are_counted(tmp_path, capsys):
    """A broken file is named, and a trial without the file is counted; the others remain."""
    workdir = tmp_path / "w"
    shutil.copytree(RECORDED, workdir)
    first, second, *others = sorted((workdir / "trials").iterdir())
    (first / "instances.csv.gz").unlink()
    (second / "instances.csv.gz").write_bytes(b"x")
    (second / "per_class.csv").unlink()
    status, out, err = run(capsys, workdir, "--per", "object")
    assert 0 == status
    assert {other.name for other in others} == set(pd.read_csv(io.StringIO(out))["trial"])
    assert f"Left out by object: {second}/instances.csv.gz is broken" in err
    assert "1 of 6 finished trials has no instances.csv.gz." in err
    status, out, err = run(capsys, workdir, "--per", "class")
    assert 0 == status
    assert 5 == pd.read_csv(io.StringIO(out))["trial"].nunique()
    assert "Left out by class: 1 of 6 finished trials has no readable per_class.csv." in err


def test_names_of_others_do_not_run_as_formulas(tmp_path, capsys):
    """Class names that spreadsheets would run get an apostrophe, unless --raw-cells is given."""
    workdir = tmp_path / "w"
    shutil.copytree(RECORDED, workdir)
    for path in workdir.glob("trials/*/per_class.csv"):
        path.write_text(path.read_text().replace(",disc,", ",=1+1,"))
    assert "'=1+1" in set(table(capsys, workdir, "--per", "object")["name"])
    assert "=1+1" in set(table(capsys, workdir, "--per", "object", "--raw-cells")["name"])
    status, _, err = run(capsys, workdir, "--raw-cells", "--format", "json")
    assert (2, "deepmac-ablate: --raw-cells is for --format csv, got --format json.\n") == (
        status, err)

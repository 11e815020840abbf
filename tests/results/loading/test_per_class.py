"""Metrics by class: read from all trials, added to the frame, and averaged by other splits."""

from __future__ import annotations

import gzip
import json
import math

import pandas as pd
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from deepmac_ablate import class_splits, results
from deepmac_ablate.data.dataset_info import Category, annotations_path
from deepmac_ablate.errors import BrokenFileWarning, UserError
from deepmac_ablate.evaluation.metrics import summary
from deepmac_ablate.results import columns
from tests.helpers import result_workdirs
from tests.helpers.result_workdirs import CLASSES

SPLITS = ("all", "none", ["disc", "None"], [2], "random-2-seed-0")

HEADER = "reading,category_id,name,role,instances,iou\n"


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Two finished trials with metrics by class, one without, and a new one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    a_plan = result_workdirs.plan({"a": {"x": "1"}}, seeds=4)
    workdir = result_workdirs.write(tmp_path / "w", a_plan)
    for seed in range(3):
        workdir.folder(f"a-{seed}").mkdir(parents=True)
        scalars = result_workdirs.write_classes(workdir.folder(f"a-{seed}"), seed)
        result_workdirs.finish(workdir, a_plan, f"a-{seed}", scalars)
    (workdir.folder("a-2") / "per_class.csv").unlink()
    return workdir


def numbers(frame: pd.DataFrame, trial: str) -> dict[str, float | None]:
    """The metrics of a trial, with None for missing ones."""
    [row] = frame.loc[frame["trial"] == trial, columns.metrics(frame)].to_dict("records")
    return {name: None if value is pd.NA else value for name, value in row.items()}


def test_every_class_of_every_box_source_is_a_row(sweep):
    """Rows have exactly the values that were written; a class may be called "None"."""
    long = results.per_class(results.load(sweep.path))
    assert ["trial", "reading", "category_id", "name", "role", "instances"] == list(long)[:6]
    assert ["Int64", "Int64"] + ["Float64"] * 4 == [
        str(long[name].dtype) for name in ["category_id", "instances", *list(long)[6:]]]
    assert {"a-0", "a-1"} == set(long["trial"])
    for seed in (0, 1):
        for reading, table in result_workdirs.tables(seed).items():
            rows = long[(long["trial"] == f"a-{seed}") & (long["reading"] == reading)]
            assert list(CLASSES.values()) == list(rows["name"])
            for name in table.columns:
                expected = [None if value != value else value for value in table[name]]
                assert expected == [None if value is pd.NA else value for value in rows[name]]
            assert rows[list(set(list(long)[6:]) - set(table))].isna().all(axis=None)


def test_nothing_finished_has_no_rows(tmp_path):
    """Without finished trials the frame is empty but has the fixed columns."""
    result_workdirs.write(tmp_path, result_workdirs.plan({"a": {}}))
    long = results.per_class(results.load(tmp_path))
    assert (0, "string", "Int64") == (len(long), str(long["name"].dtype),
                                      str(long["instances"].dtype))


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_another_split_agrees_with_an_evaluation_by_it(sweep, split):
    """Means over classes and instances are those of an evaluation with the split."""
    frame = results.load(sweep.path)
    other = results.with_split(frame, split)
    assert list(other) == list(frame)
    assert dict(other.dtypes) == dict(frame.dtypes)
    roles = class_splits.roles(split, [
        Category(class_id, name) for class_id, name in CLASSES.items()])
    for seed in (0, 1):
        expected: dict[str, float | None] = {}
        for reading, table in result_workdirs.tables(seed, roles).items():
            expected |= summary.mean_scalars(reading, table)
        found = numbers(other, f"a-{seed}")
        assert [name for name in expected if expected[name] is None] == [
            name for name in expected if found[name] is None]
        assert expected.keys() == found.keys()
        defined = {name: value for name, value in expected.items() if value is not None}
        assert {name: found[name] for name in defined} == pytest.approx(defined, rel=1e-14)
    without = numbers(other, "a-2")
    assert {None} == {value for name, value in without.items() if not name.endswith("/all")}
    assert numbers(frame, "a-2")["groundtruth/iou/all"] == without["groundtruth/iou/all"]
    assert {None} == set(numbers(other, "a-3").values())


def test_means_by_hand(sweep):
    """Means over classes weight 10 discs and 30 rings equally, means over instances do not."""
    frame = results.load(sweep.path)
    disc, ring = result_workdirs.tables(0)["groundtruth"]["iou"][:2]
    found = numbers(results.with_split(frame, "all"), "a-0")
    assert math.isclose((disc + ring) / 2, found["groundtruth/iou/seen"])
    assert math.isclose((disc + 3 * ring) / 4, found["groundtruth/iou_instances/seen"])
    assert found["groundtruth/iou/novel"] is None
    swapped = numbers(results.with_split(frame, ["ring"]), "a-0")
    assert (ring, disc) == (swapped["groundtruth/iou/seen"], swapped["groundtruth/iou/novel"])


def test_a_split_that_does_not_fit_is_refused(sweep):
    """A split that names an unknown class is refused with a suggestion."""
    with pytest.raises(UserError, match=r"names class 'rink'.*Did you mean 'ring'"):
        results.with_split(results.load(sweep.path), ["rink"])


def test_metrics_of_single_classes_can_be_added(sweep):
    """Columns of single classes are named by the class, and missing if a trial has no such file."""
    frame = results.load(sweep.path, per_class=["groundtruth/iou", "detections/mask_ap"])
    names = [name for name in columns.metrics(frame) if "/class:" in name]
    assert names == [f"{number}/class:{name}" for number in ("detections/mask_ap",
                     "groundtruth/iou") for name in ("None", "disc", "ring")]
    table = result_workdirs.tables(1)["groundtruth"]
    assert list(table["iou"][:2]) == [
        numbers(frame, "a-1")[f"groundtruth/iou/class:{name}"] for name in ("disc", "ring")]
    assert {None} == {numbers(frame, "a-2")[name] for name in names}
    assert columns.metrics(frame) == sorted(columns.metrics(frame))
    assert {"Float64"} == {str(frame[name].dtype) for name in names}


def test_classes_with_the_same_name_are_shown_with_their_ids(sweep):
    """Two classes with the same name get their ids added."""
    path = sweep.folder("a-0") / "per_class.csv"
    path.write_text(path.read_text().replace("ring", "disc"))
    (sweep.folder("a-1") / "per_class.csv").unlink()
    frame = results.load(sweep.path, per_class=["groundtruth/iou"])
    names = [name for name in columns.metrics(frame) if "/class:" in name]
    assert names == [
        f"groundtruth/iou/class:{name}" for name in ("None", "disc (1)", "disc (2)")]


@pytest.mark.parametrize("number", ["groundtruth/iuo", "detections/iou", "iou"])
def test_metrics_that_no_trial_has_by_class_are_refused(sweep, number):
    """The message about an unknown metric lists the known ones."""
    with pytest.raises(UserError, match=rf"No trial has '{number}' by class\..*Known are .*"
                       "detections/mask_ap, .*groundtruth/iou, groundtruth/mask_ap"):
        results.load(sweep.path, per_class=[number])


def test_metrics_by_class_are_not_required_before_trials_finish(tmp_path):
    """A sweep without any metrics by class loads without an error."""
    result_workdirs.write(tmp_path, result_workdirs.plan({"a": {}}))
    frame = results.load(tmp_path, per_class=["groundtruth/iou"])
    assert (1, []) == (len(frame), columns.metrics(frame))


def test_files_with_different_columns_keep_the_order_of_trials(sweep):
    """Files with different columns are joined in the order of their trials."""
    folder = sweep.folder("a-1")
    text = (folder / "per_class.csv").read_text()
    (sweep.folder("a-2") / "per_class.csv").write_text(text)
    (folder / "per_class.csv").write_text(text.replace("mask_ap50", "mask_ap75"))
    long = results.per_class(results.load(sweep.path))
    assert ["a-0"] * 6 + ["a-1"] * 6 + ["a-2"] * 6 == list(long["trial"])
    assert list(range(18)) == list(long.index)
    defined = [long.loc[long["trial"] == f"a-{seed}", "mask_ap75"].notna().any()
               for seed in range(3)]
    assert [False, True, False] == defined


def test_a_class_may_have_a_line_break_in_its_name(sweep):
    """A class name with a line break does not mix up the rows of trials."""
    before = results.per_class(results.load(sweep.path))
    path = sweep.folder("a-0") / "per_class.csv"
    path.write_text(path.read_text().replace("ring", '"ri\nng"'))
    after = results.per_class(results.load(sweep.path))
    assert ["disc", "ri\nng", "None"] * 2 + ["disc", "ring", "None"] * 2 == list(after["name"])
    pd.testing.assert_frame_equal(before.drop(columns="name"), after.drop(columns="name"))


@pytest.mark.parametrize(("content", "reason"), [
    ("", "it has no column 'reading'"),
    ("reading,category_id,name,role,instances,iou\na,1,b,seen,1,0.", "its last line is incomplete"),
    ("reading,category_id,name,role,instances,iou\na,1,b,seen,1,x\n", "float: 'x'"),
    ("reading,category_id,name,role,instances,iou\na,,b,seen,1,0.5\n", "it is not a table"),
    ("reading,category_id,name,role\na,1,b,seen\n", "it has no column 'instances'"),
    (f"{HEADER}a,1,b,seen,1,-1\n", "iou must be from 0 to 1, got -1"),
    (f"{HEADER}a,1,b,seen,1,inf\n", "iou must be from 0 to 1, got inf"),
    (f"{HEADER}a,1,b,seen,-1,0.5\n", "instances must be at least 0, got -1"),
    (f"{HEADER}a,1,b,new,1,0.5\n", "role must be seen or novel, got 'new'"),
    (f"{HEADER}a,1,b,seen,1,0.5\na,1,b,seen,1,0.5\n", "class 1 appears twice"),
    (f"{HEADER}a,1,b,seen,1,0.5,6\n", "it is not a table of metrics"),
])
def test_a_broken_table_costs_only_its_own_trial(sweep, content, reason):
    """A warning names a broken per_class.csv and the reason; the other trials' rows stay."""
    before = results.per_class(results.load(sweep.path))
    (sweep.folder("a-1") / "per_class.csv").write_text(content)
    with pytest.warns(BrokenFileWarning, match=rf"a-1/per_class\.csv is broken: .*{reason}"):
        after = results.per_class(results.load(sweep.path))
    others = before[before["trial"] != "a-1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, after)


@pytest.mark.slow
def test_ap_of_another_split_agrees_with_pycocotools(finished):
    """AP under another split equals that of pycocotools on the masks of a real trial."""
    split = [2, 3, 5, 8, 11]
    folder = finished.workdir.path
    loaded = results.with_split(results.load(folder), split)
    truth = COCO(str(annotations_path(str(finished.recipe.data / "val"))))
    masks = json.loads(gzip.decompress((folder / "masks.json.gz").read_bytes()))
    reference = COCOeval(truth, truth.loadRes(masks), "segm")
    for classes, ids in (("seen", split), ("novel", [i for i in range(1, 13) if i not in split])):
        reference.params.catIds = ids
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
        for metric, place in (("ap", 0), ("ap50", 1), ("ar100", 8)):
            found = loaded[f"groundtruth/mask_{metric}/{classes}"].item()
            assert reference.stats[place] == pytest.approx(found, abs=1e-6)
    assert not results.load(folder)["groundtruth/mask_ap/novel"].equals(
        loaded["groundtruth/mask_ap/novel"])

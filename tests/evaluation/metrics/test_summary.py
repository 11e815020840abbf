"""The stored form of the scores."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from deepmac_ablate.evaluation.metrics import summary

ROLES = {1: "seen", 2: "novel", 3: "novel"}


def table(**columns):
    """Return a per-class table of three classes as the metrics give it."""
    columns = {"name": ["a", "b", "c"], "instances": [10, 30, 0], **columns}
    return pd.DataFrame(columns, index=pd.Index([1, 2, 3], name="category_id"))


def test_frame_has_one_row_per_class_and_each_column_once():
    """Tables of a box source stand side by side after id, name, role and instances."""
    mask, box = table(mask_ap=[0.4, 0.2, np.nan]), table(box_ap=[0.5, 0.3, np.nan])
    frame = summary.per_class_frame(ROLES, mask, box)
    expected = ["category_id", "name", "role", "instances", "mask_ap", "box_ap"]
    assert expected == list(frame.columns)
    assert list(frame.loc[1]) == [2, "b", "novel", 30, 0.2, 0.3]
    assert len(frame) == 3


def test_frame_survives_csv(tmp_path):
    """A frame written as CSV reads back equal."""
    frame = summary.per_class_frame(ROLES, table(mask_ap=[0.4, 0.2, np.nan]))
    frame.to_csv(tmp_path / "per_class.csv", index=False)
    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "per_class.csv"))


def test_scalars_are_means_over_seen_novel_and_all():
    """Undefined classes do not count; names consist of box source, metric and classes."""
    frame = summary.per_class_frame(ROLES, table(mask_ap=[0.4, 0.2, np.nan]))
    expected = {
        "detections/mask_ap/seen": 0.4,
        "detections/mask_ap/novel": 0.2,
        "detections/mask_ap/all": pytest.approx(0.3),
    }
    assert expected == summary.mean_scalars("detections", frame)


def test_iou_has_a_mean_over_classes_and_one_over_instances():
    """`iou` weighs classes alike as AP does; `iou_instances` weighs instances alike."""
    frame = summary.per_class_frame(ROLES, table(iou=[0.8, 0.4, np.nan]))
    actual = summary.mean_scalars("groundtruth", frame)
    assert pytest.approx(0.6) == actual["groundtruth/iou/all"]
    assert pytest.approx((10 * 0.8 + 30 * 0.4) / 40) == actual["groundtruth/iou_instances/all"]


def test_agnostic_recall_is_a_mean_over_instances():
    """Class-agnostic recall has only a mean over instances, under its own name."""
    frame = summary.per_class_frame(ROLES, table(mask_ar100_agnostic=[0.8, 0.4, np.nan]))
    assert summary.mean_scalars("detections", frame) == {
        "detections/mask_ar100_agnostic/seen": pytest.approx(0.8),
        "detections/mask_ar100_agnostic/novel": pytest.approx(0.4),
        "detections/mask_ar100_agnostic/all": pytest.approx((10 * 0.8 + 30 * 0.4) / 40),
    }


def test_columns_of_the_printed_table_are_aligned():
    """Long names of box sources and metrics shift the numbers of all rows."""
    text = summary.table_text({
        "detections/ap/seen": 0.5, "jittered0.1-shrink_symmetric/mask_ar100_agnostic/seen": 0.25})
    header, short, long = text.splitlines()
    assert header.index("seen") + 4 == short.index("50.0") + 4 == long.index("25.0") + 4


def test_undefined_scalars_are_none_and_json_is_strict():
    """Without novel classes, the novel scalars exist and are null, not NaN."""
    frame = summary.per_class_frame(dict.fromkeys(ROLES, "seen"), table(iou=[0.8, 0.4, np.nan]))
    actual = summary.mean_scalars("groundtruth", frame)
    assert actual["groundtruth/iou/novel"] is None
    assert actual["groundtruth/iou_instances/novel"] is None
    assert actual == json.loads(json.dumps(actual, allow_nan=False))
    assert {float, type(None)} == {type(value) for value in actual.values()}


@pytest.mark.parametrize(
    ("box_sources", "noise", "mode", "expected"),
    [
        ([], [], None, []),
        (["detections"], [], None, ["detections"]),
        ([], [0.1, 0.4], None, ["groundtruth", "jittered0.1", "jittered0.4"]),
        (["groundtruth", "detections"], [0.1], "expand",
         ["groundtruth", "detections", "jittered0.1-expand"]),
    ],
)
def test_jittered_boxes_come_with_the_ground_truth_boxes(box_sources, noise, mode, expected):
    """Ground-truth boxes are added unless given; without options, the list is empty."""
    assert expected == summary.requested_box_sources(box_sources, noise, mode)

"""The best level of an axis is chosen on seen classes, and tables say so."""

from __future__ import annotations

import pandas as pd
import pytest

from deepmac_ablate import cli, results
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.tables.arm_table import arm_table
from deepmac_ablate.results.tables.table_rendering import render_table
from tests.helpers import result_workdirs
from tests.helpers.result_frames import arm, frame, per_class

IOU = "groundtruth/iou"


def numbers(seen: float, novel: float, seeds: int = 3) -> dict[str, list[float]]:
    """Return values by seed around two means."""
    spread = (0.0, 0.01, -0.01)[:seeds]
    return {f"{IOU}/seen": [seen + each for each in spread],
            f"{IOU}/novel": [novel + each for each in spread]}


def level(head: str, rate: str) -> dict[str, str]:
    return {"head": head, "rate": rate}


# On novel classes, the other rate of each head would be the best one.
FRAME = frame(
    arm("fc+.1", numbers(0.5, 0.6), level("fc", ".1"), baseline=True),
    arm("fc+.01", numbers(0.6, 0.4), level("fc", ".01")),
    arm("fc+.001", {}, level("fc", ".001"), ["running"] * 3),
    arm("hg+.1", numbers(0.7, 0.5), level("hg", ".1")),
    arm("hg+.01", numbers(0.6, 0.7), level("hg", ".01"), ["finished"] * 2 + ["failed"]))


@pytest.mark.slow
def test_the_choice_is_made_on_seen_classes() -> None:
    """One arm a head is left; that of the baseline's head is the baseline of the differences."""
    best = results.best_levels(FRAME, "rate")
    assert {"fc+.01", "hg+.1"} == best.kept
    table = arm_table(FRAME, [IOU], best=best)
    rows = {row.arm.label: row for row in table.rows}
    assert ["fc+.01", "hg+.1"] == list(rows)
    assert (True, "fc+.01") == (rows["fc+.01"].baseline, rows["hg+.1"].against)
    assert pytest.approx(0.1) == rows["hg+.1"].scores[IOU].novel.difference.mean
    # One difference each on novel and seen classes.
    assert 2 == table.comparisons
    caption = " ".join(render_table(table).caption)
    assert "Each row is the level of rate with the highest groundtruth/iou on seen" in caption
    assert "2 of 5 arms" in caption
    assert "for want of finished trials: fc+.001." in caption
    assert "Compared with fewer seeds than others: hg+.01." in caption


@pytest.mark.parametrize(("axis", "metric", "message"), [
    ("rates", IOU, "There is no axis 'rates' to choose from. Did you mean 'rate'? Axes are head, "),
    ("rate", f"{IOU}/novel", "The best level of an axis is chosen on seen classes: write"),
    ("rate", "detections/mask_ap", "No finished trial has detections/mask_ap/seen, so that no"),
])
def test_what_cannot_be_chosen_is_refused(axis: str, metric: str, message: str) -> None:
    """A choice on novel classes is no option."""
    with pytest.raises(UserError) as raised:
        results.best_levels(FRAME, axis, metric)
    assert message in str(raised.value)


def test_levels_with_other_seen_classes_are_refused() -> None:
    """Their values on seen classes are of different classes."""
    rows = [per_class([f"{label}-{seed}" for seed in range(3)],
                      {"a": "seen", "b": role}, {"a": [0.5] * 3, "b": [0.5] * 3})
            for label, role in (("fc+.1", "novel"), ("fc+.01", "seen"))]
    with pytest.raises(UserError, match="levels of rate have different seen classes"):
        results.best_levels(FRAME, "rate", IOU, pd.concat(rows, ignore_index=True))


def test_the_command_shows_the_best_levels(tmp_path, capsys) -> None:
    """`--best-of` limits the table; `--best-by` alone has no effect and is refused."""
    plan = result_workdirs.plan({"a": {"rate": ".1"}, "b": {"rate": ".01"}})
    workdir = result_workdirs.write(tmp_path, plan)
    for label, seen in (("a", 0.5), ("b", 0.6)):
        for trial in (each for each in plan.trials if each.trial.arm == label):
            result_workdirs.finish(
                workdir, plan, trial.id, {f"{IOU}/seen": seen, f"{IOU}/novel": 0.4})
    assert 0 == cli.main(["table", str(workdir.path), "--best-of", "rate"])
    out = capsys.readouterr().out
    assert ("| b " in out, "| a " in out) == (True, False)
    assert 2 == cli.main(["table", str(workdir.path), "--best-by", IOU])
    assert "--best-by has no effect without --best-of." in capsys.readouterr().err

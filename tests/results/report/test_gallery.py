"""Which objects the gallery shows, and how their surroundings are cut out and drawn."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepmac_ablate.data import masks
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.loading import load as records
from deepmac_ablate.results.report import evaluation_artifacts, gallery
from deepmac_ablate.results.report import gallery as crops
from deepmac_ablate.results.report import gallery as selection
from deepmac_ablate.results.report.sections import gallery as exhibition
from tests.helpers import report_workdirs, result_frames

# IoU in arms a, b and c, by annotation.
IOUS = {
    1: ("novel", [0.5, 0.6, 0.5]), 2: ("novel", [0.1, 0.9, 0.5]), 3: ("novel", [0.2, 0.2, 0.3]),
    4: ("seen", [0.0, 1.0, 0.0]), 5: ("seen", [0.1, 0.1, 0.1]), 6: ("novel", [0.8, 0.1, 0.8])}


def instances():
    rows = [
        {"arm": arm, "annotation_id": key, "image_id": 10 + key, "category_id": 1, "name": "ring",
         "role": role, "iou": iou}
        for key, (role, ious) in IOUS.items() for arm, iou in zip("abc", ious, strict=True)]
    return pd.DataFrame(rows)


def ids(chosen):
    return [it.annotation_id for it in chosen]


def test_groups_by_hand():
    """The largest ranges are 0.8 and 0.7, the lowest means 0.23 and 0.5; novel ones come first."""
    groups = gallery.choose(instances(), 3)
    assert [2, 6, 4] == ids(groups["disagreement"])
    assert [3, 2, 5] == ids(groups["worst"])
    first = groups["disagreement"][0]
    assert (12, "ring", "novel", {"a": 0.1, "b": 0.9, "c": 0.5}) == (
        first.image_id, first.name, first.role, first.ious)


def test_random_objects_are_those_of_the_seed():
    """The same for a seed, others for another, and novel classes first."""
    drawn = {
        seed: ids(gallery.choose(instances(), 3, seed)["random"]) for seed in range(20)}
    assert drawn[7] == ids(gallery.choose(instances(), 3, 7)["random"])
    assert len(set(map(tuple, drawn.values()))) > 3
    for chosen in drawn.values():
        assert ["novel", "novel", "seen"] == [IOUS[key][0] for key in chosen]


def test_one_role_fills_in_for_the_other():
    """Where there are not enough of one; and no object is invented."""
    assert [4, 5] == ids(gallery.choose(instances(), 6)["disagreement"])[-2:]
    assert 6 == len(gallery.choose(instances(), 100)["worst"])
    seen = instances().query("role == 'seen'")
    assert [4, 5] == ids(gallery.choose(seen, 2)["disagreement"])


def test_objects_that_an_arm_lacks_are_left_out():
    """A range over other arms would be another number."""
    rows = instances()
    rows = rows[~((rows["annotation_id"] == 2) & (rows["arm"] == "c"))]
    assert 2 not in ids(gallery.choose(rows, 6)["disagreement"])


@pytest.mark.parametrize(
    ("box", "expected"),
    [([40, 50, 20, 10], (33, 38, 34)),  # 20 + 2 * 0.35 * 20, around (50, 55)
     ([0, 0, 20, 20], (0, 0, 34)),  # pushed inside
     ([90, 90, 10, 4], (76, 76, 24)),  # small objects keep their surroundings
     ([10, 0, 80, 100], (-35, -35, 170))],  # larger than the image: around its middle
)
def test_windows_hold_the_box_and_its_surroundings(box, expected):
    """Squares, by hand, in an image of 100 x 100 pixels."""
    assert expected == tuple(crops.window(box, 100, 100))


def pixels_of(webp):
    return np.asarray(Image.open(io.BytesIO(webp)).convert("RGB")).astype(int)


def test_a_mask_is_drawn_where_it_is():
    """Its middle is red on the grey picture, what is beside it is not."""
    mask = np.zeros((100, 100), np.uint8)
    mask[45:55, 45:55] = 1
    picture = pixels_of(crops.draw(
        None, masks.encode_runs(mask), (100, 100), [40, 40, 20, 20], "novel"))
    assert (crops.SIDE, crops.SIDE, 3) == picture.shape
    red, green, _ = picture[160, 160]
    assert red > green + 30
    # Two pixels beside the mask, in pixels of the picture.
    red, green, _ = picture[160, 160 + round(7 * crops.SIDE / 34)]
    assert abs(red - green) < 12


def test_pixels_of_the_image_are_enlarged():
    """A white spot beside the mask is white in the picture."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[42:46, 52:56] = 255
    empty = masks.encode_runs(np.zeros((100, 100), np.uint8))
    picture = pixels_of(crops.draw(image, empty, (100, 100), [40, 40, 20, 20], "seen"))
    scale = crops.SIDE / 34
    assert picture[round((44 - 33) * scale), round((54 - 33) * scale)].min() > 200
    assert picture[round((54 - 33) * scale), round((44 - 33) * scale)].max() < 60


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return report_workdirs.write(tmp_path_factory.mktemp("gallery") / "w")


def arms_in(workdir):
    return group_by_arm(records.load(workdir.path)).arms


def test_the_seed_that_most_arms_have_is_shown(workdir):
    """Seed 0, as the baseline's seed 1 failed and the last arm's seed 2 is missing."""
    assert [0] * 4 == [shown.seed for shown in evaluation_artifacts.trials(arms_in(workdir))]


def test_pictures_stand_beside_their_numbers(workdir):
    """IoU as in instances.csv.gz, from which the worst object is found again by hand."""
    arms = arms_in(workdir)
    shown = exhibition.make(arms, 2, 0, None)
    assert [arm.label for arm in arms] == shown.heads
    rows = pd.concat([
        pd.read_csv(it.folder / "instances.csv.gz").assign(arm=it.arm)
        for it in evaluation_artifacts.trials(arms)])
    classes = pd.read_csv(workdir.folder("000000000000") / "per_class.csv")
    novel = set(classes.loc[classes["role"] == "novel", "category_id"])
    means = rows[rows["category_id"].isin(novel)].groupby("annotation_id")["iou"].mean()
    ious = rows[rows["annotation_id"] == means.idxmin()].set_index("arm")["iou"]
    title, worst = shown.groups[1]
    assert gallery.GROUPS["worst"] == title
    assert [f"{100 * ious[arm.label]:.0f}" for arm in arms] == [it.iou for it in worst[0].cells]
    assert all(it.uri.startswith("data:image/webp;base64,") for it in worst[0].cells)
    assert "novel" == worst[0].role
    assert "seed 0" in shown.notes[0]
    assert "--data PREFIX" in shown.notes[1]


def test_a_full_page_takes_no_more(workdir, monkeypatch):
    """And says how many objects it left out."""
    monkeypatch.setattr(exhibition, "_MOST_BYTES", 10)
    shown = exhibition.make(arms_in(workdir), 2, 0, None)
    assert [1, 0, 0] == [len(rows) for _, rows in shown.groups]
    assert "5 objects are left out, as the page would become too large; " in shown.notes[-1]


def test_arms_without_masks_are_named(workdir):
    """Older trials have none; where no arm has any, that is the section."""
    old = group_by_arm(result_frames.frame(result_frames.arm("old", {}))).arms
    assert "No trial of these arms has left masks" in exhibition.make(old, 2, 0, None).notes[0]
    shown = exhibition.make([*arms_in(workdir), *old], 2, 0, None)
    assert "Without masks, therefore not shown: old." == shown.notes[1]


def test_another_data_set_is_refused(workdir, tmp_path):
    """Named by the user it is a mistake, with what is there and what was evaluated on."""
    with pytest.raises(UserError, match="There is no dataset"):
        exhibition.make(arms_in(workdir), 2, 0, str(tmp_path / "nothing"))


def test_broken_files_are_named(tmp_path):
    """Half a file, as of a killed copy."""
    broken = report_workdirs.write(tmp_path / "w")
    path = broken.folder("000000000000") / "masks.json.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"masks\.json\.gz is broken \(.*evaluate the trial again"):
        exhibition.make(arms_in(broken), 2, 0, None)


def test_of_many_arms_the_best_and_the_baseline_are_selected():
    """In their order, and that is said."""
    numbers = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.8}
    arms = group_by_arm(result_frames.frame(*(
        result_frames.arm(label, {"m/x/novel": [value] * 3}, baseline=label == "a")
        for label, value in numbers.items()))).arms
    shown, note = selection.telling(arms, "m/x", 3)
    assert ["a", "b", "d"] == [arm.label for arm in shown]
    assert note.startswith("Shown are 3 of 4 arms: the baseline and those with the highest mean")
    assert (arms, "") == tuple(selection.telling(arms, "m/x", 4))

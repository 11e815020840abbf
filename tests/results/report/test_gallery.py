"""Objects and arms that a report shows, and the crops of images it draws."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepmac_ablate.data import masks
from deepmac_ablate.errors import BrokenFileWarning, UserError
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.loading.load import load
from deepmac_ablate.results.report import crops, evaluation_artifacts
from deepmac_ablate.results.report.sections import gallery
from deepmac_ablate.results.report.sections.gallery import make_gallery
from deepmac_ablate.results.report.selection import (
    GROUPS,
    choose_objects,
    most_informative_arms,
)
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
    return [each.annotation_id for each in chosen]


def test_groups_by_hand():
    """Groups hold the largest ranges, 0.8 and 0.7, and the lowest means, novel classes first."""
    groups = choose_objects(instances(), 3)
    assert [2, 6, 4] == ids(groups["disagreement"])
    assert [3, 2, 5] == ids(groups["worst"])
    first = groups["disagreement"][0]
    assert (12, "ring", "novel", {"a": 0.1, "b": 0.9, "c": 0.5}) == (
        first.image_id, first.name, first.role, first.ious)


def test_random_objects_are_those_of_the_seed():
    """Random objects depend only on the seed, and novel classes come first."""
    drawn = {
        seed: ids(choose_objects(instances(), 3, seed)["random"]) for seed in range(20)}
    assert drawn[7] == ids(choose_objects(instances(), 3, 7)["random"])
    assert len(set(map(tuple, drawn.values()))) > 3
    for chosen in drawn.values():
        assert ["novel", "novel", "seen"] == [IOUS[key][0] for key in chosen]


def test_one_role_fills_in_for_the_other():
    """If one role has too few objects, the other role fills the group."""
    assert [4, 5] == ids(choose_objects(instances(), 6)["disagreement"])[-2:]
    assert 6 == len(choose_objects(instances(), 100)["worst"])
    seen = instances().query("role == 'seen'")
    assert [4, 5] == ids(choose_objects(seen, 2)["disagreement"])


def test_objects_that_an_arm_lacks_are_left_out():
    """Objects without a mask of some arm are ignored."""
    rows = instances()
    rows = rows[~((rows["annotation_id"] == 2) & (rows["arm"] == "c"))]
    assert 2 not in ids(choose_objects(rows, 6)["disagreement"])


@pytest.mark.parametrize(
    ("box", "expected"),
    [([40, 50, 20, 10], (33, 38, 34)),  # 20 + 2 * 0.35 * 20, around (50, 55)
     ([0, 0, 20, 20], (0, 0, 34)),  # pushed inside
     ([90, 90, 10, 4], (76, 76, 24)),  # small objects keep their surroundings
     ([10, 0, 80, 100], (-35, -35, 170))],  # larger than the image: around its middle
)
def test_windows_hold_the_box_and_its_surroundings(box, expected):
    """Windows are squares around the box with a margin, inside the image where they fit."""
    assert expected == tuple(crops.window_around(box, 100, 100))


def pixels_of(webp):
    return np.asarray(Image.open(io.BytesIO(webp)).convert("RGB")).astype(int)


def square_mask(start, end):
    mask = np.zeros((100, 100), np.uint8)
    mask[start:end, start:end] = 1
    return masks.encode_runs(mask)


def colour_at(picture, row, column):
    """Return the colour at a pixel of the image, whose crop begins at 33 and has 34 pixels."""
    scale = crops.SIDE / 34
    return picture[round((row - 33 + 0.5) * scale), round((column - 33 + 0.5) * scale)]


def test_a_mask_is_drawn_where_it_is():
    """A mask is green on grey, and its surroundings stay as they are."""
    picture = pixels_of(crops.draw_crop(
        None, square_mask(45, 55), (100, 100), [40, 40, 20, 20], "novel"))
    assert (crops.SIDE, crops.SIDE, 3) == picture.shape
    red, green, blue = colour_at(picture, 50, 50)
    assert green > max(red, blue) + 40
    assert abs(colour_at(picture, 50, 57) - 122).max() < 12


def test_pixels_are_compared_with_the_annotation():
    """Shared pixels are cyan, further ones magenta, missed ones yellow; others stay grey."""
    picture = pixels_of(crops.draw_crop(
        None, square_mask(42, 52), (100, 100), [40, 40, 20, 20], "novel", square_mask(46, 57)))
    for place, high, low in ((49, (1, 2), 0), (44, (0, 2), 1), (54, (0, 1), 2)):
        colour = colour_at(picture, place, place)
        assert min(colour[channel] for channel in high) > colour[low] + 40
    grey = colour_at(picture, 44, 55)
    assert grey.max() - grey.min() < 12


def test_pixels_of_the_image_are_enlarged():
    """A white spot of the image is white in the enlarged crop."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[42:46, 52:56] = 255
    empty = masks.encode_runs(np.zeros((100, 100), np.uint8))
    picture = pixels_of(crops.draw_crop(image, empty, (100, 100), [40, 40, 20, 20], "seen"))
    scale = crops.SIDE / 34
    assert picture[round((44 - 33) * scale), round((54 - 33) * scale)].min() > 200
    assert picture[round((54 - 33) * scale), round((44 - 33) * scale)].max() < 60


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return report_workdirs.write(tmp_path_factory.mktemp("gallery") / "w")


def arms_in(workdir):
    return group_by_arm(load(workdir.path)).arms


def test_the_seed_that_most_arms_have_is_shown(workdir):
    """Seed 0 is shown, as the other seeds lack an arm."""
    assert [0] * 4 == [trial.seed for trial in evaluation_artifacts.choose_trials(arms_in(workdir))]


def test_pictures_stand_beside_their_numbers(workdir):
    """The worst object and its IoUs agree with instances.csv.gz."""
    arms = arms_in(workdir)
    shown = make_gallery(arms, 2, 0, None)
    assert [arm.label for arm in arms] == shown.headers
    rows = pd.concat([
        pd.read_csv(trial.folder / "instances.csv.gz").assign(arm=trial.arm)
        for trial in evaluation_artifacts.choose_trials(arms)])
    classes = pd.read_csv(workdir.folder("000000000000") / "per_class.csv")
    novel = set(classes.loc[classes["role"] == "novel", "category_id"])
    means = rows[rows["category_id"].isin(novel)].groupby("annotation_id")["iou"].mean()
    ious = rows[rows["annotation_id"] == means.idxmin()].set_index("arm")["iou"]
    title, worst = shown.groups[1]
    assert GROUPS["worst"] == title
    assert [f"{100 * ious[arm.label]:.0f}" for arm in arms] == [cell.iou for cell in worst[0].cells]
    assert all(cell.uri.startswith("data:image/webp;base64,") for cell in worst[0].cells)
    assert "novel" == worst[0].role
    assert "seed 0" in shown.notes[0]
    assert "--data PREFIX" in shown.notes[1]


def test_a_full_page_takes_no_more(workdir, monkeypatch):
    """A full page reports the number of omitted objects."""
    monkeypatch.setattr(gallery, "_MAX_BYTES", 10)
    shown = make_gallery(arms_in(workdir), 2, 0, None)
    assert [1, 0, 0] == [len(rows) for _, rows in shown.groups]
    assert "5 objects are omitted to limit the size of the page; " in shown.notes[-1]


def test_arms_without_masks_are_named(workdir):
    """Arms without masks are named, and without any masks there is only a note."""
    old = group_by_arm(result_frames.frame(result_frames.arm("old", {}))).arms
    [note] = make_gallery(old, 2, 0, None).notes
    assert "Nothing to show: no finished trial of these arms has masks" in note
    shown = make_gallery([*arms_in(workdir), *old], 2, 0, None)
    assert "Not shown because they have no masks: old." == shown.notes[1]


def test_another_dataset_is_refused(workdir, tmp_path):
    """A wrong dataset of the user is an error."""
    with pytest.raises(UserError, match="There is no dataset"):
        make_gallery(arms_in(workdir), 2, 0, str(tmp_path / "nothing"))


@pytest.mark.slow
def test_broken_files_are_named(tmp_path):
    """A truncated file is named in a warning, and its arm is left out."""
    broken = report_workdirs.write(tmp_path / "w")
    path = broken.folder("000000000000") / "masks.json.gz"
    path.write_bytes(path.read_bytes()[:100])
    warned = r"^No masks of .* are shown: .*masks\.json\.gz is broken \(.*evaluate the trial again"
    everything = make_gallery(arms_in(report_workdirs.write(tmp_path / "x")), 2, 0, None)
    with pytest.warns(BrokenFileWarning, match=warned):
        gallery = make_gallery(arms_in(broken), 2, 0, None)
    assert len(everything.headers) - 1 == len(gallery.headers)


def test_of_many_arms_the_best_and_the_baseline_are_selected():
    """The baseline and the best arms are selected, in their order and with a note."""
    numbers = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.8}
    arms = group_by_arm(result_frames.frame(*(
        result_frames.arm(label, {"m/x/novel": [value] * 3}, baseline=label == "a")
        for label, value in numbers.items()))).arms
    shown, note = most_informative_arms(arms, "m/x", 3)
    assert ["a", "b", "d"] == [arm.label for arm in shown]
    assert note.startswith("Showing 3 of 4 arms: the baseline and those with the highest mean")
    assert (arms, "") == tuple(most_informative_arms(arms, "m/x", 4))

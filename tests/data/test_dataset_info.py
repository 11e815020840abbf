"""The sidecar of a dataset."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from deepmac_ablate.data import dataset_info
from deepmac_ablate.data.dataset_info import Category, DatasetInfo
from deepmac_ablate.errors import UserError


def _saved(folder, name="train", num_shards=2, **fields):
    categories = (Category(3, "box"), Category(7, "leaf"))
    info = DatasetInfo(name, "0123456789ab", 5, 6, 1, num_shards, categories, **fields)
    prefix = folder / name
    info.save(prefix)
    for path in [*info.record_files(prefix), dataset_info.annotations_path(prefix)]:
        path.touch()
    return info, prefix


def test_loads_what_was_saved(tmp_path):
    """Saving and loading gives the same facts, and leave only the files of the dataset."""
    info, prefix = _saved(tmp_path)

    assert info == DatasetInfo.load(prefix)
    assert info == DatasetInfo.load(str(prefix))
    expected = [
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "train-annotations.json",
        "train-info.json",
    ]
    assert expected == sorted(path.name for path in tmp_path.iterdir())


def test_a_split_must_select_a_mask(tmp_path):
    """Seen classes without masks are refused by name; no classes, and old datasets, are not."""
    info, prefix = _saved(tmp_path)
    info.check_masks({3}, ["box"])
    dataclasses.replace(info, num_masks_by_class={7: 2}).save(prefix)
    info = DatasetInfo.load(prefix)

    info.check_masks({3, 7}, "all")
    info.check_masks(set(), "none")
    with pytest.raises(UserError, match=r"seen_classes = \['box'\] selects no mask in the dataset "
                       r"train, .*: select some of leaf, or 'none'"):
        info.check_masks({3}, ["box"])


def test_numbers_of_objects_stay_numbers(tmp_path):
    """JSON has no whole numbers as keys."""
    info, prefix = _saved(tmp_path, images_by_num_instances={0: 2, 12: 3})
    assert info == DatasetInfo.load(prefix)


def test_names_the_missing_shards(tmp_path):
    """A dataset copied in part is refused with the names of what lacks."""
    info, prefix = _saved(tmp_path, num_shards=9)
    for shard in (0, 2, 3, 4, 5, 8):
        info.record_files(prefix)[shard].unlink()

    message = (
        r"incomplete: train-00000-of-00009\.tfrecord, train-00002.*train-00005-of-00009\.tfrecord "
        r"and 1 more are missing"
    )
    with pytest.raises(UserError, match=message):
        DatasetInfo.load(prefix)


def test_misses_the_annotations(tmp_path):
    """Without the annotations there is nothing to evaluate with."""
    _, prefix = _saved(tmp_path)
    dataset_info.annotations_path(prefix).unlink()

    with pytest.raises(UserError, match=r"incomplete: train-annotations\.json is missing"):
        DatasetInfo.load(prefix)


def test_a_misspelled_dataset_suggests_the_nearest(tmp_path):
    """The message lists what the folder holds."""
    _saved(tmp_path, "train")
    _saved(tmp_path, "val")

    with pytest.raises(UserError, match=r"Did you mean 'train'\? The folder holds: train, val\."):
        DatasetInfo.load(tmp_path / "trian")


def test_a_folder_is_not_a_dataset(tmp_path):
    """Naming the folder instead of the prefix is told apart."""
    _saved(tmp_path, "val")

    with pytest.raises(UserError, match=r"is a folder that holds val"):
        DatasetInfo.load(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    """A wrong folder is not a misspelled dataset."""
    with pytest.raises(UserError, match=f"the folder {tmp_path / 'no'} does not exist"):
        DatasetInfo.load(tmp_path / "no" / "train")


def test_an_interrupted_conversion_is_distinguished(tmp_path):
    """Records without their info file are half a dataset."""
    _, prefix = _saved(tmp_path)
    dataset_info.info_path(prefix).unlink()

    with pytest.raises(UserError, match="conversion was interrupted"):
        DatasetInfo.load(prefix)


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "train"}', '{"categories": []}'])
def test_a_broken_info_file_is_named(tmp_path, content):
    """Whatever is wrong inside, the file is named and the way out given."""
    _, prefix = _saved(tmp_path)
    dataset_info.info_path(prefix).write_text(content)

    with pytest.raises(UserError, match=r"train-info\.json is not the info file.*convert"):
        DatasetInfo.load(prefix)


def test_needs_no_tensorflow():
    """Plans read dataset infos; they must start in a second."""
    program = "import sys, deepmac_ablate.data.dataset_info; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "False" == done.stdout.strip()

"""The commands of ``deepmac-ablate data``."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate.commands import data
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from tests.helpers.data_fixtures import document, write

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments):
    parser = argparse.ArgumentParser()
    data.register(parser.add_subparsers(required=True))
    args = parser.parse_args([str(argument) for argument in arguments])
    return args.run(args)


@pytest.fixture
def prefix(tmp_path):
    """A dataset converted by the command."""
    images, annotations = write(tmp_path, document())
    output = tmp_path / "out/train"
    status = _run(
        "data", "coco", "--images", images, "--annotations", annotations, "--output", output
    )
    assert status == 0
    return output


def test_coco_converts_and_says_what_it_wrote(tmp_path, capsys):
    """The summary goes to stdout."""
    images, annotations = write(tmp_path, document())
    arguments = ("--images", images, "--annotations", annotations, "--output", tmp_path / "train")
    _run("data", "coco", *arguments)
    info = DatasetInfo.load(tmp_path / "train")

    printed = capsys.readouterr().out
    assert f"train@{info.fingerprint}: 3 images, 3 instances" in printed
    # Ready to be put into a gin file.
    assert [f"TRAIN = '{tmp_path}/train'", f"DATASET = 'train@{info.fingerprint}'"] == (
        printed.splitlines()[-2:])


@pytest.mark.parametrize("name", ["val", "val2017", "minival"])
def test_validation_data_get_no_declaration_of_training_data(tmp_path, capsys, name):
    """DATASET is the identity of TRAIN: with that of VAL, every training would be refused."""
    images, annotations = write(tmp_path, document())
    _run("data", "coco", "--images", images, "--annotations", annotations,
         "--output", tmp_path / name)
    *_, said, last = capsys.readouterr().out.splitlines()
    assert said.endswith("DATASET declares training data only:")
    assert f"VAL = '{tmp_path}/{name}'" == last


def test_coco_takes_a_number_of_shards(tmp_path):
    """And writes that many."""
    images, annotations = write(tmp_path, document())
    arguments = ("--images", images, "--annotations", annotations, "--output", tmp_path / "x")
    _run("data", "coco", *arguments, "--shards", 2)

    assert DatasetInfo.load(tmp_path / "x").num_shards == 2


def test_check_of_a_sound_dataset_succeeds(prefix, capsys):
    """Pictures go beside the dataset."""
    status = _run("data", "check", prefix)

    assert status == 0
    assert "No problems." in capsys.readouterr().out
    assert (prefix.parent / "train-check/contact_sheet.png").is_file()


def test_check_with_problems_fails(prefix, tmp_path, capsys):
    """A script sees it by the status."""
    info = DatasetInfo.load(prefix)
    info.__class__(**{**info.__dict__, "num_images": 4}).save(prefix)
    status = _run("data", "check", prefix, "--output", tmp_path / "seen", "--images", 1)

    assert status == 1
    assert "The info file says 4 images, the records 3." in capsys.readouterr().out


def test_check_marks_the_classes_of_a_split(prefix, tmp_path, capsys):
    """`--split` is resolved by the dataset's classes."""
    pytest.importorskip("deepmac_ablate.class_splits")
    _run("data", "check", prefix, "--output", tmp_path / "seen", "--split", "none")

    assert "  box                      3          3  novel" in capsys.readouterr().out
    with pytest.raises(UserError, match="shapes_c"):
        _run("data", "check", prefix, "--split", "shapes_c")


@pytest.mark.extended
@pytest.mark.slow
def test_shapes_generates_what_its_gin_file_declares(tmp_path, capsys):
    """1200 and 150 images, always the same: the line to declare them is in the gin file."""
    status = _run("data", "shapes", "--output", tmp_path / "shapes")

    assert status == 0
    info = DatasetInfo.load(tmp_path / "shapes/train")
    declaration = capsys.readouterr().out.splitlines()[-1]
    assert f"DATASET = 'train@{info.fingerprint}'" == declaration
    assert declaration in (ROOT / "gin/datasets/shapes.gin").read_text().splitlines()
    assert info.num_images == 1200
    assert DatasetInfo.load(tmp_path / "shapes/val").num_images == 150


@pytest.mark.parametrize("line", [
    "data coco --images none --annotations none.json --output out/x",
    "data coco --images . --annotations none.json --output out/x",
    "data check none",
])
def test_missing_files_are_reported_without_tensorflow(line, tmp_path):
    """A missing file is one sentence, for which nobody waits until TensorFlow is imported."""
    program = (
        "import sys; from deepmac_ablate import cli;"
        f"status = cli.main({line.split()!r});"
        "sys.exit(9 if 'tensorflow' in sys.modules else status)")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert re.fullmatch(r"deepmac-ablate: .*none.*\n", done.stderr)


def test_parsing_needs_no_tensorflow():
    """The command line answers at once; so do the processes of a conversion."""
    program = (
        "import argparse, sys; from deepmac_ablate.commands import data;"
        "import deepmac_ablate.data.image_example, deepmac_ablate.data.shapes.scenes;"
        "parser = argparse.ArgumentParser();"
        "data.register(parser.add_subparsers());"
        "parser.parse_args(['data', 'check', 'x']);"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "False" == done.stdout.strip()

"""A teacher's masks become annotations, and nothing else of a dataset changes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from deepmac_ablate import cli
from deepmac_ablate.data.dataset_info import DatasetInfo, annotations_path
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.evaluation.predictor import _stability


class Source(NamedTuple):
    """A dataset as files, and the trial that is the teacher."""

    images: Path
    annotations: Path
    workdir: Path
    output: Path

    def run(self, *options: str) -> int:
        """Run the command."""
        return cli.main([
            "data", "pseudo-masks", "--workdir", str(self.workdir), "--images", str(self.images),
            "--annotations", str(self.annotations), "--output", str(self.output), *options])

    def entries(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Pairs of annotations, before and after."""
        before, after = (
            json.loads(path.read_text())["annotations"] for path in (self.annotations, self.output))
        return list(zip(before, after, strict=True))


@pytest.fixture
def source(finished, tmp_path) -> Source:
    prefix = str(finished.recipe.data / "val")
    annotations = Path(annotations_path(prefix))
    names = {i["id"]: i["file_name"] for i in json.loads(annotations.read_text())["images"]}
    (tmp_path / "images").mkdir()
    for image_id, pixels in EvaluationData(prefix, 4).images(list(names)):
        Image.fromarray(pixels).save(tmp_path / "images" / names[image_id])
    return Source(
        tmp_path / "images", annotations, finished.workdir.path, tmp_path / "pseudo.json")


def seen_ids(source: Source) -> set[int]:
    classes = json.loads((Path(source.workdir) / "classes.json").read_text())["classes"]
    return {each["id"] for each in classes if each["role"] == "seen"}


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_unseen_masks_are_those_of_the_evaluation(source, finished, tmp_path, capsys) -> None:
    """Seen classes keep theirs; the file converts, and its dataset names the teacher."""
    assert 0 == source.run()
    out = capsys.readouterr().out
    seen = seen_ids(source)
    with gzip.open(Path(source.workdir) / "masks.json.gz") as file:
        evaluated = {each["annotation_id"]: each["segmentation"] for each in json.load(file)}
    changed = 0
    for before, after in source.entries():
        others = before.keys() - {"segmentation", "area"}
        assert {name: before[name] for name in others} == {name: after[name] for name in others}
        if before["category_id"] in seen:
            assert "stability" not in after
            assert before["segmentation"] == after["segmentation"]
        elif after["segmentation"]:
            changed += 1
            assert evaluated[after["id"]]["counts"] == after["segmentation"]["counts"]
            assert after["area"] == mask.area(after["segmentation"])
            assert 0 <= after["stability"] <= 1
    assert changed > 3
    assert f"{changed} masks predicted by trial" in out
    command = out.strip().splitlines()[-1].removeprefix("Next: deepmac-ablate ").split()
    command[-1] = str(tmp_path / "student" / "train")
    assert 0 == cli.main(command)
    info = DatasetInfo.load(tmp_path / "student" / "train")
    trial = finished.workdir.read_trial_id()
    assert f"{changed} masks are predictions of trial {trial} at" in capsys.readouterr().out
    assert (trial, 50, "unseen", changed) == tuple(
        info.pseudo_masks[name] for name in ("trial", "step", "objects", "masks"))
    assert info.fingerprint != DatasetInfo.load(finished.recipe.data / "val").fingerprint


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_unstable_masks_are_left_out(source, capsys) -> None:
    """Their objects keep the box; with `all`, seen classes get predicted masks, too."""
    assert 0 == source.run("--objects", "all", "--min-stability", "1")
    pairs = source.entries()
    kept = [after for _, after in pairs if after["segmentation"]]
    assert all(after["stability"] >= 1.0 for after in kept)
    assert len(kept) < len(pairs)
    assert [before["bbox"] for before, _ in pairs] == [after["bbox"] for _, after in pairs]
    assert f"{len(pairs) - len(kept)} left out with a stability below 1" in capsys.readouterr().out
    assert 2 == source.run()
    assert "pseudo.json already exists" in capsys.readouterr().err


def test_options_out_of_range_are_refused(source, capsys) -> None:
    """Before anything is loaded."""
    assert 2 == source.run("--min-stability", "1.5")
    assert "The least stability must be from 0 to 1, got 1.5." in capsys.readouterr().err
    assert not source.output.exists()


def test_stability_is_the_share_of_sure_cells() -> None:
    """Cells with a logit of at least 1, of those with at least -1; 0 for an empty mask."""
    logits = np.full((3, 4, 5), -5.0)
    logits[0, 1:3, 1:4] = 4.0
    logits[1, 1:3, 1:4] = 4.0
    logits[1, 1, 1:4] = 0.5
    assert [1.0, 0.5, 0.0] == _stability(1.0 / (1.0 + np.exp(-logits)))

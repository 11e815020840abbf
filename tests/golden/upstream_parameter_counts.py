"""Counts the parameters of the published models, as upstream's code builds them.

    python tests/golden/upstream_parameter_counts.py

Writes `upstream_parameter_counts.json` beside this file, for
`tests/parity/test_parameter_counts.py`. The settings are those of the configurations published
with arXiv:2104.00613 that decide about sizes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tf_keras
from official.core import exp_factory
from official.projects.deepmac_maskrcnn.tasks import deep_mask_head_rcnn

from tests.helpers.parameter_counts import counts

_HOURGLASS_52 = {
    "mask_head": {"convnet_variant": "hourglass52", "num_filters": 64, "class_agnostic": True},
    "mask_roi_aligner": {"crop_size": 32},
}
# Name -> the registered experiment, and what its published file sets of the model.
MODELS = {
    "resnet50_default": ("deep_mask_head_rcnn_resnetfpn_coco", {
        "backbone": {"resnet": {"model_id": 50}},
        "mask_head": {"class_agnostic": True}}),
    "resnet50_hourglass52": ("deep_mask_head_rcnn_resnetfpn_coco", {
        "backbone": {"resnet": {"model_id": 50}}, **_HOURGLASS_52}),
    "resnet101_hourglass52": ("deep_mask_head_rcnn_resnetfpn_coco", {
        "backbone": {"resnet": {"model_id": 101}}, **_HOURGLASS_52}),
    "spinenet143_hourglass52": ("deep_mask_head_rcnn_spinenet_coco", {
        "input_size": [1280, 1280, 3],
        "backbone": {"spinenet": {"model_id": "143", "stochastic_depth_drop_rate": 0.2}},
        "anchor": {"anchor_size": 4, "num_scales": 3}, **_HOURGLASS_52}),
}


def build(experiment: str, settings: dict[str, object]) -> tf_keras.Model:
    """Build upstream's model."""
    task = exp_factory.get_exp_config(experiment).task
    task.override({"model": settings})
    # The published way of suppression takes minutes to trace, and has no variables.
    task.model.detection_generator.nms_version = "batched"
    return deep_mask_head_rcnn.DeepMaskHeadRCNNTask(task).build_model()


def main() -> None:
    """Build all models, one after the other."""
    found = {}
    for name, (experiment, settings) in MODELS.items():
        model = build(experiment, settings)
        found[name] = counts({
            "backbone": model.backbone,
            "decoder": model.decoder,
            "rpn_head": model.rpn_head,
            "detection_head": model.detection_head[0],
            "mask_head": model.mask_head,
            "all": model,
        })
        print(name, found[name]["all"], flush=True)
        tf_keras.backend.clear_session()
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Box sources: where the boxes come from that the mask head is cropped with in training."""

from deepmac_ablate.modeling.box_sources.base import BoxSource, GroundTruth, MaskBoxes
from deepmac_ablate.modeling.box_sources.ground_truth import GroundTruthBoxes
from deepmac_ablate.modeling.box_sources.jittered import JitteredGroundTruthBoxes
from deepmac_ablate.modeling.box_sources.proposals import ProposalBoxes

__all__ = [
    "BoxSource", "GroundTruth", "GroundTruthBoxes", "JitteredGroundTruthBoxes", "MaskBoxes",
    "ProposalBoxes",
]

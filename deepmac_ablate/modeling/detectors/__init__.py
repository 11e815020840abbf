"""Detectors: what finds the objects that the mask branch segments, and how it is trained."""

from deepmac_ablate.modeling.detectors.base import Detector, Regions
from deepmac_ablate.modeling.detectors.none import NoDetector
from deepmac_ablate.modeling.detectors.two_stage import TwoStageDetector

__all__ = ["Detector", "NoDetector", "Regions", "TwoStageDetector"]

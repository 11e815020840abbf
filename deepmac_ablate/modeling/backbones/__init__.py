"""Backbones: images to a feature pyramid."""

from deepmac_ablate.modeling.backbones.base import Backbone, Norm
from deepmac_ablate.modeling.backbones.fpn import MobileNetFPN, ResNetFPN
from deepmac_ablate.modeling.backbones.spinenet import SpineNet

__all__ = ["Backbone", "MobileNetFPN", "Norm", "ResNetFPN", "SpineNet"]

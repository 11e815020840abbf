"""Backbones: images to a feature pyramid."""

from deepmac_ablate.modeling.backbones.base import Backbone, Norm
from deepmac_ablate.modeling.backbones.mobilenet import MobileNetFPN
from deepmac_ablate.modeling.backbones.resnet import ResNetFPN
from deepmac_ablate.modeling.backbones.spinenet import SpineNet

__all__ = ["Backbone", "MobileNetFPN", "Norm", "ResNetFPN", "SpineNet"]

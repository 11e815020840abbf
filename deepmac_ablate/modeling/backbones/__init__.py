"""Backbones: networks from images to a feature pyramid.

A new backbone is a new subclass of `Backbone`, and a gin file that selects it.
"""

from deepmac_ablate.modeling.backbones.base import Backbone, Norm
from deepmac_ablate.modeling.backbones.fpn import MobileNetFPN, ResNetFPN
from deepmac_ablate.modeling.backbones.spinenet import SpineNet

__all__ = ["Backbone", "MobileNetFPN", "Norm", "ResNetFPN", "SpineNet"]

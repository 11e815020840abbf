"""Mask heads: networks from the features inside a box to a mask.

A new head is a new subclass of `FullyConvolutionalMaskHead` with `build_body` and `body` (or of
`MaskHead`, if its last layers differ too), and a gin file that selects it.
"""

from deepmac_ablate.modeling.mask_heads.base import FullyConvolutionalMaskHead, MaskHead
from deepmac_ablate.modeling.mask_heads.conv import ConvMaskHead, SeparableConvMaskHead
from deepmac_ablate.modeling.mask_heads.fully_connected import FullyConnectedMaskHead
from deepmac_ablate.modeling.mask_heads.hourglass import HourglassMaskHead
from deepmac_ablate.modeling.mask_heads.resnet import ResNetMaskHead
from deepmac_ablate.modeling.mask_heads.upsampling import Deconvolution, Interpolation, Upsampling

__all__ = [
    "ConvMaskHead",
    "Deconvolution",
    "FullyConnectedMaskHead",
    "FullyConvolutionalMaskHead",
    "HourglassMaskHead",
    "Interpolation",
    "MaskHead",
    "ResNetMaskHead",
    "SeparableConvMaskHead",
    "Upsampling",
]

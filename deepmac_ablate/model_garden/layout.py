"""Our layers under the names that the published code gives them.

Backbone, decoder and box path are the same layers of Model Garden in both projects, so their
variables have the same names. The mask heads differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import hourglass, mask_heads
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN

Layers = dict[str, Any]


def published_names(model: MaskRCNN) -> Layers:
    """Return the layers of a model under the names of the published code.

    Args:
        model: Model whose variables exist.

    Returns:
        A tree of mappings and lists with layers as leaves, by part of the model.

    Raises:
        UserError: If the published code has no counterpart to the mask head or its inputs.
    """
    if model.mask_inputs:
        raise UserError(
            "Model Garden's mask head has no inputs besides the features; leave "
            "MaskRCNN.mask_inputs empty.")
    return {
        "backbone": model.backbone,
        "decoder": model.decoder,
        "rpn_head": model.rpn_head,
        # A list of cascade stages; in older versions the head itself.
        "detection_head": {
            "0": model.detection_head, **tf.train.TrackableView.children(model.detection_head)},
        "mask_head": _mask_head_layers(model.mask_head),
    }


def _mask_head_layers(head: mask_heads.MaskHead) -> Layers:
    if not isinstance(head, mask_heads.ConvMaskHead | mask_heads.HourglassMaskHead):
        raise UserError(
            f"Model Garden has no counterpart to the mask head {type(head).__name__}; "
            "use ConvMaskHead, SeparableConvMaskHead or HourglassMaskHead.")
    tail = {
        "_deconv": head.upsampling,
        "_deconv_bn": head.upsampling_norm.norm,
        "_mask_regressor": head.logits,
    }
    if isinstance(head, mask_heads.HourglassMaskHead):
        return {**tail, "_hourglass": _hourglass(head.hourglass)}
    return {**tail, "_convs": head.convs, "_conv_norms": [norm.norm for norm in head.norms]}


def _hourglass(body: hourglass.Hourglass) -> Layers:
    stem = {"conv_block": _conv(body.stem), "residual_block": _block(body.widen)}
    return {
        "conv_input": stem,
        "hourglass_network": [_stage(body.stage)],
        "output_conv": [_conv(body.output_conv)],
    }


def _stage(stage: hourglass.Stage) -> Layers:
    shortcut = {} if stage.shortcut is None else {"encoder_block1": _blocks(stage.shortcut)}
    return {
        **shortcut,
        "encoder_block2": _blocks(stage.down),
        "inner_block": _blocks(stage.inner),
        "decoder_block": _blocks(stage.up),
    }


def _blocks(blocks: Sequence[hourglass.ResidualBlock | hourglass.Stage]) -> list[Layers]:
    return [_stage(b) if isinstance(b, hourglass.Stage) else _block(b) for b in blocks]


def _block(block: hourglass.ResidualBlock) -> Layers:
    layers = {
        "conv_block": _conv(block.first),
        "conv": block.second.conv,
        "norm": block.second.norm.norm,
    }
    return layers if block.skip is None else {**layers, "skip": _conv(block.skip)}


def _conv(layer: hourglass.ConvNorm) -> Layers:
    return {"conv": layer.conv, "norm": layer.norm.norm}

"""Reads what Model Garden's `deepmac_maskrcnn` project wrote: checkpoints and YAML files."""

# The parts of a model, by the names that its checkpoints use and ours, too.
PARTS = ("backbone", "decoder", "rpn_head", "detection_head", "mask_head")

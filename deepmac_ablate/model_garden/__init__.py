"""Import of checkpoints and YAML files of Model Garden's `deepmac_maskrcnn` project."""

# Parts of a model, by the names that the checkpoints of both projects use.
PARTS = ("backbone", "decoder", "rpn_head", "detection_head", "mask_head")

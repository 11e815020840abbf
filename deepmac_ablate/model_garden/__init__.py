"""Reads what Model Garden's `deepmac_maskrcnn` project wrote: checkpoints and YAML files."""

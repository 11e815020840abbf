"""What Model Garden's `deepmac_maskrcnn` project wrote, read: its checkpoints and its YAML files."""

"""Mask R-CNN with exchangeable backbones, mask heads and box sources."""

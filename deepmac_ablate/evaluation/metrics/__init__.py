"""Metrics by class, from COCO results and annotations; independent of any model."""

"""Exact numbers by class, from COCO results and annotations; nothing here knows of a model."""

"""Comparison of two arms by class and by image."""

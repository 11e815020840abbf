"""Supervision of trials: start a trainer, watch it, and record how it ended."""

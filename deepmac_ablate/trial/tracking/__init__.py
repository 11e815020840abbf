"""Tracking of trials in W&B: a mirror of their plain files, on which no trial depends."""

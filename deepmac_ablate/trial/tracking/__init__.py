"""Trials shown in W&B: a mirror of their plain files, which no trial depends on."""

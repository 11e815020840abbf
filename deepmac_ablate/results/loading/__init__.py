"""Trials of workdirs and W&B projects as one data frame."""

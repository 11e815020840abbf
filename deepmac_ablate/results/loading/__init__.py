"""The trials of workdirs and of W&B as one data frame, a row per trial."""

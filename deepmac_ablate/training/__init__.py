"""Training of one trial; start reading at `run`."""

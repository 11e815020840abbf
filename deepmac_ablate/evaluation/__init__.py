"""Evaluation: predictions of a model, their scores, and the files that hold both."""

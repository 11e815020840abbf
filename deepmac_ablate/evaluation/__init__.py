"""Predictions of a model, their scores, and the files that an evaluation leaves."""

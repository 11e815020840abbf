"""Launching a sweep: which trials run where, how they are doing, and how they end."""

"""Figures of the report, one per module: a matplotlib figure, or None if there is no data."""

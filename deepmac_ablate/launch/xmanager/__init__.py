"""XManager's experiments and work units."""

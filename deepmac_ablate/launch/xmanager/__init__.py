"""Where work units run: the only rooms that know XManager."""

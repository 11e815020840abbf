"""The report's figures, one a module: each returns a matplotlib figure, or None without numbers."""

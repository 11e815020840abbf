"""The process beside a trainer: it starts it, watches it, and records how it ended."""

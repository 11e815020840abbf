"""The arms of a sweep beside each other: means, differences, gap, retention, cost."""

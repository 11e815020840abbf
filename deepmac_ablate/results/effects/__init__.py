"""What the axes of a sweep do."""

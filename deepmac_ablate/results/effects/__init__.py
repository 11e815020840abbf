"""Effects of the axes of a sweep."""

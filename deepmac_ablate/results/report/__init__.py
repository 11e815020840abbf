"""HTML report of a sweep."""

"""One page about a sweep, its figures, its pictures."""

"""One trial: what it is, its folder, its log, and which code ran it."""

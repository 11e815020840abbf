"""One trial: its definition, its folder, its log, and the code that ran it."""

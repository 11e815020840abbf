"""Many trials: planned, launched, and each watched by a supervisor."""

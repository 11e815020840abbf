"""Launch a sweep: start its trials, watch them, report their status, stop them."""

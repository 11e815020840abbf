"""Tables of arms: means, differences, gap, retention and cost."""

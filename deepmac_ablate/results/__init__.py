"""What trials came to: one data frame, tables with intervals, effects, comparisons, a report."""

"""What trials came to: one data frame, tables with intervals, effects, comparisons, a report."""

from deepmac_ablate.results.other_split import with_split
from deepmac_ablate.results.per_class_numbers import per_class
from deepmac_ablate.results.records import load

__all__ = ["load", "per_class", "with_split"]

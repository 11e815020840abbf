"""COCO annotations to records, records to batches, and the embedded data set."""

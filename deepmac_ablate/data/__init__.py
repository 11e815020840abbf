"""COCO annotations to records, records to batches, and the built-in synthetic dataset."""

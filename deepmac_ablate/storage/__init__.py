"""Files on a disk and on ``gs://``: whole or not there at all."""

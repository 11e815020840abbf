"""What all tests share."""

from __future__ import annotations

import os

# TensorFlow prints its start-up to the log of every test otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

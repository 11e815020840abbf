"""When two trials failed of the same cause."""

from __future__ import annotations

import re

# In this order: a path may hold hexadecimal digits, and those may hold numbers.
_VARYING = (
    # With a scheme or without, and the line that may follow.
    (re.compile(r"(?:\w+:/)?[\w.~@%+=-]*(?:/[\w.@%+=-]+)+/?(?::\d+)*"), "PATH"),
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[a-f]*\d)[0-9a-f]{8,})\b", re.IGNORECASE), "HEX"),
    # Not the digits of a name, such as float32; those after an underscore count something.
    (re.compile(r"(?<![A-Za-z\d.])[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|(?:nan|inf)\b)", re.IGNORECASE),
     "N"),
    # Shapes of any rank.
    (re.compile(r"N(?:\s*,\s*N)+"), "N"),
    (re.compile(r"\s+"), " "),
)


def normalised(cause: str) -> str:
    """Returns a cause without what varies from trial to trial.

    Paths, hexadecimal digits (ids, addresses) and numbers, not-a-number and infinity among them,
    are put in place by words, and lists of numbers by one.

    Args:
        cause: One sentence, as a person reads it.

    Returns:
        A text that is equal where the causes are the same. It is for comparing only.
    """
    for pattern, word in _VARYING:
        cause = pattern.sub(word, cause)
    return cause.strip()

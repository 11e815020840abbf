"""Which process of a cluster this one is, as the variable TF_CONFIG says it.

Vertex AI sets it for jobs of several machines. It is read without TensorFlow, for those that have
to know before TensorFlow is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import NamedTuple

from deepmac_ablate.errors import UserError


class Task(NamedTuple):
    """One of the processes that train together.

    Attributes:
        chief: whether it is the one that writes files.
        number: how many processes there are.
    """

    chief: bool
    number: int


def task(environment: Mapping[str, str] = os.environ) -> Task | None:
    """Returns which process this one is, or None where there is no cluster.

    Raises:
        UserError: If TF_CONFIG cannot be understood, or this process is none of those that train.
    """
    text = environment.get("TF_CONFIG")
    if not text:
        return None
    try:
        fields = json.loads(text)
        cluster = fields.get("cluster") or {}
        if not cluster:
            return None
        kind, index = fields["task"]["type"], int(fields["task"]["index"])
        chiefs, workers = (len(cluster.get(job, ())) for job in ("chief", "worker"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"The variable TF_CONFIG = {text!r} does not say which process of which cluster this "
            'is; it looks like {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}.') from error
    if kind not in ("chief", "worker") or not 0 <= index < len(cluster.get(kind, ())):
        raise UserError(
            f"The variable TF_CONFIG makes this process number {index} of {kind!r}, but in a "
            "cluster only those that it lists as 'chief' and 'worker' train.")
    return Task(kind == "chief" or (not chiefs and index == 0), chiefs + workers)

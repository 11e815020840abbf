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

NAME = "TF_CONFIG"


class Task(NamedTuple):
    """One of the processes that train together.

    Attributes:
        chief: whether it is the one that writes files; a process alone is.
        number: how many processes there are.
    """

    chief: bool
    number: int


def task(environment: Mapping[str, str] = os.environ) -> Task:
    """Return which process this one is; the only one where nothing is said.

    The chief is the first worker where none is called so. What is neither, such as a parameter
    server, is no chief.

    Raises:
        UserError: If TF_CONFIG cannot be understood.
    """
    text = environment.get(NAME)
    try:
        fields = json.loads(text or "{}")
        cluster = fields.get("cluster") or {}
        if not cluster:
            return Task(True, 1)
        kind, index = fields["task"]["type"], int(fields["task"]["index"])
        number = sum(len(cluster.get(job, ())) for job in ("chief", "worker"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{NAME} names no task of a cluster: {text!r}; it must have 'cluster' and a 'task' of "
            "'type' and 'index'.") from error
    return Task(index == 0 and kind == ("chief" if "chief" in cluster else "worker"), number)

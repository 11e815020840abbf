"""The variable TF_CONFIG: the place of this process in a cluster that trains one trial.

Vertex AI sets it for jobs of several machines. It is read without TensorFlow, as it is needed
before TensorFlow is imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import NamedTuple

from deepmac_ablate.errors import UserError

VARIABLE = "TF_CONFIG"


class Task(NamedTuple):
    """One of the processes that train together.

    Attributes:
        is_chief: Whether it is the one that writes files; True for a process that trains alone.
        num_workers: The number of processes that train.
    """

    is_chief: bool
    num_workers: int


def read_task(environment: Mapping[str, str] = os.environ) -> Task:
    """Return the task of this process, which trains alone where TF_CONFIG names no cluster.

    In a cluster without a "chief", the first worker is the chief. Other processes, such as
    parameter servers, are never the chief and are not counted.

    Raises:
        UserError: If TF_CONFIG cannot be parsed.
    """
    text = environment.get(VARIABLE)
    try:
        fields = json.loads(text or "{}")
        cluster = fields.get("cluster") or {}
        if not cluster:
            return Task(True, 1)
        kind, index = fields["task"]["type"], int(fields["task"]["index"])
        num_workers = sum(len(cluster.get(job, ())) for job in ("chief", "worker"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{VARIABLE} does not name a task of a cluster: it must have a 'cluster' and a 'task' "
            f"with 'type' and 'index', got {text!r}.") from error
    return Task(index == 0 and kind == ("chief" if "chief" in cluster else "worker"), num_workers)

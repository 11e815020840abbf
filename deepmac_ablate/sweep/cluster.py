"""Which machine of a job of several this one is, as TensorFlow wants to be told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deepmac_ablate import tf_config
from deepmac_ablate.errors import UserError

CONFIG = tf_config.NAME
# Kubernetes numbers the pods of an indexed job from 0 on.
INDEX = "JOB_COMPLETION_INDEX"

# What TensorFlow's examples use; a pod has all ports to itself.
_PORT = 2222


class Member(NamedTuple):
    """One of the machines that train a trial together.

    Attributes:
        is_chief: Whether it is the one that writes; a machine alone is.
        environment: What its trainer has to be told beside what is there.
    """

    is_chief: bool
    environment: Mapping[str, str]


def member(hosts: Sequence[str], environ: Mapping[str, str]) -> Member:
    """Finds out which machine this is.

    Args:
        hosts: The names of all of them, in the order of their numbers; none for a machine alone,
            or where the platform itself sets TF_CONFIG, as Vertex AI does.
        environ: The environment; a TF_CONFIG in it stays as it is.

    Raises:
        UserError: If there are hosts but no number, or TF_CONFIG is broken.
    """
    if environ.get(CONFIG) is not None or not hosts:
        return Member(tf_config.task(environ).chief, {})
    number = environ.get(INDEX, "")
    if not (number.isdigit() and int(number) < len(hosts)):
        raise UserError(
            f"{INDEX} is {number!r}, but --hosts names {len(hosts)} machines; it must be a number "
            f"from 0 to {len(hosts) - 1}.")
    config = json.dumps({
        "cluster": {"worker": [f"{host}:{_PORT}" for host in hosts]},
        "task": {"type": "worker", "index": int(number)}})
    return Member(number == "0", {CONFIG: config})

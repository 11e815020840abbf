"""Environment variables that TensorFlow needs before it is imported on a TPU host.

From v5e on, TensorFlow reaches TPUs through libtpu's stable interface (PJRT), which it finds by
these variables. TPUs up to v4 do not have that interface, and fail where the variables are set
(Google's page on training with TPU VMs on Vertex AI). So the rest follows from one variable,
``PJRT_DEVICE=TPU``, which is set for a container according to the generation that it runs on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import MutableMapping
from pathlib import Path

from deepmac_ablate.errors import UserError

_SWITCH = "PJRT_DEVICE"
_LIBRARIES = ("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", "TPU_LIBRARY_PATH")
_INTERFACE = "NEXT_PLUGGABLE_DEVICE_USE_C_API"


def set_tpu_variables(environment: MutableMapping[str, str]) -> None:
    """Set the variables that are missing for a TPU; those that are set stay as they are.

    Args:
        environment: The environment of this process, before TensorFlow is imported.

    Raises:
        UserError: If a TPU is requested, but its library is not installed.
    """
    if environment.get(_SWITCH) != "TPU":
        return
    environment.setdefault(_INTERFACE, "true")
    if all(environment.get(name) for name in _LIBRARIES):
        return
    found = importlib.util.find_spec("libtpu")
    if found is None or not found.origin:
        raise UserError(
            "PJRT_DEVICE = 'TPU', but the package libtpu is not installed; install tensorflow-tpu "
            "in place of tensorflow, or unset PJRT_DEVICE.")
    for name in _LIBRARIES:
        environment.setdefault(name, str(Path(found.origin).parent / "libtpu.so"))

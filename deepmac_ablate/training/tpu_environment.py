"""What TensorFlow has to find in the environment before it is imported where there are TPUs.

From v5e on, TPUs are reached through libtpu's stable interface (PJRT), which TensorFlow must be
told of by variables; TPUs up to v4 know no such interface and fail where the variables are set
(Google's page on training with TPU VMs on Vertex AI; the images that others published). So one
variable, ``PJRT_DEVICE=TPU``, which whoever starts the container sets for the generation that it
rents, switches the rest on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import MutableMapping
from pathlib import Path

from deepmac_ablate.errors import UserError

_SWITCH = "PJRT_DEVICE"
_LIBRARIES = ("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", "TPU_LIBRARY_PATH")
_INTERFACE = "NEXT_PLUGGABLE_DEVICE_USE_C_API"


def complete(environment: MutableMapping[str, str]) -> None:
    """Set what is missing; what is set already stays.

    Args:
        environment: Of this process, before TensorFlow is imported.

    Raises:
        UserError: If a TPU is wanted, but its library is not installed.
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

"""Which file system ``gs://`` uses."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import deepmac_ablate.storage
from etils.epath import gpath
print(gpath._is_tf_installed())
"""


@pytest.mark.parametrize("has_gcsfs", [True, False])
def test_gs_does_without_tensorflow_where_gcsfs_is_installed(tmp_path, has_gcsfs):
    """Tables of gs:// workdirs need no TensorFlow with gcsfs, and still work without gcsfs."""
    if not has_gcsfs and importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed here")
    if has_gcsfs:
        (tmp_path / "gcsfs.py").write_text("")
    environment = {name: value for name, value in os.environ.items() if name != "EPATH_USE_TF"}
    root = Path(__file__).parents[1]
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(root)])
    printed = subprocess.check_output([sys.executable, "-c", CODE], env=environment, text=True)
    assert str(not has_gcsfs) == printed.strip()

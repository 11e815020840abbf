"""Cache folder of the user; its content can always be recreated."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache_path(*names: str) -> Path:
    """Return a path in the cache folder of this package, without creating anything.

    Args:
        *names: Parts of the path below the folder, which is ``$XDG_CACHE_HOME/deepmac_ablate``, by
            default ``~/.cache/deepmac_ablate``.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return folder.joinpath("deepmac_ablate", *names)

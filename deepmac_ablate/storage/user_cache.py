"""The user's cache folder, which holds only what saves time."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(*names: str) -> Path:
    """Return a path below the cache folder of this package; nothing is made.

    Args:
        *names: Folders and file below it. Without any, the folder itself:
            ``$XDG_CACHE_HOME/deepmac_ablate``, by default ``~/.cache/deepmac_ablate``.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return folder.joinpath("deepmac_ablate", *names)

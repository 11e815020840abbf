"""Pack a sweep's workdir into one file, without checkpoints."""

from __future__ import annotations

import fnmatch
import io
import os
import tarfile
from typing import NamedTuple

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.removal import REMOVED, list_files
from deepmac_ablate.progress import track
from deepmac_ablate.storage import disk, file_io

_CHECKPOINTS = "trials/*/checkpoints/*"
# Locks, files that are being written, and XManager's database belong to one machine.
_LEFT_OUT = (
    _CHECKPOINTS, f"trials/{REMOVED}/*", "xmanager/*", "*.lock", "*/.*.tmp", ".*.tmp",
    "launches/*/lease", "*.lease")


class Archive(NamedTuple):
    """A written archive.

    Attributes:
        files: Number of files in it.
        size: Its size in bytes.
        checkpoints: Size in bytes of the checkpoints that were left out.
    """

    files: int
    size: int
    checkpoints: int


def pack_workdir(workdir: str, output: str) -> Archive:
    """Write the files of a workdir, but checkpoints, to a .tar.gz file.

    The file appears under its name when it is complete.

    Args:
        workdir: The workdir of a sweep, on a disk or on ``gs://``.
        output: Path of the file, on a disk, which does not exist. Its content is in one folder that
            is named after the workdir.

    Raises:
        UserError: If the output exists, or a file cannot be read or written.
    """
    if file_io.is_remote(output):
        raise UserError(f"--output must be a file on a disk, got {output}.")
    file_io.refuse_existing(epath.Path(output))
    root = os.path.basename(os.path.abspath(workdir.rstrip("/")))  # noqa: PTH100, PTH119
    sizes = dict(list_files(workdir))
    for trial in file_io.list_folders([f"{workdir}/trials"])[f"{workdir}/trials"]:
        # A trial's folder may be a link to a larger disk.
        if os.path.islink(f"{workdir}/trials/{trial.name}"):  # noqa: PTH114 - False on gs://
            sizes |= list_files(workdir, f"trials/{trial.name}/")
    names = [
        name for name in sizes
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT)]
    folder, base = os.path.split(output)
    temporary = epath.Path(folder or ".") / f".{disk.shorten_name(base)}.{os.getpid()}.tmp"
    files = 0
    try:
        with tarfile.open(temporary, "w:gz") as archive:
            for name in track(names, len(names), "Packing"):
                # A file of a running trial may have vanished.
                if (content := file_io.read(f"{workdir}/{name}")) is not None:
                    info = tarfile.TarInfo(f"{root}/{name}")
                    info.size, info.mode = len(content), 0o644
                    archive.addfile(info, io.BytesIO(content))
                    files += 1
        size = temporary.stat().length
        os.replace(temporary, output)  # noqa: PTH105
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot write {output}: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    checkpoints = sum(
        size for name, size in sizes.items() if fnmatch.fnmatchcase(name, _CHECKPOINTS))
    return Archive(files, size, checkpoints)

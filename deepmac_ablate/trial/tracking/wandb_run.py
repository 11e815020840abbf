"""A run of W&B's client, which prints nothing and keeps to one folder."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.tracking import offline_runs
from deepmac_ablate.trial.tracking.run_description import RunDescription

# A level of Python's `logging`; messages of the client below it are discarded.
_LOG_LEVEL = 40
# Bounds what is lost when the client is killed.
_SECONDS_BETWEEN_FLUSHES = 5.0
_SECONDS_TO_CONNECT = 60.0
# After the end of the trial, when nothing waits for it any more.
_SECONDS_TO_FINISH = 600.0


class WandbRun:
    """One run: a file of the client and, if W&B can be reached, a run on its server.

    Args:
        description: The names and the configuration of the run.
        mode: "offline", or "online", which falls back to "offline" if there is no server, key or
            network.
        folder: An existing folder on a disk; files go to ``wandb`` below it.
        warn: Called with one sentence if it falls back.

    Attributes:
        received: The next of W&B's own steps that the server expects; None if no server was asked.
    """

    def __init__(
        self,
        description: RunDescription,
        mode: Literal["offline", "online"],
        folder: epath.Path,
        warn: Callable[[str], None],
    ) -> None:
        # The folder holds everything that `wandb sync` needs. Errors are not reported, as offline
        # means that nothing is sent.
        home = str(folder / offline_runs.FOLDER)
        os.environ |= {
            "WANDB_DATA_DIR": home, "WANDB_CACHE_DIR": home, "WANDB_ERROR_REPORTING": "false"}
        import wandb

        self._wandb = wandb
        self.received: int | None = None
        try:
            self._run = self._start(description, mode, folder)
            if mode == "online":
                self.received = self._run.starting_step
        except Exception as error:
            if mode == "offline":
                raise
            warn(f"W&B cannot be reached ({_first_line(error)}); the run is stored in {home}, from "
                 "where `deepmac-ablate sync` uploads it")
            # Ends the client's other process, which takes the run to be in use.
            wandb.teardown(exit_code=1)
            self._run = self._start(description, "offline", folder)
        self._folder = epath.Path(self._run.dir).parent
        self._run.define_metric("global_step")
        self._run.define_metric("*", step_metric="global_step")

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        """Log values by name.

        W&B's own step never falls, so a late evaluation would be lost: it is logged at the present
        step instead, and `global_step` holds the true one.
        """
        own_step = max(step, self._run.step, self._run.starting_step)
        self._run.log({"global_step": step, **row}, step=own_step, commit=True)
        offline_runs.add_note(self._folder, step=step, own_step=own_step, names=sorted(row))

    def log_pictures(self, step: int, name: str, pictures: Mapping[str, bytes]) -> None:
        """Log PNG files by image id as a table; nothing if there are none."""
        if not pictures:
            return
        from PIL import Image

        table = self._wandb.Table(columns=["image", "overlay"])
        for image_id, data in pictures.items():
            table.add_data(image_id, self._wandb.Image(Image.open(io.BytesIO(data))))
        self.log(step, {name: table})

    def finish(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Write final values by name and end the run; exit code 0 stands for a finished trial."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=exit_code)
        offline_runs.add_note(self._folder, exit_code=exit_code)

    def _start(self, description: RunDescription, mode: str, folder: epath.Path) -> Any:  # noqa: ANN401
        return self._wandb.init(
            mode=mode, dir=str(folder), id=description.run_id, resume="allow",
            project=description.project, group=description.group or None,
            job_type=description.job_type, name=description.name, tags=description.tags,
            config=description.config,
            settings=self._wandb.Settings(
                silent=True, console="off", symlink=False,
                # These would describe the mirror's process, not the trainer's.
                x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
                x_save_requirements=False, disable_code=True, disable_git=True, save_code=False,
                x_log_level=_LOG_LEVEL, init_timeout=_SECONDS_TO_CONNECT,
                x_graphql_retry_max=2, finish_timeout=_SECONDS_TO_FINISH,
                x_transaction_log_flush_interval=_SECONDS_BETWEEN_FLUSHES))


def find_user() -> str:
    """Return the name of the user whose runs W&B's server would store.

    Raises:
        UserError: If the server cannot be reached, or refuses the login.
    """
    import wandb

    try:
        return wandb.Api(timeout=int(_SECONDS_TO_CONNECT)).viewer.username
    except Exception as error:
        # Of any kind: the client wraps those of the network and of the server.
        raise UserError(
            f"W&B cannot be used ({_first_line(error)}); run `wandb login`, set WANDB_API_KEY, or "
            "pass --tracking offline.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

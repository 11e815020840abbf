"""W&B's client, kept quiet and kept to one folder."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from etils import epath

from deepmac_ablate.trial.tracking import offline_runs
from deepmac_ablate.trial.tracking.run_description import Description

# Python's names of levels: what the client has to say of itself is of no interest below this.
_LOG_LEVEL = 40
# What a killed client loses at most.
_SECONDS_BETWEEN_FLUSHES = 5.0
_SECONDS_TO_CONNECT = 60.0
# After the end, when nobody waits any more.
_SECONDS_TO_FINISH = 600.0


class Client:
    """One run, which is one file of W&B's and, if it can be reached, a run on its server.

    Args:
        description: What the run is called.
        mode: "offline", or "online", which falls back to "offline" where there is no server, key
            or network.
        folder: An existing folder on a disk; files go to ``wandb`` below it.
        warn: Is told in one sentence if it did fall back.

    Attributes:
        received: Steps of W&B's own below this one are on the server; None where none was asked.
    """

    def __init__(
        self,
        description: Description,
        mode: Literal["offline", "online"],
        folder: epath.Path,
        warn: Callable[[str], None],
    ) -> None:
        # The folder holds everything that `wandb sync` needs. No reports of errors: offline means
        # that nothing is sent.
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
            warn(f"W&B cannot be reached ({_first_line(error)}); what it shall show is kept in "
                 f"{home}, for `deepmac-ablate sync`")
            # The client's other process thinks that the run is in use.
            wandb.teardown(exit_code=1)
            self._run = self._start(description, "offline", folder)
        self._folder = epath.Path(self._run.dir).parent
        self._run.define_metric("global_step")
        self._run.define_metric("*", step_metric="global_step")

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        """Log values by name.

        W&B's own step only rises, so that an evaluation that comes late would be lost: it is moved
        up, and `global_step` is the one to look at.
        """
        own_step = max(step, self._run.step, self._run.starting_step)
        self._run.log({"global_step": step, **row}, step=own_step, commit=True)
        offline_runs.add_note(self._folder, step=step, own_step=own_step, names=sorted(row))

    def log_pictures(self, step: int, name: str, pictures: Mapping[str, bytes]) -> None:
        """Log PNG files by id as a table; nothing where there are none."""
        if not pictures:
            return
        from PIL import Image

        table = self._wandb.Table(columns=["image", "overlay"])
        for image_id, data in pictures.items():
            table.add_data(image_id, self._wandb.Image(Image.open(io.BytesIO(data))))
        self.log(step, {name: table})

    def finish(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Write last values by name and end the run, with 0 for a trial that is finished."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=exit_code)
        offline_runs.add_note(self._folder, exit_code=exit_code)

    def _start(self, description: Description, mode: str, folder: epath.Path) -> Any:  # noqa: ANN401
        return self._wandb.init(
            mode=mode, dir=str(folder), id=description.run_id, resume="allow",
            project=description.project, group=description.group or None,
            job_type=description.job_type, name=description.name, tags=description.tags,
            config=description.config,
            settings=self._wandb.Settings(
                silent=True, console="off", symlink=False,
                # Of this process, which is not the one to know about.
                x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
                x_save_requirements=False, disable_code=True, disable_git=True, save_code=False,
                x_log_level=_LOG_LEVEL, init_timeout=_SECONDS_TO_CONNECT,
                x_graphql_retry_max=2, finish_timeout=_SECONDS_TO_FINISH,
                x_transaction_log_flush_interval=_SECONDS_BETWEEN_FLUSHES))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

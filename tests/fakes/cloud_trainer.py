"""Trainer without a model whose files may be on ``gs://``: `fake_trainer` for a cloud.

::

    python -m tests.fakes.cloud_trainer FOLDER MODE

Bindings: ``steps = 5``; ``seconds = 0.01`` a step; ``end = finish`` or ``fail SENTENCE``;
``unless = FILE``, whose presence makes it finish after all.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import time

from etils import epath

from deepmac_ablate.storage import file_io, line_files

asked = []


def main(folder: epath.Path, mode: str) -> int:
    trial = json.loads((folder / "trial.json").read_text())
    says = dict(binding.split(" = ", 1) for binding in trial["bindings"])
    steps, seconds = int(says.get("steps", 3)), float(says.get("seconds", 0.0))
    end = says.get("end", "finish")
    if pathlib.Path(says.get("unless", "/nonexistent")).exists():
        end = "finish"
    print("the key is", os.environ["WANDB_API_KEY"], flush=True)
    line_files.append_line(
        folder / "starts.jsonl", json.dumps({"mode": mode, "time": time.time()}))
    checkpoint = folder / "checkpoint.json"
    if mode == "continuous_eval":
        while int(file_io.read(checkpoint) or 0) < steps:
            if asked:
                return 75
            time.sleep(0.1)
        file_io.write(folder / "result.json", json.dumps({"step": steps}))
        return 0
    step = int(file_io.read(checkpoint) or 0)
    while step < steps:
        if asked:
            return 75
        time.sleep(seconds)
        step += 1
        if step == steps and end.startswith("fail"):
            raise ValueError(end.removeprefix("fail "))
        print(f"step {step} of {steps}", flush=True)
        line_files.append_line(
            folder / "metrics.jsonl", json.dumps({"step": step, "train/total_loss": 1 / step}))
        file_io.write(checkpoint, str(step))
    line_files.merge_parts(folder / "metrics.jsonl")
    if mode == "train_and_eval":
        file_io.write(folder / "result.json", json.dumps({"step": steps}))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    sys.exit(main(epath.Path(sys.argv[1]), sys.argv[2]))

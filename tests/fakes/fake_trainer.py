"""Trainer without a model: counts steps, saves checkpoints, ends as its bindings say.

::

    python fake_trainer.py FOLDER MODE

Bindings: ``steps = 5``; ``seconds = 0.01`` a step; ``end = finish``, ``fail SENTENCE``, ``hang``
or ``diverge``; ``unless = FILE``, whose presence makes it finish after all. It takes further trials
from its supervisor. In its folder it writes its starts and finishes, and overlaps with others.
"""

import fcntl
import json
import os
import pathlib
import signal
import sys
import time

asked, guards = [], []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))


def write(path, value):
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def append(path, value):
    # An incomplete last line, which a full disk leaves, is removed first, as by the trainer.
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
    with path.open("a") as file:
        file.write(json.dumps(value) + "\n")


def main(folder, mode):
    trial = json.loads((folder / "trial.json").read_text())
    settings = dict(binding.split(" = ", 1) for binding in trial["bindings"])
    steps, seconds = int(settings.get("steps", 3)), float(settings.get("seconds", 0.0))
    end = settings.get("end", "finish")
    if pathlib.Path(settings.get("unless", "/nonexistent")).exists():
        end = "finish"
    append(folder / "starts.jsonl", {"mode": mode, "pid": os.getpid()})
    if mode.startswith("train"):
        # Held to the end of this process, or until the next trial.
        guards[:] = [(folder / ".training").open("w")]
        try:
            fcntl.flock(guards[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            append(folder / "overlaps.jsonl", os.getpid())
    print(f"training in {folder.name}", flush=True)
    checkpoint = folder / "checkpoint.json"
    if mode == "continuous_eval":
        while not (checkpoint.exists() and json.loads(checkpoint.read_text()) >= steps):
            if asked:
                return 75
            time.sleep(0.02)
        write(folder / "result.json", {"step": steps})
        return 0
    step = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
    while step < steps:
        if asked:
            return 75
        time.sleep(seconds)
        step += 1
        if step == steps and end.startswith("fail"):
            raise ValueError(end.removeprefix("fail "))
        append(folder / "metrics.jsonl", {"step": step, "train/total_loss": 1 / step})
        write(checkpoint, step)
    if end == "hang":
        # It writes nothing and ignores signals.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if end == "diverge":
        print("deepmac-ablate: The loss is nan between steps 2 and 3.", file=sys.stderr)
        return 3
    if mode in ("train_and_eval", "rehearse"):
        write(folder / "result.json", {"step": steps})
        append(folder / "finishes.jsonl", os.getpid())
    if mode == "rehearse":
        write(folder / "rehearsal.json", {
            "step_seconds": 0.5, "timed_steps": 1, "image_seconds": 0.1, "images": 150,
            "setup_seconds": 20.0, "restart_seconds": 4.0})
    return 0


sys.path.append(str(pathlib.Path(__file__).parents[2]))

from deepmac_ablate.launch.supervision.handover import next_command  # noqa: E402

words = sys.argv
while (status := main(pathlib.Path(words[1]), words[2])) == 0 and (command := next_command()):
    words = command[2:]
sys.exit(status)

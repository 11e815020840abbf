"""What a person sees of a sweep: on a terminal, in a log, at the end."""

from __future__ import annotations

import hashlib
import io
import re
import time

import pytest
from rich.console import Console

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import status_display
from deepmac_ablate.launch.status_display import Board, TrialRow, digest, table_text
from deepmac_ablate.launch.status_rows import sweep_seconds_left


def row(number, status, arm="baseline", **fields):
    """A trial with an id of twelve digits."""
    trial_id = hashlib.sha256(str(number).encode()).hexdigest()[:12]
    fields = {"steps": 1000, "attempt": int(status != "new"), **fields}
    return TrialRow(trial_id, arm, number, status, **fields)


def nan(number, **fields):
    cause = f"The loss is nan between steps {number} and {number + 10}."
    return row(number, "failed", cause=cause, **fields)


SWEEP = [
    *(row(n, "finished", step=1000, seconds=500.0) for n in range(100)),
    *(row(n, "new", "hourglass52, proposals without ground-truth boxes") for n in range(100, 400)),
    row(400, "running", "hourglass52, proposals with ground-truth boxes", step=400, loss=1.23456,
        steps_per_second=2.0, seconds=3725.0),
    *(nan(n, step=7, attempt=2) for n in range(401, 404)),
    row(404, "failed", "crop [32]", cause="killed by SIGKILL (out of memory?)"),
    row(405, "interrupted", step=5, cause="asked to end"),
]


def seen(rows, width=80, height=24, trouble=""):
    """The lines of a terminal of a size."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(status_display._board(rows, trouble, width, height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("height", [10, 24, 50, 1000])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("trouble", ["", "Line 3 of x is broken, as it is no JSON; " * 3])
def test_the_board_fits_the_terminal(height, width, trouble):
    """In height and width; all trials are shown or counted."""
    lines = seen(SWEEP, width, height, trouble)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    listed = sum(re.match(r"[0-9a-f]{12} ", line) is not None for line in lines)
    folded = [line for line in lines if line.startswith("and ")]
    counted = sum(map(int, re.findall(r"\d+", folded[0]))) if folded else 0
    assert len(SWEEP) == listed + counted
    assert bool(folded) == (height < 1000)


@pytest.mark.parametrize(
    ("width", "heads"),
    [(90, "trial arm seed status step loss time left code"),
     (80, "trial arm seed status step loss left code"),
     (75, "trial arm seed status step left code")],
)
def test_a_narrow_terminal_does_without_some_columns(width, heads):
    """Once arms would be shorter than ten characters."""
    rows = [row(1, "running", "hourglass52, all inputs", step=88000, steps=90000, loss=1.2345,
                steps_per_second=0.1, seconds=36000.0, code_state="mixed code"),
            row(2, "interrupted")]
    lines = seen(rows, width)
    assert heads.split() == lines[0].split()
    assert max(map(len, lines)) <= width
    assert re.match(r"\w{12} hourglass.*… ", lines[1])
    assert lines[1].endswith(" 5:33:20 mixed code")
    assert max(map(len, seen(rows, width=40))) <= 40
    short = [it._replace(arm="a") for it in rows]
    needed = max(map(len, seen(short, width=200)))
    assert "time" in seen(short, needed)[0]
    assert "time" not in seen(short, needed - 1)[0]


def test_who_needs_a_look_comes_first():
    """Running, failed and interrupted ones are listed; the many others are counted in one line."""
    lines = seen(SWEEP, height=16)
    statuses = [match[1] for line in lines if (match := re.match(r"\w{12} .* \d+ (\w+)", line))]
    assert ["running", *["failed"] * 4, "interrupted"] == statuses[:6]
    assert set(statuses[6:]) <= {"new"}
    assert f"and 100 finished, {300 - len(statuses[6:])} new" in lines
    assert "1 running, 100 finished, 4 failed, 1 interrupted, 300 new" in lines


def test_the_line_of_a_trial_is_complete():
    """All but the arm's label, which gives way where the terminal is narrow."""
    lines = seen(SWEEP)
    assert ["trial", "arm", "seed", "status", "step", "loss", "time", "left"] == lines[0].split()
    (running,) = [line for line in lines if "running " in line and "400/1000" in line]
    # 600 steps at 2 a second.
    assert re.fullmatch(
        rf"{SWEEP[400].id} hourglass52,.*… +400 running +400/1000 +1\.235 +1:02:05 +5:00", running)
    (wide,) = [line for line in seen(SWEEP, width=120) if "400/1000" in line]
    assert "hourglass52, proposals with ground-truth boxes" in wide
    assert any("crop [32]" in line for line in lines)


def test_the_causes_of_failures_are_below_the_table():
    """Same causes once, with how many there are."""
    lines = seen(SWEEP)
    assert "3 x The loss is nan between steps 401 and 411." in lines
    assert "1 x killed by SIGKILL (out of memory?)" in lines


def test_a_trial_without_steps_left_evaluates():
    """It has no time left that anybody could tell."""
    (line,) = [it for it in seen([row(1, "running", step=1000, steps_per_second=1.0)])
               if "1000/1000" in it]
    assert line.endswith("evaluates")


def test_colours_tell_the_statuses_apart():
    """Each status has one of its own."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    rows = [row(n, status) for n, status in enumerate(
        ("new", "queued", "running", "finished", "failed", "interrupted"))]
    console.print(status_display._board(rows, "", 80, 24))
    codes = {
        status: re.search(rf"\x1b\[([\d;]+)m{status} *\x1b", console.file.getvalue())[1]
        for status in ("new", "queued", "running", "finished", "failed", "interrupted")}
    assert 6 == len(set(codes.values()))


def test_the_time_that_a_sweep_takes_yet():
    """Steps left at the pace of their arms, shared by as many trials as are running now."""
    fast = row(1, "running", "fast", step=500, steps_per_second=10.0)
    slow = row(2, "running", "slow", step=0, steps_per_second=1.0)
    # 50 s and 1000 s are left: the longer one decides.
    assert 1000.0 == pytest.approx(sweep_seconds_left([fast, slow]))
    waiting = [row(3, "new", "slow"), row(4, "interrupted", "fast", step=900)]
    done = [row(5, "finished", "slow", step=1000), nan(6)]
    work = 50 + 1000 + 1000 + 10
    assert work / 2 == pytest.approx(sweep_seconds_left([fast, slow, *waiting, *done]))
    # An arm that never ran takes the mean of 0.1 and 1 s a step.
    other = row(7, "finished", "other", steps_per_second=1.0)
    assert 50 + 550 == pytest.approx(sweep_seconds_left([fast, row(3, "new", "slow"), other]))
    assert sweep_seconds_left([*waiting, *done]) is None
    assert sweep_seconds_left([row(1, "running")]) is None


def test_the_share_of_steps_that_is_done():
    """Finished trials count whole, though their last step was never noted."""
    rows = [row(1, "running", step=400, steps_per_second=2.0), row(2, "finished")]
    assert "70 % of all steps, about 5:00 left" == seen(rows)[-1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "0:07"), (59.6, "1:00"), (754, "12:34"), (18754, "5:12:34"), (172799, "47:59:59"),
     (277200, "3d 05h")],
)
def test_times_are_short(seconds, text):
    """Seconds where they matter, days where they do not."""
    (line,) = [it for it in seen([row(1, "finished", seconds=seconds)]) if "finished  " in it]
    assert line.endswith(f" {text}")


class Sweep:
    """Trials that a test changes while a board shows them."""

    def __init__(self, *rows):
        self.rows = list(rows)
        self.read = 0
        self.trouble = None

    def __call__(self):
        """Every second in life, more often here."""
        self.read += 1
        if self.trouble is not None:
            raise self.trouble
        return list(self.rows)

    def wait(self):
        """Until what is there now has been read and shown."""
        deadline, seen = time.monotonic() + 10, self.read
        while self.read < seen + 2:
            assert time.monotonic() < deadline
            time.sleep(0.002)


def logged(console):
    """What a log holds, without the times that begin its lines."""
    lines = console.file.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    return [line[9:] for line in lines]


def test_a_log_gets_a_line_for_each_change():
    """Of status or attempt; what was so before is counted; nothing is broken into two lines."""
    console = Console(file=io.StringIO(), width=80)
    sweep = Sweep(row(0, "finished", step=1000), row(1, "new"), row(2, "new", "[bold]" * 20))
    with Board(sweep, console, seconds=0.005):
        sweep.wait()
        sweep.rows[1] = row(1, "running")
        sweep.wait()
        sweep.rows[1] = row(1, "running", step=500, loss=0.1)
        sweep.wait()
        sweep.rows[1] = row(1, "interrupted", step=500, cause="asked to end")
        sweep.rows[2] = row(2, "running", "[bold]" * 20)
        sweep.wait()
        sweep.rows[1] = row(1, "running", attempt=2, step=500, code_state="mixed code")
        sweep.wait()
        # The last news is seen, however soon the display ends.
        sweep.rows[1] = row(1, "finished", attempt=2, step=1000)
    one, other = (f"{it.id} {it.arm}, seed {it.seed}: " for it in sweep.rows[1:])
    assert [
        "1 finished, 2 new; 33 % of all steps",
        f"{one}running",
        f"{one}interrupted, at step 500/1000: asked to end",
        f"{other}running",
        f"{one}running, attempt 2, at step 500/1000, mixed code",
        f"{one}finished, attempt 2",
    ] == logged(console)


def test_a_log_gets_counts_each_minute(monkeypatch):
    """At the beginning, and then once a minute however often it is read."""
    clock = [0.0]
    monkeypatch.setattr(status_display.time, "monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), width=80)
    board = Board(Sweep(row(0, "running", step=250, steps_per_second=2.5)), console)
    for second in range(150):
        clock[0] = float(second)
        board._refresh()
    assert ["1 running; 25 % of all steps, about 5:00 left"] * 3 == logged(console)


def test_trouble_in_reading_is_said_once_and_the_board_goes_on():
    """A broken or vanished file ends neither the display nor the sweep."""
    console = Console(file=io.StringIO(), width=80)
    sweep = Sweep(row(1, "new"))
    with Board(sweep, console, seconds=0.005):
        sweep.wait()
        sweep.trouble = UserError("result.json is broken.")
        sweep.wait()
        sweep.trouble = OSError(5, "Input/output error")
        sweep.wait()
        sweep.trouble = None
        sweep.rows = [row(1, "running")]
        sweep.wait()
    prefix = "Cannot read how the sweep is getting on: "
    assert [
        "1 new; 0 % of all steps",
        f"{prefix}result.json is broken.",
        f"{prefix}[Errno 5] Input/output error",
        f"{row(1, 'new').id} baseline, seed 1: running",
    ] == logged(console)


def test_a_terminal_is_kept_up_to_date():
    """The table is drawn anew in its place, and its last state stays."""
    console = Console(
        file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    sweep = Sweep(row(1, "running", step=1))
    with Board(sweep, console, seconds=0.005):
        sweep.wait()
        sweep.rows = [row(1, "running", step=999)]
        sweep.wait()
        sweep.rows = [row(1, "finished", step=1000)]
    text = console.file.getvalue()
    assert text.index(" 1/1000") < text.index(" 999/1000") < text.index("1 finished")
    # The cursor goes up, and is shown again at the end.
    assert "\x1b[1A" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "999/1000" not in text[text.index("1000/1000"):]


def test_a_board_ends_with_what_it_shows():
    """An error passes through it and leaves no thread behind."""
    sweep = Sweep()
    with pytest.raises(KeyboardInterrupt), Board(sweep, Console(file=io.StringIO()), 0.005):
        raise KeyboardInterrupt
    read = sweep.read
    time.sleep(0.05)
    assert read == sweep.read


def test_the_table_for_a_look_is_complete():
    """Every trial in the order given, labels unabridged, no colours, and the counts below."""
    rows = [SWEEP[400], SWEEP[0], SWEEP[404], SWEEP[100]]
    lines = table_text(rows).splitlines()
    assert [it.id for it in rows] == [line[:12] for line in lines[1:5]]
    assert [it.arm for it in rows] == [
        re.sub(r" +\d+ [a-z]+( .*)?$", "", line[13:]) for line in lines[1:5]]
    assert "1 running, 1 finished, 1 failed, 1 new; 35 % of all steps, about 13:20 left" == lines[5]
    assert "\x1b" not in "".join(lines)
    assert "code" not in lines[0]


def test_the_table_flags_other_code():
    """In a column that is there only if there is something to say."""
    lines = table_text([SWEEP[0], SWEEP[1]._replace(code_state="mixed code")]).splitlines()
    assert lines[0].endswith(" code")
    assert lines[2].endswith(" mixed code")
    assert "code" not in lines[1]


def test_an_empty_sweep_has_a_table():
    """It says that there is nothing."""
    assert "no trials" in table_text([])
    assert "no trials" in seen([])[1]


def test_the_digest_groups_failures_by_cause():
    """The largest group first, each with an example and its log; all trials are counted."""
    rows = [
        row(1, "failed", "crop 32", cause="killed by SIGKILL (out of memory?)",
            log="trials/x/logs/train-3.log"),
        nan(2), nan(3), *(row(n, "finished") for n in range(4, 16)),
        row(16, "interrupted"), row(17, "interrupted"), nan(18)]
    assert (
        "3 failed: The loss is nan between steps 2 and 12.\n"
        f"    for instance {rows[1].id} (baseline, seed 2): trials/{rows[1].id}/logs\n"
        "1 failed: killed by SIGKILL (out of memory?)\n"
        f"    for instance {rows[0].id} (crop 32, seed 1): trials/x/logs/train-3.log\n"
        "12 finished, 4 failed, 2 interrupted, 0 missing") == digest(rows)


def test_the_digest_of_a_sweep_that_goes_on():
    """What never started is missing; what runs, and what waits for a machine, is named."""
    rows = [row(1, "new"), row(2, "new"), row(3, "running"), row(4, "failed"), row(5, "queued")]
    assert [
        "1 failed: no cause is known",
        "0 finished, 1 failed, 0 interrupted, 2 missing, 1 running, 1 queued",
    ] == digest(rows).splitlines()[::2]


@pytest.mark.parametrize(("finished", "listed"), [(199, 200), (200, 1)])
def test_of_hundreds_of_trials_the_finished_ones_are_only_counted(finished, listed):
    """Up to 200 all are in the table; of more, what somebody has to look at."""
    rows = [*(row(n, "finished") for n in range(finished)), row(999, "failed", cause="x")]
    lines = table_text(rows).splitlines()
    assert listed == sum(re.match(r"[0-9a-f]{12} ", line) is not None for line in lines)
    assert rows[-1].id in lines[-2]
    flagged = table_text([rows[0]._replace(code_state="other code"), *rows[1:]])
    assert rows[0].id in flagged
    assert f"{finished} finished, 1 failed" in lines[-1]

"""The display of a sweep's status: on a terminal, in a log, as a table."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import status_display
from deepmac_ablate.launch.status_display import StatusDisplay, status_table
from deepmac_ablate.launch.status_rows import Evaluating, Pace
from tests.launch.test_status_rows import nan, row

SWEEP = [
    *(row(n, "finished", step=1000, seconds=500.0) for n in range(100)),
    *(row(n, "new", "hourglass52, proposals without ground-truth boxes") for n in range(100, 400)),
    row(400, "running", "hourglass52, proposals with ground-truth boxes", step=400, loss=1.23456,
        steps_per_second=2.0, seconds=3725.0),
    *(nan(n, step=7, attempt=2) for n in range(401, 404)),
    row(404, "failed", "crop [32]", cause="killed by SIGKILL (out of memory?)"),
    row(405, "interrupted", step=5, cause="asked to end"),
]


def terminal_lines(rows, width=80, height=24, error=""):
    """The lines on a terminal of a size."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(status_display._terminal_view(rows, error, width, height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("height", [10, 24, 50, 1000])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("error", ["", "Line 3 of x is not valid JSON; " * 4])
def test_the_view_fits_the_terminal(height, width, error):
    """In height and width; all trials are listed or counted."""
    lines = terminal_lines(SWEEP, width, height, error)
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
    """Columns are left out once the labels of arms would be shorter than ten characters."""
    rows = [row(1, "running", "hourglass52, all inputs", step=88000, steps=90000, loss=1.2345,
                steps_per_second=0.1, seconds=36000.0, code_state="mixed code"),
            row(2, "interrupted")]
    lines = terminal_lines(rows, width)
    assert heads.split() == lines[0].split()
    assert max(map(len, lines)) <= width
    assert re.match(r"\w{12} hourglass.*… ", lines[1])
    assert lines[1].endswith(" 5:33:20 mixed code")
    assert max(map(len, terminal_lines(rows, width=40))) <= 40
    short = [each._replace(arm="a") for each in rows]
    needed = max(map(len, terminal_lines(short, width=200)))
    assert "time" in terminal_lines(short, needed)[0]
    assert "time" not in terminal_lines(short, needed - 1)[0]


def test_trials_that_need_attention_come_first():
    """Running, failed and interrupted trials are listed; the many others are counted."""
    lines = terminal_lines(SWEEP, height=16)
    statuses = [match[1] for line in lines if (match := re.match(r"\w{12} .* \d+ (\w+)", line))]
    assert ["running", *["failed"] * 4, "interrupted"] == statuses[:6]
    assert set(statuses[6:]) <= {"new"}
    assert f"and 100 finished, {300 - len(statuses[6:])} new" in lines
    assert "1 running, 100 finished, 4 failed, 1 interrupted, 300 new" in lines


def test_the_line_of_a_trial_is_complete():
    """Only the label of the arm is shortened on a narrow terminal."""
    lines = terminal_lines(SWEEP)
    assert ["trial", "arm", "seed", "status", "step", "loss", "time", "left"] == lines[0].split()
    (running,) = [line for line in lines if "running " in line and "400/1000" in line]
    # 600 steps at 2 a second.
    assert re.fullmatch(
        rf"{SWEEP[400].id} hourglass52,.*… +400 running +400/1000 +1\.235 +1:02:05 +5:00", running)
    (wide,) = [line for line in terminal_lines(SWEEP, width=120) if "400/1000" in line]
    assert "hourglass52, proposals with ground-truth boxes" in wide
    assert any("crop [32]" in line for line in lines)


def test_the_causes_of_failures_are_below_the_table():
    """Each cause is listed once with the number of trials."""
    lines = terminal_lines(SWEEP)
    assert "3 x The loss is nan between steps 401 and 411." in lines
    assert "1 x killed by SIGKILL (out of memory?)" in lines


@pytest.mark.parametrize(("fields", "ending"), [
    ({"seconds": 5.0}, "starting +0:05"),
    ({"step": 400, "steps_per_second": 2.0}, "400/1000 +0:00 +5:00"),
    ({"step": 400, "steps_per_second": 2.0, "evaluating": Evaluating(10, 50, 5.0)},
     r"400/1000, evaluating 10 of 50 +0:00 +5:20"),
    ({"step": 1000, "steps_per_second": 2.0, "evaluating": Evaluating(61, 150, 61.0)},
     "evaluating 61 of 150 +0:00 +1:29"),
    # Its annotations are being read, or its numbers written.
    ({"step": 1000, "steps_per_second": 2.0}, "evaluating +0:00"),
])
def test_a_running_trial_shows_its_phase_and_the_time_left(fields, ending):
    """It starts, trains, and evaluates so many images, on the way or at the end."""
    lines = terminal_lines([row(1, "running", **fields)], width=120)
    (line,) = [line for line in lines if "running" in line and "baseline" in line]
    assert re.search(rf" running +{ending}$", line), line


def test_time_left_includes_what_other_trials_of_the_arm_took():
    """The evaluation of 150 images, measured in a finished trial or known from a rehearsal."""
    running = row(1, "running", step=400, steps_per_second=2.0)
    done = row(2, "finished", pace=Pace(0.5, 10.0, None, 0.2, 150))
    assert "70 % of all steps, about 5:30 left" == terminal_lines([running, done])[-1]
    assert status_table([running], {"baseline": done.pace}).endswith("about 5:30 left")


def test_each_status_has_a_colour_of_its_own():
    """The terminal shows six statuses in six colours."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    rows = [row(n, status) for n, status in enumerate(
        ("new", "queued", "running", "finished", "failed", "interrupted"))]
    console.print(status_display._terminal_view(rows, "", 80, 24))
    codes = {
        status: re.search(rf"\x1b\[([\d;]+)m{status} *\x1b", console.file.getvalue())[1]
        for status in ("new", "queued", "running", "finished", "failed", "interrupted")}
    assert 6 == len(set(codes.values()))


def test_the_share_of_steps_that_is_done():
    """Finished trials count in full, even if their last step was not logged."""
    rows = [row(1, "running", step=400, steps_per_second=2.0), row(2, "finished")]
    assert "70 % of all steps, about 5:00 left" == terminal_lines(rows)[-1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "0:07"), (59.6, "1:00"), (754, "12:34"), (18754, "5:12:34"), (172799, "47:59:59"),
     (277200, "3d 05h")],
)
def test_times_are_short(seconds, text):
    """Seconds are shown up to two days, then days and hours."""
    lines = terminal_lines([row(1, "finished", seconds=seconds)])
    (line,) = [line for line in lines if "finished  " in line]
    assert line.endswith(f" {text}")


class Sweep:
    """Trials that a test changes while they are displayed."""

    def __init__(self, *rows):
        self.rows = list(rows)
        self.reads = 0
        self.error = None

    def __call__(self):
        """Return the present rows, or raise the present error."""
        self.reads += 1
        if self.error is not None:
            raise self.error
        return list(self.rows)

    def wait(self):
        """Wait until the present rows have been read and displayed."""
        deadline, reads = time.monotonic() + 10, self.reads
        while self.reads < reads + 2:
            assert time.monotonic() < deadline
            time.sleep(0.002)


def logged(console):
    """The lines of a log without the times at their beginnings."""
    lines = console.file.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    return [line[9:] for line in lines]


def test_a_log_gets_a_line_for_each_change():
    """Changes of status or attempt are logged, one line each; earlier ones are counted."""
    console = Console(file=io.StringIO(), width=80)
    sweep = Sweep(row(0, "finished", step=1000), row(1, "new"), row(2, "new", "[bold]" * 20))
    with StatusDisplay(sweep, console, poll_seconds=0.005):
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
        # The last change is logged even if the display ends at once.
        sweep.rows[1] = row(1, "finished", attempt=2, step=1000)
    one, other = (f"{each.id} {each.arm}, seed {each.seed}: " for each in sweep.rows[1:])
    assert [
        "1 finished, 2 new; 33 % of all steps",
        f"{one}running",
        f"{one}interrupted, at step 500/1000: asked to end",
        f"{other}running",
        f"{one}running, attempt 2, at step 500/1000, mixed code",
        f"{one}finished, attempt 2",
    ] == logged(console)


def test_a_log_gets_counts_each_minute(monkeypatch):
    """At the start and then once a minute, however often the rows are read."""
    clock = [0.0]
    monkeypatch.setattr(status_display.time, "monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), width=80)
    display = StatusDisplay(Sweep(row(0, "running", step=250, steps_per_second=2.5)), console)
    for second in range(150):
        clock[0] = float(second)
        display._refresh()
    assert ["1 running; 25 % of all steps, about 5:00 left"] * 3 == logged(console)


def test_errors_are_logged_once_and_the_display_goes_on():
    """A broken or missing file ends neither the display nor the sweep."""
    console = Console(file=io.StringIO(), width=80)
    sweep = Sweep(row(1, "new"))
    with StatusDisplay(sweep, console, poll_seconds=0.005):
        sweep.wait()
        sweep.error = UserError("result.json is broken.")
        sweep.wait()
        sweep.error = OSError(5, "Input/output error")
        sweep.wait()
        sweep.error = None
        sweep.rows = [row(1, "running")]
        sweep.wait()
    prefix = "Cannot read the status of the sweep: "
    assert [
        "1 new; 0 % of all steps",
        f"{prefix}result.json is broken.",
        f"{prefix}[Errno 5] Input/output error",
        f"{row(1, 'new').id} baseline, seed 1: running",
    ] == logged(console)


def test_a_terminal_is_kept_up_to_date():
    """The table is redrawn in place, and its last state stays."""
    console = Console(
        file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    sweep = Sweep(row(1, "running", step=1))
    with StatusDisplay(sweep, console, poll_seconds=0.005):
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


def test_the_display_ends_with_its_context():
    """An error passes through, and no thread goes on reading."""
    sweep = Sweep()
    with pytest.raises(KeyboardInterrupt), StatusDisplay(sweep, Console(file=io.StringIO()), 0.005):
        raise KeyboardInterrupt
    reads = sweep.reads
    time.sleep(0.05)
    assert reads == sweep.reads


def test_the_plain_table_is_complete():
    """It has every trial in the order given, full labels, no colours, and the progress below."""
    rows = [SWEEP[400], SWEEP[0], SWEEP[404], SWEEP[100]]
    lines = status_table(rows).splitlines()
    assert [each.id for each in rows] == [line[:12] for line in lines[1:5]]
    assert [each.arm for each in rows] == [
        re.sub(r" +\d+ [a-z]+( .*)?$", "", line[13:]) for line in lines[1:5]]
    assert ["35 % of all steps, about 13:20 left"] == lines[5:]
    assert "\x1b" not in "".join(lines)
    assert "code" not in lines[0]


def test_the_table_flags_other_code():
    """The column exists only if a trial was made by other code."""
    lines = status_table([SWEEP[0], SWEEP[1]._replace(code_state="mixed code")]).splitlines()
    assert lines[0].endswith(" code")
    assert lines[2].endswith(" mixed code")
    assert "code" not in lines[1]


def test_an_empty_sweep_has_a_table():
    """It says that there are no trials."""
    assert "no trials" in status_table([])
    assert "no trials" in terminal_lines([])[1]


@pytest.mark.parametrize(("finished", "listed"), [(199, 200), (200, 1)])
def test_of_hundreds_of_trials_the_finished_ones_are_left_out(finished, listed):
    """Up to 200 trials are all listed; of more, only those that are not simply finished."""
    rows = [*(row(n, "finished") for n in range(finished)), row(999, "failed", cause="x")]
    lines = status_table(rows).splitlines()
    assert listed == sum(re.match(r"[0-9a-f]{12} ", line) is not None for line in lines)
    assert rows[-1].id in lines[-2]
    flagged = status_table([rows[0]._replace(code_state="other code"), *rows[1:]])
    assert rows[0].id in flagged

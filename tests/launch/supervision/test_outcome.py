"""The one sentence that a person needs about a command that ended, from its log."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from deepmac_ablate.launch.supervision.outcome import (
    Outcome,
    StopReason,
    decide_outcome,
    supervisor_exit_status,
)


def cause(output: str | bytes, code: int = 1) -> str | None:
    text = output if isinstance(output, str) else output.decode(errors="replace")
    return decide_outcome(code, None, text).cause


TRACEBACK = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    raise {0}
{0}
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "exit status 1"),
        ("one\n\ntwo\n  \n", "exit status 1; last line of the log: two"),
        ("10 %\r20 %\r", "exit status 1; last line of the log: 20 %"),
        (TRACEBACK.format("KeyError: 'x'") + "bye\n", "KeyError: 'x'"),
        # A cause and what was raised from it.
        (TRACEBACK.format("KeyError: 'x'") + "\nThe above exception was the direct cause of the "
         "following exception:\n\n" + TRACEBACK.format("ValueError: y"), "ValueError: y"),
        # A message of two lines.
        (TRACEBACK.format("ValueError: y") + "second line\n", "ValueError: y"),
        # Whatever is said last: a warning's traceback does not end a program.
        (TRACEBACK.format("KeyError: 'x'") + "deepmac-ablate: A is no B.\n", "A is no B."),
        ("deepmac-ablate: A is no B.\n" + TRACEBACK.format("KeyError: 'x'"), "KeyError: 'x'"),
        ("usage: x\ndeepmac-ablate train: error: unrecognized arguments: --x\n",
         "unrecognized arguments: --x"),
        # Not the program's word.
        ("see deepmac-ablate: no\n", "exit status 1; last line of the log: see deepmac-ablate: no"),
        (b"\xff\xfe\n", "exit status 1; last line of the log: ��"),
    ],
)  # fmt: skip
def test_the_cause_is_the_last_word_of_the_log(log, expected):
    """The cause is the last error message or exception in the log, if there is one."""
    assert expected == cause(log)


def test_a_real_exception_is_found():
    """The cause of a Python traceback is its last exception, without notes."""
    code = "try:\n  1 / 0\nexcept ZeroDivisionError as e:\n  raise OSError('disk on fire') from e"
    log = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, check=False).stderr
    assert "OSError: disk on fire" == cause(log)


@pytest.mark.slow
@pytest.mark.extended
def test_an_error_in_a_graph_is_found():
    """The cause of a TensorFlow graph error is the message below its own traceback."""
    code = """
import tensorflow as tf

@tf.function
def reshape(n):
    return tf.reshape(tf.range(n), [5, 5])

reshape(tf.constant(3))
"""
    log = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, check=False).stderr
    assert b"Graph execution error" in log
    assert (
        "InvalidArgumentError: Input to reshape is a tensor with 3 values, but the requested shape "
        "has 25") == cause(log)


@pytest.mark.extended
@pytest.mark.slow
def test_errors_while_a_function_is_traced_are_those_of_the_user():
    """Not that of the library that converts it; real TensorFlow writes both."""
    code = """
import tensorflow as tf

@tf.function
def loss(outputs):
    if tf.reduce_sum(outputs["a"]) > 0:
        return outputs["mask_logits"]
    return outputs["a"]

loss({"a": tf.constant(1.0)})
"""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        # AutoGraph needs the source.
        file.write(code)
        file.flush()
        log = subprocess.run(
            [sys.executable, file.name], stderr=subprocess.PIPE, check=False).stderr
    assert b"in user code:" in log
    assert "KeyError: 'mask_logits'" == cause(log)


def test_a_cause_is_short():
    """A cause has at most 300 characters, and only the end of a long log is read."""
    found = cause("x\n" * (1 << 17) + "deepmac-ablate: " + "y" * 1000 + "\n")
    assert "y" * 297 + "..." == found
    assert 300 == len(decide_outcome(1, StopReason("failed", "z" * 400), "").cause)
    assert "exit status 1" == decide_outcome(1, None, "").cause


@pytest.mark.parametrize(
    ("code", "expected"),
    [(-9, "killed by SIGKILL (out of memory?)"),
     (-11, "killed by SIGSEGV; last line of the log: last"),
     (-40, "killed by signal 40; last line of the log: last"),
     (137, "exit status 137; last line of the log: last")])
def test_a_signal_is_named(code, expected):
    """The cause of a kill names the signal and quotes the last line of the log."""
    assert expected == cause("last\n", code)


@pytest.mark.parametrize(
    ("stop", "code", "state"),
    [
        (None, 0, "finished"), (None, 75, "interrupted"), (None, 76, "interrupted"),
        (None, 1, "failed"),
        (None, -15, "failed"), ("interrupted", 0, "finished"), ("interrupted", 75, "interrupted"),
        ("interrupted", 1, "interrupted"), ("interrupted", -15, "interrupted"),
        ("interrupted", 2, "failed"), ("interrupted", 3, "failed"),
        ("failed", 0, "finished"), ("failed", 75, "failed"), ("failed", -9, "failed"),
    ],
)  # fmt: skip
def test_who_ended_a_command_decides(stop, code, state):
    """A command that the supervisor ended is interrupted, or failed if it was silent."""
    reason = StopReason(stop, "why") if stop else None
    assert state == decide_outcome(code, reason, "").state


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [("finished", 0, 0), ("interrupted", 75, 75), ("interrupted", -15, 75),
     ("interrupted", 76, 1), ("failed", 3, 3),
     ("failed", -9, 1), ("failed", 75, 1), ("failed", None, 1)])
def test_the_supervisors_status_follows(state, code, status):
    """A supervisor never exits with 0 or 75 for a failed attempt, nor for a lost machine."""
    assert status == supervisor_exit_status(Outcome(state, "why"), code)

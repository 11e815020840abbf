"""The output of a command is copied to its log by lines, without secrets."""

from __future__ import annotations

import io
import os
import random

import pytest

from deepmac_ablate.launch.supervision import gcs_attempt_store
from deepmac_ablate.launch.supervision.redacted_output import RedactedOutput

SECRET = "marker-0123456789abcdef"


@pytest.fixture
def log(tmp_path):
    """The log of an attempt."""
    return tmp_path / "logs" / "train-1.log"


def test_pieces_make_the_same_log(log):
    """Secrets are redacted however the output is cut into pieces."""
    words = [SECRET, "short", "\n", "\r", " ", "größe\n", f"x{SECRET}y\r\n", "marker-"]
    draw = random.Random(0)
    text = "".join(draw.choice(words) for _ in range(2000)).encode()
    shown = io.BytesIO()
    output = RedactedOutput(log, ["short", SECRET, "marker-"], shown)
    output.transfer()
    descriptor, rest = output.open(), text
    while rest:
        rest = rest[os.write(descriptor, rest[:draw.randint(1, 40)]):]
        output.transfer()
    output.transfer(final=True)
    expected = text.replace(SECRET.encode(), b"***").replace(b"short", b"***")
    assert expected.replace(b"marker-", b"***") == log.read_bytes() == shown.getvalue()
    output.close()
    assert [log] == list(log.parent.iterdir())


def test_a_line_is_brought_once_it_is_complete(log):
    """An unfinished line is held back until it is complete or the command ends."""
    output = RedactedOutput(log, [])
    os.write(output.open(), b"one\ntw")
    output.transfer()
    assert b"one\n" == log.read_bytes()
    output.transfer(final=True)
    assert b"one\ntw" == log.read_bytes()


def test_secrets_are_known_by_name_and_form_too(log):
    """Values that no variable holds."""
    output = RedactedOutput(log, [])
    os.write(output.open(), b"DB_PASS=marker https://me:marker@host ?sig=marker&x=1 \xff\n")
    output.transfer()
    assert b"DB_PASS=*** https://***@host ?sig=***&x=1 \xff\n" == log.read_bytes()


def test_a_private_key_is_redacted_though_it_comes_line_by_line(log):
    """It is held back until it is complete; the ending of a long output begins with a line."""
    output = RedactedOutput(log, [])
    for line in (b"a\n", b"-----BEGIN PRIVATE KEY-----\n", b"marker\n",
                 b"-----END PRIVATE KEY-----\n", b"b\n"):
        os.write(output.open(), line)
        output.transfer()
    assert b"a\n***\nb\n" == log.read_bytes()
    os.write(output.open(), b"marker" * 20_000 + b"\nc\n")
    assert "c\n" == output.ending()


@pytest.mark.parametrize("place", [0, 1, 11, 22, 23, 24])
def test_an_endless_line_is_brought_too(log, place):
    """An endless line is copied in pieces of a megabyte, none of which cuts a secret."""
    output = RedactedOutput(log, [SECRET])
    before = b"x" * ((1 << 20) - 2 * len(SECRET) + place)
    os.write(output.open(), before + SECRET.encode() + b"y" * 1000)
    output.transfer()
    assert log.stat().st_size > 1 << 19
    output.transfer(final=True)
    assert before + b"***" + b"y" * 1000 == log.read_bytes()


def test_what_a_disk_refuses_comes_later(log):
    """Lines that a full disk refused are copied later, once and in order."""
    output = RedactedOutput(log, [])
    descriptor = output.open()
    log.unlink()
    log.parent.rmdir()
    log.parent.write_text("no folder")
    os.write(descriptor, b"one\n")
    output.transfer()
    log.parent.unlink()
    os.write(descriptor, b"two\n")
    output.transfer()
    assert b"one\ntwo\n" == log.read_bytes()


def test_of_a_long_log_the_end_is_sent(tmp_path):
    """A long log is cut to its last whole lines, after a line that says how much is omitted."""
    log = tmp_path / "log"
    log.write_bytes(b"first\nsecond\nthird\n")
    assert b"first\nsecond\nthird\n" == gcs_attempt_store.read_log_end(log, 19)
    rest = b"[the first 13 bytes are in the machine's own logs]\nthird\n"
    assert rest == gcs_attempt_store.read_log_end(log, 12)
    assert rest == gcs_attempt_store.read_log_end(log, 7)

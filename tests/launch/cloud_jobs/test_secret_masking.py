"""The output of a command is copied to its log by lines, with its secrets masked."""

from __future__ import annotations

import io
import random

import pytest

from deepmac_ablate.launch.cloud_jobs.secret_masking import MaskedOutput, secret_values
from deepmac_ablate.launch.supervision import gcs_attempt_store

SECRET = "marker-0123456789abcdef"


@pytest.fixture
def files(tmp_path):
    """The file that the command writes to, and its log."""
    (tmp_path / "logs").mkdir()
    return tmp_path / "output", tmp_path / "logs" / "train-1.log"


def test_pieces_make_the_same_log(files):
    """Secrets are masked however the output is cut into pieces."""
    output, log = files
    words = [SECRET, "short", "\n", "\r", " ", "größe\n", f"x{SECRET}y\r\n", "marker-"]
    draw = random.Random(0)
    text = "".join(draw.choice(words) for _ in range(2000)).encode()
    shown = io.BytesIO()
    masked = MaskedOutput(output, log, ["short", SECRET, "marker-"], shown)
    masked.transfer()
    with output.open("ab", buffering=0) as file:
        rest = text
        while rest:
            size = draw.randint(1, 40)
            file.write(rest[:size])
            rest = rest[size:]
            masked.transfer()
    masked.transfer(final=True)
    expected = text.replace(SECRET.encode(), b"***").replace(b"short", b"***")
    assert expected.replace(b"marker-", b"***") == log.read_bytes() == shown.getvalue()


def test_a_line_is_brought_once_it_is_complete(files):
    """An unfinished line is held back until it is complete or the command ends."""
    output, log = files
    masked = MaskedOutput(output, log, [])
    output.write_bytes(b"one\ntw")
    masked.transfer()
    assert b"one\n" == log.read_bytes()
    masked.transfer(final=True)
    assert b"one\ntw" == log.read_bytes()


@pytest.mark.parametrize("place", [0, 1, 11, 22, 23, 24])
def test_an_endless_line_is_brought_too(files, place):
    """An endless line is copied in pieces of a megabyte, none of which cuts a secret."""
    output, log = files
    masked = MaskedOutput(output, log, [SECRET])
    before = b"x" * ((1 << 20) - 2 * len(SECRET) + place)
    output.write_bytes(before + SECRET.encode() + b"y" * 1000)
    masked.transfer()
    assert log.stat().st_size > 1 << 19
    masked.transfer(final=True)
    assert before + b"***" + b"y" * 1000 == log.read_bytes()


def test_what_a_disk_refuses_comes_later(files):
    """Lines that a full disk refused are copied later, once and in order."""
    output, log = files
    log.parent.rmdir()
    log.parent.write_text("no folder")
    masked = MaskedOutput(output, log, [])
    output.write_bytes(b"one\n")
    masked.transfer()
    log.parent.unlink()
    output.write_bytes(b"one\ntwo\n")
    masked.transfer()
    assert b"one\ntwo\n" == log.read_bytes()


def test_each_line_of_a_secret_is_one(files):
    """Each line of a key file is masked on its own, except very short ones."""
    output, log = files
    output.write_bytes(b"-----BEGIN\n  abcdefgh123\n}\n-----END-----\n")
    masked = MaskedOutput(output, log, ["-----BEGIN\nabcdefgh123\n}\n-----END-----\n"])
    masked.transfer()
    assert b"***\n  ***\n}\n***\n" == log.read_bytes()


def test_variables_that_sound_secret_are(files):
    """Variables are secret by their names, except for values as short as ordinary words."""
    environ = {
        "WANDB_API_KEY": "a" * 40, "hf_token": "b" * 12, "MY_SECRET": "c" * 8,
        "DB_PASSWORD": "d" * 9, "TOKENIZERS_PARALLELISM": "false", "HOME": "/home/somebody"}
    assert ["a" * 40, "b" * 12, "c" * 8, "d" * 9] == secret_values(environ)


def test_of_a_long_log_the_end_is_sent(tmp_path):
    """A long log is cut to its last whole lines, after a line that says how much is omitted."""
    log = tmp_path / "log"
    log.write_bytes(b"first\nsecond\nthird\n")
    assert b"first\nsecond\nthird\n" == gcs_attempt_store.read_log_end(log, 19)
    rest = b"[the first 13 bytes are in the machine's own logs]\nthird\n"
    assert rest == gcs_attempt_store.read_log_end(log, 12)
    assert rest == gcs_attempt_store.read_log_end(log, 7)

"""Secrets are redacted by value, name and form; everything else stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepmac_ablate import safe_text
from deepmac_ablate.safe_text import Redactor, redact, redact_command, secret_values

ROOT = Path(__file__).resolve().parents[1]
RANDOM = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c"


@pytest.mark.parametrize(("text", "shown"), [
    # By name.
    ("WANDB_API_KEY=marker", "WANDB_API_KEY=***"),
    ("DB_PASS=marker", "DB_PASS=***"),
    ("export MYSQL_PWD=marker; run", "export MYSQL_PWD=***; run"),
    ("GITHUB_PAT=marker", "GITHUB_PAT=***"),
    ("BASIC_AUTH: marker", "BASIC_AUTH: ***"),
    ("SESSION_COOKIE=marker", "SESSION_COOKIE=***"),
    ("hf_token: marker", "hf_token: ***"),
    ("--password=marker", "--password=***"),
    ("run --password marker now", "run --password *** now"),
    ("--token='marker marker'", "--token='***'"),
    ('{"secret": "mar\'ker", "a": 1}', '{"secret": "***", "a": 1}'),
    ("password hunter2", "password ***"),
    (f"401 Unauthorized: key {RANDOM}", "401 Unauthorized: key ***"),
    # By form.
    ("https://user:marker@host/x", "https://***@host/x"),
    ("postgres://u:mar@ker@host/db", "postgres://***@host/db"),
    ("https://host/x?token=marker&y=1", "https://host/x?token=***&y=1"),
    ("https://a.blob/c?sv=2&sig=marker%2B&se=3", "https://a.blob/c?sv=2&sig=***&se=3"),
    ("o?X-Goog-Credential=marker&X-Goog-Signature=marker",
     "o?X-Goog-Credential=***&X-Goog-Signature=***"),
    ("Authorization: Bearer marker", "Authorization: ***"),
    ("{'Authorization': 'Basic marker'}", "{'Authorization': '***'}"),
    ("sent Bearer marker.marker.marker", "sent Bearer ***"),
    ("Cookie: a=marker; b=marker", "Cookie: ***"),
    ("x = ghp_abcdefghijklmnop1234567890", "x = ***"),
    ("-----BEGIN RSA PRIVATE KEY-----\nmarker\n-----END RSA PRIVATE KEY-----\n", "***\n"),
])
def test_secrets_are_redacted(text, shown):
    """Again, nothing changes any more."""
    assert (shown, shown) == (redact(text), redact(redact(text)))


@pytest.mark.parametrize("text", [
    "Runtime.keep_checkpoints = 3", "MaskRCNN.mask_head = @HourglassMaskHead()",
    "no value for WANDB_API_KEY: permission denied",
    "KeyError: 'mask_head'", "Missing key: mask_head/layer-0/kernel", "num_tokens=512",
    "pass 2 of 3", "TOKENIZERS_PARALLELISM=false", "PWD=/home/somebody", "git@host.org:a/b",
    "api_key not configured (no-tty)", "Api key must be 40 characters long, yours was 39",
    "sorted(values, key=len)", "password = args.password", "password = getpass.getpass()",
    "api_key = os.environ['A']", "def login(password: str, key=None):", "token=token",
    "path: basic residual_blocks", "hf_hub_download_model_files",
    "commit 0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
    "loss_mask 0.25 at step 1000, learning rate 0.08",
])
def test_other_text_is_untouched(text):
    """Bindings, errors, code and counts are no secrets."""
    assert text == redact(text)


def test_code_of_this_project_is_untouched():
    """In source code, values without quotation marks are names."""
    changed = [
        f"{path.name}: {line}"
        for path in sorted((ROOT / "deepmac_ablate").rglob("*.py")) if path.name != "safe_text.py"
        for line in path.read_text().splitlines() if redact(line, is_code=True) != line]
    # Constants that are named like secrets.
    assert {"client.py", "sync.py"} >= {line.partition(":")[0] for line in changed}
    assert len(changed) <= 2


def test_the_next_argument_of_an_option_is_redacted():
    """As in `--api-key VALUE`; other arguments stay."""
    command = ["launch", "x.py", "--api-key", "marker", "--steps", "5", "A_TOKEN=marker"]
    assert ["launch", "x.py", "--api-key", "***", "--steps", "5", "A_TOKEN=***"] == (
        redact_command(command))


def test_variables_are_secret_by_name(tmp_path):
    """But not values as short as words, flags, numbers, and files; nor the shell's folders."""
    (tmp_path / "key.json").touch()
    environ = {
        "WANDB_API_KEY": "a" * 40, "hf_token": "b" * 12, "MY_SECRET": "c" * 8, "DB_PASS": "e" * 9,
        "NETRC": str(tmp_path / "none"), "PROXY": "http://me:dddd@host:80",
        "TOKENIZERS_PARALLELISM": "false", "NUM_TOKENS": "12345678", "PWD": "/home/somebody",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"), "HOME": "/home/somebody"}
    assert ["a" * 40, "b" * 12, "c" * 8, "e" * 9, "dddd"] == secret_values(environ)


def test_logins_are_secret(tmp_path):
    """`wandb login` writes its key there."""
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {RANDOM}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert [RANDOM] == secret_values({"NETRC": str(tmp_path / "netrc")})


def test_known_values_are_redacted_anywhere():
    """The longest first; each line of a key file on its own, except very short ones."""
    redactor = Redactor(["marker12", "marker1234", "-----BEGIN\nabcdefgh123\n}\n-----END---\n"])
    assert b"<***> ***y\n***\n  ***\n}\n***\n" == redactor.redact(
        b"<marker1234> marker12y\n-----BEGIN\n  abcdefgh123\n}\n-----END---\n")
    assert b"\xff\xfe" == redactor.redact(b"\xff\xfe")


def test_long_lines_take_no_time():
    """A line without a space, as of an encoded picture, is as quick as any other."""
    for piece in ("a", "key", "-_.", "://", "token=", "eyJ", '"', "pass word "):
        text = piece * (10**5 // len(piece))
        assert len(redact(text)) <= len(text)
    assert safe_text.MARK in redact("key" * 10**5 + f" DB_PASS={RANDOM}")

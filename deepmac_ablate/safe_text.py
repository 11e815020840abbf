"""Text made safe to show, keep and hand on: without secrets, control characters and formulas.

Secrets become ``***``. This is the only list of what a secret is: for logs, states, reports,
patches, recorded commands, and variables of jobs in clear text. It knows values (of environment
variables, and of logins in ``.netrc``), names such as DB_PASS in front of a value, and forms: keys
of well-known services, private keys, passwords in URLs, and authorization headers. When in doubt, a
value is redacted, but numbers, options of a model and identifiers in code are not.

Text of others, such as names of classes, may hold escape sequences, by which a terminal overwrites
what it has shown, marks that reverse the direction of what follows, or formulas that a spreadsheet
would run.
"""

from __future__ import annotations

import contextlib
import math
import netrc
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

MARK = "***"

# Shorter values may be ordinary words: TOKENIZERS_PARALLELISM=false.
MIN_LENGTH = 8

# Parts of names that are said of nothing else.
_STRONG = re.compile(
    r"secret|passw|passphrase|credential|cookie|authorization|jwt|[a-z_.-]token$|"
    r"(db|pg|sql|ftp|smtp|mail|user|root|admin)_?pass$|"
    r"(api|access|auth|private|client|refresh|bearer|session|signing|encryption|deploy|account|"
    r"master|personal)[_.-]?(key|token|pat)", re.IGNORECASE)
# Words that have other meanings, too, if they stand alone or in lower case.
_KEYS = frozenset(("key", "keys", "sig", "signature"))
_WORDS = _KEYS | {"token", "tokens", "pass", "pwd", "auth", "pat", "bearer"}
# The shell's names of folders.
_NO_SECRETS = frozenset(("PWD", "OLDPWD"))

# Keys of well-known services.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(sk-|AIza|AKIA|ASIA|ya29\.|gh[opsur]_|github_pat_|glpat-|hf_|xox[abprs]-|"
    r"wandb_v\d_|npm_|pypi-|eyJ)(?=[\w.-]*\d)[\w.-]{16,}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_KEY_FILE = re.compile(r"-----BEGIN|\{.*private_key", re.DOTALL)
_IN_URL = re.compile(r"://[^\s/?#\"'<>]{1,1000}@")
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*:\s*)[^\s\"'][^\"'\r\n]*", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer)(\s+)[\w.~+/-]{8,}=*", re.IGNORECASE)

# Other keys are random characters, whereas names of secrets are words: minimum length, and
# minimum entropy in bits per character.
_MIN_RANDOM_LENGTH = 20
_MIN_RANDOM_BITS = 3.0

_HINT = re.compile(
    r"secret|pass|credential|cookie|auth|jwt|key|token|pwd|pat|sig|bearer", re.IGNORECASE)
_NAME = re.compile(r"[\w.-]+")
_MOST_NAME_LENGTH = 100
# What stands between a name and its value: '=', ':' or spaces, after the name's quotation mark.
_VALUE = re.compile(
    r"(?P<between>\\?[\"']?[ \t]*(?:[=:][=>]?[ \t]*|[ \t]))"
    r"(?P<value>(?P<quote>[\"'])(?:[^\"'\\\r\n]|\\.|(?!(?P=quote))[\"']){0,4096}(?P=quote)|"
    r"[^\s\"'&]{1,256})")
_REST = re.compile(r"[^\s\"'&]*")
_CLOSING = ";,.:)]}>\\"
# Values that are no secrets, whatever their name: flags, small numbers, types, and code.
_PLAIN = re.compile(
    r"(true|false|none|null|yes|no|on|off|required|str|bytes|int|float|bool|any|object)(\W.*)?|"
    r"[-+]?[\d.,:/_]{1,6}%?|[$%<@{(\[*].*|[a-z_]\w*(\.[a-z_]\w*)+[(\[]?.*", re.IGNORECASE)
_FLAG_OR_NUMBER = re.compile(r"[-+]?[\d.,]{1,8}|true|false|yes|no|on|off|", re.IGNORECASE)
_MIXED = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[^\s/]{6,}")

# Control characters except tab and line feed, separators of lines, marks of direction, and halves
# of pairs of surrogates, which cannot be written.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# With the protection of cells that look protected, so that it can be undone.
_FORMULA = re.compile(r"'*[=+@\t\r-]")
_PROTECTED = re.compile(r"'+[=+@\t\r-]")


def is_secret_name(name: str) -> bool:
    """Return whether a variable, an option or a field of this name holds a secret."""
    return name not in _NO_SECRETS and (_STRONG.search(name) is not None or _has_word(name))


def looks_secret(text: str) -> bool:
    """Return whether a text is a key, or has a part that is long and random with digits."""
    return bool(_KEY_FILE.match(text)) or any(
        _KEY.match(part) or any(map(_is_random, re.findall(r"[A-Za-z0-9]+", part)))
        for part in text.split("/"))


def is_secret(variable: str, value: str) -> bool:
    """Return whether a variable holds a secret, by its name or by the form of its value.

    Flags and numbers are none, and random characters alone are none: they may be a hash.
    """
    is_named = is_secret_name(variable) and not _FLAG_OR_NUMBER.fullmatch(value)
    return is_named or bool(_KEY_FILE.match(value)) or redact(value) != value


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """Return the secrets in environment variables, and the passwords of this user's logins.

    Args:
        environ: Environment variables. Values that are short, flags, numbers or paths of files that
            exist are no secrets; a password in a URL is one, whatever the variable's name.
    """
    found = [
        value for name, value in environ.items()
        if is_secret_name(name) and len(value) >= MIN_LENGTH
        and not _FLAG_OR_NUMBER.fullmatch(value) and not is_file(value)]
    for value in environ.values():
        found += [
            match[1] for match in re.finditer(r"://[^\s/:@]*:([^\s/]{4,})@", value)]
    with contextlib.suppress(OSError, netrc.NetrcParseError, RuntimeError, UnicodeDecodeError):
        hosts = netrc.netrc(environ.get("NETRC")).hosts.values()
        found += [password for _, _, password in hosts if len(password or "") >= MIN_LENGTH]
    return found


class Redactor:
    """Replacement of known secrets, and of everything that looks like one, by ``***``.

    Args:
        secrets: Values to replace wherever they stand. Each line of a secret, such as a key file,
            is a secret of its own.

    Attributes:
        max_length: Length in bytes of the longest known secret.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        lines = {
            line for secret in secrets for line in (secret.splitlines() or [secret])
            if line and (line == secret or len(line) >= MIN_LENGTH)}
        # Longer alternatives first, as one secret may be the beginning of another.
        found = sorted((_encode(line) for line in lines), key=len, reverse=True)
        self.max_length = len(found[0]) if found else 0
        self.known = re.compile(b"|".join(map(re.escape, found)) or b"(?!)")

    def redact(self, text: bytes, *, is_code: bool = False) -> bytes:
        """Return whole lines of a text without secrets; see `redact`."""
        text = self.known.sub(MARK.encode(), text)
        return _encode(redact(text.decode(errors="surrogateescape"), is_code=is_code))

    def holds_key(self, text: bytes) -> bool:
        """Return whether a text has a known secret, or a key of a well-known service."""
        return bool(self.known.search(text) or _KEY.search(text.decode(errors="replace")))


def redact(text: str, *, is_code: bool = False) -> str:
    """Return a text without the secrets that their names or forms give away.

    Args:
        text: The text.
        is_code: Whether it is source code, in which values without quotation marks are names.
    """
    if "://" in text:
        text = _IN_URL.sub(f"://{MARK}@", text)
    text = _KEY.sub(MARK, _PRIVATE_KEY.sub(MARK, text))
    if not _HINT.search(text):
        return text
    text = _BEARER.sub(rf"\g<1>\g<2>{MARK}", _HEADER.sub(rf"\g<1>\g<2>{MARK}", text))
    return "".join(
        _redact_values(line, is_code) if _HINT.search(line) else line
        for line in text.splitlines(keepends=True))


def redact_command(command: Sequence[str]) -> list[str]:
    """Return a command line without secrets; an option's value may be the next argument."""
    shown, hide_next = [], False
    for argument in command:
        shown.append(MARK if hide_next else redact(argument))
        option = re.fullmatch(r"--?([\w.-]+)", argument)
        hide_next = option is not None and is_secret_name(option[1])
    return shown


def visible(text: str) -> str:
    r"""Return a text with codes such as ``\u001b`` for control characters and marks of direction.

    Tabs, line feeds, and letters of all scripts stay.
    """
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def protect_cell(text: str) -> str:
    """Return the text of a cell for CSV: what begins like a formula gets an apostrophe before it.

    Numbers stay as they are.
    """
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def unprotect_cell(text: str) -> str:
    """Return the text that `protect_cell` was given."""
    return text[1:] if _PROTECTED.match(text) else text


def _redact_values(line: str, is_code: bool) -> str:
    """Return a line without the values that follow names of secrets."""
    parts, done = [], 0
    for name in _NAME.finditer(line):
        if name.start() < done or not _HINT.search(name[0][-_MOST_NAME_LENGTH:]):
            continue
        found = _VALUE.match(line, name.end())
        if found and _is_secret_value(line, name, found, is_code):
            start = found.start("value")
            quote = found["quote"] or ""
            parts += [line[done:start], quote, MARK, quote]
            end = found.end() if quote else _REST.match(line, found.end()).end()
            done = start + len(line[start:end] if quote else line[start:end].rstrip(_CLOSING))
    return "".join([*parts, line[done:]])


def _is_secret_value(
    line: str, name: re.Match[str], found: re.Match[str], is_code: bool
) -> bool:
    called = name[0][-_MOST_NAME_LENGTH:].strip(".-")
    value = found["value"].strip("\"'")
    if not is_secret_name(called) or len(value) < 2:
        return False
    if not found["quote"]:
        bare = value.rstrip(_CLOSING)
        if is_code or bare == called or _PLAIN.fullmatch(bare):
            return looks_secret(value)
    if looks_secret(value):
        return True
    is_assigned = any(sign in found["between"] for sign in "=:")
    if name[0].startswith("-") or line[:name.start()].endswith(("?", "&")):
        return is_assigned or not value.startswith("-")
    is_strong = _STRONG.search(called) is not None
    more = line[found.end():].strip(f"{_CLOSING}\r\n")
    if ": " in found["between"] and not found["quote"] and more:
        # A sentence goes on: "no value for WANDB_API_KEY: permission denied".
        is_assigned = False
    if is_assigned and (is_strong or (called.isupper() and called.lower() not in _WORDS)):
        return True
    return (is_strong or (is_assigned and not _has_word(called, _KEYS))) and (
        _MIXED.fullmatch(value) is not None)


def _has_word(name: str, words: Set[str] = _WORDS) -> bool:
    parts = re.split(r"[\W_]+", name.lower())
    return any(part.rstrip("0123456789") in words for part in parts)


def is_file(value: str) -> bool:
    """Return whether a value is the absolute path of a file or folder that exists."""
    with contextlib.suppress(OSError, ValueError):
        return value.startswith("/") and Path(value).exists()
    return False


def _is_random(piece: str) -> bool:
    if len(piece) < _MIN_RANDOM_LENGTH or _entropy(piece) < _MIN_RANDOM_BITS:
        return False
    digits = sum(character.isdigit() for character in piece)
    return digits >= 3 or (digits > 0 and piece.lower() != piece != piece.upper())


def _entropy(text: str) -> float:
    """Return the entropy in bits per character, by the frequency of each."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")

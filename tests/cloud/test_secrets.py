"""Secrets by reference, with Google's own client and a local stand-in server."""

from __future__ import annotations

import json
import random
import string
import traceback

import pytest

from deepmac_ablate.cloud import devices, secrets
from deepmac_ablate.cloud.provider import JobRequest
from deepmac_ablate.cloud.vertex.client import Vertex
from deepmac_ablate.errors import UserError
from tests.fakes import secret_server, vertex_server

WANDB = "projects/p/secrets/wandb"

# Nobody's: drawn by a generator of random numbers, each in the form of a real kind.
_DRAW = random.Random(0)


def drawn(count, characters=string.ascii_letters + string.digits):
    return "".join(_DRAW.choices(characters, k=count))


KEYS = {
    "hexadecimal": drawn(40, string.hexdigits.lower()),
    "sk": f"sk-{drawn(48)}",
    "AIza": f"AIza{drawn(35)}",
    "ghp": f"ghp_{drawn(36)}",
    "wandb": f"wandb_v1_{drawn(77)}",
    "letters": drawn(40),
    "json": json.dumps({"type": "service_account", "private_key": f"-----BEGIN\n{drawn(64)}"}),
    "pem": f"-----BEGIN RSA PRIVATE KEY-----{drawn(64)}",
}


@pytest.fixture
def server(monkeypatch):
    with secret_server.serving() as running:
        monkeypatch.setenv(secret_server.VARIABLE, running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


def full_traceback(error):
    """Return an error with all its causes, as a traceback shows them."""
    return "".join(traceback.format_exception(error))


def test_references_are_read_by_variable():
    """References are parsed in the forms of both clouds."""
    full = "projects/my-project/secrets/hf_token/versions/12"
    assert {"WANDB_API_KEY": "wandb-api-key", "HF_TOKEN": full} == secrets.parse_references(
        ["WANDB_API_KEY=wandb-api-key", f"HF_TOKEN={full}"], "vertex")
    assert {"WANDB_API_KEY": "wandb/api.key"} == secrets.parse_references(
        ["WANDB_API_KEY=wandb/api.key"], "gke")
    assert {} == secrets.parse_references([], "gke")


@pytest.mark.parametrize(("executor", "reference", "says"), [
    ("vertex", "", "to a secret, which is projects/PROJECT.*; the value given is empty"),
    ("vertex", "wandb/key", "projects/PROJECT.* on vertex; the value given is one for gke"),
    ("vertex", "projects/p/secrets/wandb", "versions/VERSION, or the name of a secret"),
    ("vertex", "projects/p/secrets/wandb/versions/0", "VERSION"),
    ("vertex", "projects/p/secrets/wandb/versions/newest", "VERSION"),
    ("vertex", "two words", "VERSION"),
    ("gke", "wandb", "which is SECRET/KEY.* on gke; the value given is one for vertex"),
    ("gke", "projects/p/secrets/wandb/versions/1", "is one for vertex"),
    ("gke", "Wandb/key", "SECRET/KEY"),
    ("gke", "wandb/a/b", "SECRET/KEY"),
    ("gke", "wandb/", "SECRET/KEY"),
])
def test_malformed_references_are_refused_by_name(executor, reference, says):
    """The error names the variable and the valid form, but never the value given."""
    with pytest.raises(UserError, match=f"--secret WANDB_API_KEY .*{says}") as refused:
        secrets.parse_references([f"WANDB_API_KEY={reference}"], executor)
    assert not reference or f"{reference!r}" not in str(refused.value)


@pytest.mark.parametrize("option", ["wandb", "=wandb", "1KEY=wandb", "a-b=wandb",
                                    *KEYS.values(), f"{drawn(31)}="])
def test_options_without_a_variable_are_refused_by_number(option):
    """The error counts the option and shows nothing of it, as it may be a secret."""
    with pytest.raises(UserError, match=r"--secret number 2 .*VAR=REFERENCE") as refused:
        secrets.parse_references(["A=a", option], "vertex")
    assert option not in str(refused.value)


def test_a_variable_is_given_once():
    """Two references for one variable are an error."""
    with pytest.raises(UserError, match="--secret A is given twice"):
        secrets.parse_references(["A=a", "A=b"], "vertex")


@pytest.mark.parametrize("executor", ["vertex", "gke"])
@pytest.mark.parametrize("before", ["", "wandb/"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_real_keys_are_refused_without_showing_them(key, before, executor):
    """A key in place of a reference is refused and never shown."""
    with pytest.raises(UserError, match=r"WANDB_API_KEY.* looks like the secret itself") as refused:
        secrets.parse_references([f"WANDB_API_KEY={before}{key}"], executor)
    assert key not in full_traceback(refused.value)


@pytest.mark.parametrize("name", [
    "wandb", "WANDB_API_KEY", "wandb-api-key-of-the-mask-ablations", "team7-wandb-2024-11-22",
    "hourglassablationswandbkey", "HourglassAblationsWandbKey", "sk-learn-experiments-wandb",
    "hf_token", "wandb_v2_key", "skeleton-key"])
def test_names_of_secrets_are_not_taken_for_keys(name):
    """Names with words, years and numbers are not mistaken for keys."""
    assert {"A": name} == secrets.parse_references([f"A={name}"], "vertex")


@pytest.mark.parametrize("variable", [
    "WANDB_API_KEY", "HF_TOKEN", "MY_SECRET", "DB_PASSWORD", "GOOGLE_APPLICATION_CREDENTIALS",
    "APIKEY", "key", "AWS_SECRET_ACCESS_KEY", "AUTH_TOKENS"])
def test_plain_variables_with_names_of_secrets_are_refused(variable):
    """Plain variables with secret names are refused with the right option."""
    with pytest.raises(UserError, match=f"--secret {variable}=REFERENCE") as refused:
        secrets.check_no_secrets({"TF_CPP_MIN_LOG_LEVEL": "1", variable: "the value"})
    assert "the value" not in str(refused.value)


@pytest.mark.parametrize("kind", ["sk", "AIza", "ghp", "wandb", "json", "pem"])
def test_plain_variables_with_keys_are_refused(kind):
    """Plain variables whose values look like keys are refused."""
    value = KEYS[kind]
    with pytest.raises(UserError, match="--env MODEL looks like a secret") as refused:
        secrets.check_no_secrets({"MODEL": value})
    assert value not in full_traceback(refused.value)


def test_other_plain_variables_are_accepted():
    """Variables that merely contain such letters, and commit hashes, are accepted."""
    secrets.check_no_secrets({
        "TOKENIZERS_PARALLELISM": "false", "MONKEY": "1", "KEYBOARD": "de", "WANDB_MODE": "online",
        "COMMIT": KEYS["hexadecimal"]})


def test_values_are_fetched(server):
    """Values are fetched by version, or the latest one, without the newline at the end."""
    server.add(WANDB, b"old")
    server.add(WANDB, b"new\n")
    assert {"OLD": "old", "NEW": "new"} == secrets.fetch({
        "OLD": f"{WANDB}/versions/1", "NEW": secrets.full_reference("wandb", "p")})


def test_jobs_without_secrets_send_no_request(server):
    """Jobs without secrets need no Secret Manager."""
    assert {} == secrets.fetch({})
    assert [] == server.asked


def test_transient_failures_are_retried(server):
    """Requests to Secret Manager are retried."""
    server.add(WANDB, b"value")
    server.refusals = [503, 503]
    assert {"A": "value"} == secrets.fetch({"A": f"{WANDB}/versions/1"})


def test_a_secret_that_may_not_be_read_is_named(server):
    """A secret without permission is named with the missing role."""
    server.add(WANDB, b"value")
    server.denied.add(WANDB)
    with pytest.raises(UserError) as refused:
        secrets.fetch({"A": f"{WANDB}/versions/1"})
    text = str(refused.value)
    assert text.startswith(f"Secret Manager did not give {WANDB}/versions/1 for A: Permission")
    assert "roles/secretmanager.secretAccessor" in text


@pytest.mark.parametrize(("status", "says"), [(None, "NOT_FOUND"), (503, "does not answer")])
def test_an_unavailable_secret_is_named(server, status, says):
    """A secret that does not exist, or a service that does not answer, is reported."""
    server.refusals = [status] * 9 if status else []
    with pytest.raises(UserError, match=f"did not give {WANDB}/versions/7 for A.*{says}"):
        secrets.fetch({"A": f"{WANDB}/versions/7"}, patience=0)


def test_an_incomplete_reference_sends_no_request(server):
    """An incomplete reference is refused before any request, and not shown."""
    with pytest.raises(UserError, match="--secret A must be a reference of the form") as refused:
        secrets.fetch({"A": "hunter2"})
    assert "hunter2" not in str(refused.value)
    assert [] == server.asked


@pytest.mark.parametrize("value", [b"hunter2\xff", b"hunter2\0", b"\n"])
def test_values_that_no_variable_can_hold_are_refused(server, value):
    """A value that no variable can hold is refused; not even a traceback contains it."""
    server.add(WANDB, value)
    with pytest.raises(UserError, match=f"{WANDB}/versions/1 must ") as refused:
        secrets.fetch({"A": f"{WANDB}/versions/1"})
    assert "hunter2" not in full_traceback(refused.value)


def test_values_are_in_no_request_and_no_error(server, monkeypatch):
    """The value of a secret is in no job, request or error."""
    value = "S3CRET" + "c0ffee" * 5
    server.add(WANDB, value.encode())
    references = secrets.parse_references(["WANDB_API_KEY=wandb"], "vertex")
    job = JobRequest("job", "image", ("worker",), devices.get_device("v5e-4"), secrets=references)
    with vertex_server.serving() as cloud:
        monkeypatch.setenv(vertex_server.VARIABLE, cloud.url)
        vertex = Vertex("p", "us-central1")
        vertex.submit(job)
        rendered = json.dumps(vertex.render(job))
        sent, = cloud.bodies
    reference = f"WANDB_API_KEY={WANDB}/versions/latest"
    assert reference in rendered
    assert reference in sent
    variable, _, resource = reference.partition("=")
    assert {variable: value} == secrets.fetch({variable: resource})
    server.denied.add(WANDB)
    with pytest.raises(UserError) as refused:
        secrets.fetch({variable: resource})
    for text in [repr(job), rendered, sent, full_traceback(refused.value), *server.asked]:
        assert value not in text

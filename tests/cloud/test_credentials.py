"""Credentials, endpoints and the project for requests to Google's services."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import Request

from deepmac_ablate.cloud import credentials, errors
from deepmac_ablate.errors import UserError
from tests.fakes import google_api

OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
HOST = "us-central1-aiplatform.googleapis.com"


@pytest.fixture(autouse=True)
def no_google_environment(monkeypatch, tmp_path):
    """An environment without credentials, project and metadata server."""
    for name in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT",
                 OVERRIDE, "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def account(monkeypatch, tmp_path):
    """The file of a service account, with a random key, set in the environment."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()).decode()
    path = tmp_path / "account.json"
    fields = {
        "type": "service_account", "project_id": "accounts-project", "private_key": key,
        "client_email": "a@accounts-project.iam.gserviceaccount.com", "private_key_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token"}
    path.write_text(json.dumps(fields))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path, fields


def test_missing_credentials_are_reported_with_ways_to_get_some():
    """Missing credentials are reported in one sentence with the ways to get some."""
    with pytest.raises(UserError, match="There are no Google Cloud credentials") as none:
        credentials.service_access("aiplatform", HOST)
    text = str(none.value)
    assert "gcloud auth application-default login" in text
    assert "GOOGLE_APPLICATION_CREDENTIALS" in text
    assert "--dry-run" in text
    assert none.value.__cause__ is not None


@pytest.mark.parametrize("content", [None, "no JSON", "{}"])
def test_a_file_without_credentials_is_named(monkeypatch, tmp_path, content):
    """A credentials file that is missing, broken or of another kind is named."""
    path = tmp_path / "account.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    says = r"GOOGLE_APPLICATION_CREDENTIALS must be .*got .*account\.json"
    with pytest.raises(UserError, match=says):
        credentials.service_access("aiplatform", HOST)


def test_credentials_may_use_the_cloud(account):
    """Service account credentials request the scope of Vertex AI and Secret Manager."""
    found = credentials.service_access("aiplatform", HOST)
    assert HOST == found.endpoint
    assert ["https://www.googleapis.com/auth/cloud-platform"] == list(found.credentials.scopes)


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:8080/", "http://localhost:8080", "http://[::1]:8080/"])
def test_servers_on_this_machine_get_no_credentials(monkeypatch, account, url):
    """Servers on this machine may use plain http, and receive no credentials."""
    monkeypatch.setenv(OVERRIDE, url)
    found = credentials.service_access("aiplatform", HOST)
    assert url.rstrip("/") == found.endpoint
    assert isinstance(found.credentials, AnonymousCredentials)


@pytest.mark.parametrize("url", [
    "http://example.org/", "http://10.0.0.1:80/", "http://127.0.0.1.example.org/", "127.0.0.1:80",
    "https://", "ftp://127.0.0.1/"])
def test_credentials_are_not_sent_in_clear_text(monkeypatch, account, url):
    """Endpoints on other machines must use https."""
    monkeypatch.setenv(OVERRIDE, url)
    with pytest.raises(UserError, match=f"{OVERRIDE} must be https://HOST/, .* got '{url}'"):
        credentials.service_access("aiplatform", HOST)


def test_other_hosts_get_the_credentials(monkeypatch, account):
    """Private https endpoints receive credentials, with one variable per service."""
    monkeypatch.setenv(OVERRIDE, "https://private.example.org/")
    found = credentials.service_access("aiplatform", HOST)
    assert "private.example.org" == found.endpoint
    assert not isinstance(found.credentials, AnonymousCredentials)
    other = credentials.service_access("secretmanager", "secretmanager.googleapis.com")
    assert "secretmanager.googleapis.com" == other.endpoint


def test_the_project_is_the_given_one_before_all_others(monkeypatch, account):
    """The given project wins over the variable, and that over the credentials."""
    assert "accounts-project" == credentials.find_project()
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "variables-project")
    assert "variables-project" == credentials.find_project()
    assert "given-project" == credentials.find_project("given-project")


def test_a_missing_project_is_reported_with_ways_to_give_one():
    """A missing project is reported with the ways to give one, even without credentials."""
    says = "project is unknown: pass --project, or set GOOGLE_CLOUD_PROJECT"
    with pytest.raises(UserError, match=says):
        credentials.find_project()


def test_revoked_credentials_are_reported(account):
    """Revoked credentials are reported with the command to log in again."""
    path, fields = account

    def refuse(*asked):
        raise google_api.Refused(400, "unused", "INVALID_ARGUMENT")

    with google_api.serving(refuse) as url:
        path.write_text(json.dumps({**fields, "token_uri": url}))
        found = credentials.service_access("aiplatform", HOST).credentials
        says = r"did not start it, .* credentials are invalid .*application-default login"
        with (pytest.raises(UserError, match=says),
              errors.translating_errors("Vertex AI", "start it", "roles/aiplatform.user")):
            found.refresh(Request())

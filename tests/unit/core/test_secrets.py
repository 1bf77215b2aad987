"""What looks like a secret, and what only looks as if it did."""

from __future__ import annotations

import json

import pytest

from gdcbuild.core.secrets import MAX_BYTES, UNSURE, by_content, by_path


@pytest.mark.parametrize(
    "path",
    [
        *(".aws/credentials", "home/.aws/config", ".ssh/known_hosts", "a/.kube/config", ".docker/config.json", ".gnupg/x"),
        *(".netrc", "a/_netrc", ".env", "a/.env.production", ".pypirc", ".npmrc", ".git-credentials", ".pgpass", "id_rsa"),
        *("a/ID_ED25519", "kubeconfig", "store.p12", "store.PFX", "trust.jks", "application_default_credentials.json"),
    ],
)
def test_names_that_tell(path: str) -> None:
    assert by_path(path)


@pytest.mark.parametrize(
    "path",
    [
        *("tls.pem", "server.key", "credentials.json", "service-account.json", "serviceAccount.json", "gcp.json", "sa.json"),
        *("project-0123456789ab.json", "api_key.txt", "key.json", "secrets.yaml", "client_secret.json", "token"),
    ],
)
def test_names_that_do_not_tell(path: str) -> None:
    assert by_path(path) == UNSURE


@pytest.mark.parametrize(
    "path",
    [
        *("net.py", "labels.txt", "index_to_name.json", "tokenizer.json", "keras/saved_model.pb", "monkey.txt", "id_rsa.pub"),
        *(".env.example", "secrets.py", "environment.yaml", "aws/config.json", "ssh/x", "keypoints.csv", ".gitignore"),
    ],
)
def test_names_of_other_files(path: str) -> None:
    assert by_path(path) is None


KEY = b"-----BEGIN %sPRIVATE KEY-----\nMIIE\n-----END %sPRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        *((KEY % (kind, kind), "a private key") for kind in (b"", b"RSA ", b"EC ", b"OPENSSH ", b"ENCRYPTED ")),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "a private key"),
        (b"bag attributes\n" + KEY % (b"", b""), "a private key"),
        (b"PuTTY-User-Key-File-3: ssh-rsa\n", "a private key"),
        (json.dumps({"type": "service_account", "private_key": "x"}).encode(), "the key of a service account"),
        (json.dumps({"private_key": "x", "type": "service_account"}, indent=2).encode(), "the key of a service account"),
        (b"[default]\naws_access_key_id = A\naws_secret_access_key = B\n", "AWS credentials"),
        (b"apiVersion: v1\nkind: Config\nusers:\n- user:\n    token: abc\n", "Kubernetes credentials"),
        (b"-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n", None),
        (b"-----BEGIN PUBLIC KEY-----\n", None),
        (json.dumps({"type": "service_account"}).encode(), None),
        (b"# aws_secret_access_key is taken from the environment\n", None),
        (b"aws_secret_access_key =\n", None),
        (b"  aws_secret_access_key=os.environ['KEY'],\n", None),
        (b"  aws_secret_access_key=config.secret)\n", None),
        (b"  aws_secret_access_key='wJalrXUtnFEMI',\n", "AWS credentials"),
        (b"if line.startswith('-----BEGIN PRIVATE KEY-----'):\n", None),
        (b'KEY = "-----BEGIN PRIVATE KEY-----\\nMIIE"\n', "a private key"),
        (KEY % (b"", b"") + bytes(MAX_BYTES), None),
        (b"", None),
    ],
)
def test_content(data: bytes, what: str | None) -> None:
    assert by_content(data) == what

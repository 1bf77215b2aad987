"""Secrets recognised by name and content, and files that only resemble them."""

from __future__ import annotations

import json

import pytest

from gdcbuild.files.secrets import MAX_BYTES, UNSURE, by_content, by_path


@pytest.mark.parametrize(
    "path",
    [
        *(".aws/credentials", "home/.aws/config", ".ssh/known_hosts", "a/.kube/config", ".docker/config.json", ".gnupg/x"),
        *(".netrc", "a/_netrc", ".env", "a/.env.production", ".pypirc", ".npmrc", ".git-credentials", ".pgpass", "id_rsa"),
        *("a/ID_ED25519", "kubeconfig", "store.p12", "store.PFX", "trust.jks", "application_default_credentials.json"),
    ],
)
def test_names_of_secrets(path: str) -> None:
    assert by_path(path)


@pytest.mark.parametrize(
    "path",
    [
        *("tls.pem", "server.key", "credentials.json", "service-account.json", "serviceAccount.json", "gcp.json", "sa.json"),
        *("project-0123456789ab.json", "api_key.txt", "key.json", "secrets.yaml", "client_secret.json", "token"),
        *("creds.ini", "setup.cfg", "app.conf", "app.properties", "a.toml", "p8", "ssh/x", "AuthKey.p8", "config.json"),
    ],
)
def test_names_that_do_not_decide(path: str) -> None:
    assert by_path(path) == UNSURE


@pytest.mark.parametrize(
    "path",
    [
        *("net.py", "labels.txt", "index_to_name.json", "tokenizer.json", "keras/saved_model.pb", "monkey.txt", "id_rsa.pub"),
        *(
            ".env.example",
            "secrets.py",
            "environment.yaml",
            "aws/model_config.json",
            "ssh/x.txt",
            "variables.data-00000-of-00001",
            "keypoints.csv",
            ".gitignore",
        ),
    ],
)
def test_names_of_other_files(path: str) -> None:
    assert by_path(path) is None


MIXED = b"aB3dE5gH7jK9mN1pQ2sT4vW6yZ8" * 3
LETTERS = b"aBcDeFgHiJkLmNoPqRsTuVwXyZ" * 2
KEY = b"-----BEGIN %sPRIVATE KEY-----\nMIIE\n-----END %sPRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        *((KEY % (kind, kind), "a private key") for kind in (b"", b"RSA ", b"EC ", b"OPENSSH ", b"ENCRYPTED ")),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "a private key"),
        (b"bag attributes\n" + KEY % (b"", b""), "a private key"),
        (b"PuTTY-User-Key-File-3: ssh-rsa\n", "a private key"),
        (json.dumps({"type": "service_account", "private_key": "x"}).encode(), "a service account key"),
        (json.dumps({"private_key": "x", "type": "service_account"}, indent=2).encode(), "a service account key"),
        (b"[default]\naws_access_key_id = A\naws_secret_access_key = B\n", "AWS credentials"),
        (b"token: ghp_%s\n" % MIXED[:36], "a GitHub token"),
        (b"'github_pat_%s_%s'" % (MIXED[:22], MIXED[:59]), "a GitHub token"),
        (b"GITLAB=glpat-%s" % MIXED[:20], "a GitLab token"),
        (b'{"key": "AIza%s"}' % MIXED[:35], "a Google API key"),
        (b"xoxb-1234567890-1234567890123-%s\n" % MIXED[:24], "a Slack token"),
        (b"xoxp-1234567890-1234567890-1234567890-0123456789abcdef0123456789abcdef", "a Slack token"),
        (b"hf_%s" % LETTERS[:34], "a Hugging Face token"),
        (b"ghp_%s" % (b"x" * 36), None),
        (b"ghp_%s" % MIXED[:37], None),
        (b"x_ghp_%s" % MIXED[:36], None),
        (b"if token.startswith('ghp_') or re.match(r'hf_[A-Za-z]{34}', token) or 'xoxb-' in token or 'AIza' in token:\n", None),
        (b"hf_hub_download_of_a_file_from_the_hub_x", None),
        (b'{"auths": {"registry.example": {"auth": "dXNlcjpwYXNz"}}}', "registry credentials"),
        (b'{"auths": {"registry.example": {}}, "credsStore": "desktop"}', None),
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

"""Recognise secrets: keys and passwords that a glob or a folder would publish by accident."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

from gdcbuild.core.digest import Blob
from gdcbuild.errors import Caution, Problem

MAX_BYTES = 64 << 10
"""Largest file whose content is searched; keys are not larger."""

VERSION = 1
"""Raise it when more is recognised than before, so that versions already checked are checked again."""

UNSURE = ""
"""The name alone does not decide: look at the content."""

_FOLDERS = {
    ".aws": "AWS credentials",
    ".azure": "Azure credentials",
    ".docker": "registry credentials",
    ".gnupg": "private keys",
    ".kube": "Kubernetes credentials",
    ".ssh": "private keys",
}
_FILES = {
    ".boto": "S3 credentials",
    ".dockercfg": "registry credentials",
    ".env": "environment variables",
    ".git-credentials": "passwords",
    ".htpasswd": "passwords",
    ".netrc": "passwords",
    ".npmrc": "registry credentials",
    ".pgpass": "passwords",
    ".pypirc": "registry credentials",
    ".s3cfg": "S3 credentials",
    "_netrc": "passwords",
    "application_default_credentials.json": "Google credentials",
    "id_dsa": "a private key",
    "id_ecdsa": "a private key",
    "id_ed25519": "a private key",
    "id_rsa": "a private key",
    "kubeconfig": "Kubernetes credentials",
}
_STORES = (".p12", ".pfx", ".jks", ".keystore", ".kubeconfig")
_EXAMPLES = (".example", ".sample", ".template", ".dist")
_SUSPICIOUS = re.compile(
    r"\.(?:pem|key|ppk|p8|ini|cfg|conf|properties|toml)$|^[^.]+$|^config\.json$|credential|secret|service.?account|gcp|gcloud|\btoken\b|[-_]token\b|[-_.]key\b|^key\b|^sa\b|-[0-9a-f]{12}\.json$"
)
_CODE = (".py", ".pyi", ".so", ".pt", ".pth", ".npy", ".npz", ".onnx", ".safetensors", ".pb")

_PRIVATE = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?![\"'])|^PuTTY-User-Key-File-", re.MULTILINE)
"""Code that searches for such a line has it in quotes, without a key after it."""

_ACCOUNT, _ACCOUNT_KEY = re.compile(rb'"type"\s*:\s*"service_account"'), re.compile(rb'"private_key"\s*:')
_AWS = re.compile(
    rb"^\s*aws_secret_access_key[ \t]*[=:][ \t]*(?:\"[^\"\n]+\"|'[^'\n]+'|[^\s\"'()\[{,$]+[ \t\r]*$)",
    re.MULTILINE | re.IGNORECASE,
)
"""A literal value, not an expression that reads it from elsewhere."""

_REGISTRY = re.compile(rb'"auths"\s*:\s*\{'), re.compile(rb'"(?:auth|identitytoken|password)"\s*:\s*"[^"\s]{8,}"')
"""What `docker login` writes, unless a credential helper keeps the password."""

_TOKENS = tuple(
    (kind, prefixes, re.compile(rb"(?<![\w-])" + form + rb"(?![\w-])"))
    for kind, prefixes, form in (
        ("a GitHub token", (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"gh[pousr]_([A-Za-z0-9]{36})"),
        ("a GitHub token", (b"github_pat_",), rb"github_pat_([A-Za-z0-9]{22}_[A-Za-z0-9]{59})"),
        ("a GitLab token", (b"glpat-",), rb"glpat-([\w-]{20})"),
        ("a Google API key", (b"AIza",), rb"AIza([\w-]{35})"),
        ("a Slack token", (b"xoxb-",), rb"xoxb-(\d{10,13}-\d{10,13}-[A-Za-z0-9]{24})"),
        ("a Slack token", (b"xoxp-",), rb"xoxp-(\d{10,13}-\d{10,13}-\d{10,13}-[0-9a-f]{32})"),
        ("a Hugging Face token", (b"hf_",), rb"hf_([A-Za-z]{34})"),
    )
)
"""Tokens recognised by their form: what it is, its prefixes (quick to search for), and its exact shape."""

_PLACEHOLDER_MAX = 8
"""Most distinct characters in a placeholder (xxxx, 1234). Thirty random characters practically always have more."""

_CLUSTER = re.compile(rb"^\s*(?:- )?(?:client-key-data|token)\s*:\s*\S", re.MULTILINE)


def by_path(path: str) -> str | None:
    """The kind of secret a path looks like: None for none, UNSURE when the content decides."""
    folder, _, name = path.rpartition("/")
    return _by_folder(folder) or _by_name(name)


@cache
def _by_folder(folder: str) -> str | None:
    """Cached, as names are: planning asks for every file found, and most share a folder or a name with many others."""
    return next((f"{_FOLDERS[part]}, usually kept in {part}/" for part in folder.split("/") if part in _FOLDERS), None)


@cache
def _by_name(name: str) -> str | None:
    name = name.lower()
    if name.startswith(".env."):
        return None if name.endswith(_EXAMPLES) else _FILES[".env"]
    if name in _FILES:
        return _FILES[name]
    if name.endswith(_STORES):
        return "a key store"
    return UNSURE if _SUSPICIOUS.search(name) and not name.endswith(_CODE) else None


def by_content(data: bytes) -> str | None:
    """The kind of secret in a file's bytes, or None. A certificate is public."""
    if len(data) > MAX_BYTES:
        return None
    if _PRIVATE.search(data):
        return "a private key"
    if _ACCOUNT.search(data) and _ACCOUNT_KEY.search(data):
        return "a service account key"
    if _AWS.search(data):
        return "AWS credentials"
    if b"kind: Config" in data and _CLUSTER.search(data):
        return "Kubernetes credentials"
    if all(part.search(data) for part in _REGISTRY):
        return "registry credentials"
    return next(_tokens(data), None)


def _tokens(data: bytes) -> Iterator[str]:
    for kind, prefixes, form in _TOKENS:
        if any(prefix in data for prefix in prefixes) and any(len(set(m[1])) > _PLACEHOLDER_MAX for m in form.finditer(data)):
            yield kind


def problems(artifact: Mapping[str, Blob], named: frozenset[str]) -> Iterator[Problem]:
    """Files to be published that look like secrets. `named`: SHA-256 of files that the manifest names individually."""
    for path, blob in artifact.items():
        what = looks_like(path, blob.digest.size, partial(_start, blob))
        if what:
            yield problem(path, what, blob.digest.hash in named)


def looks_like(path: str, size: int, start: Callable[[], bytes]) -> str | None:
    """The kind of secret a file looks like; `start` returns its first MAX_BYTES and is called for small files only."""
    return by_path(path) or (by_content(start()) if size <= MAX_BYTES else None)


def problem(path: str, what: str, named: bool) -> Problem:
    """A refusal; only a Caution for a file that the manifest names individually, which is deliberate."""
    message = f"{path!r} looks like a secret: {what}"
    if named:
        return Caution(message, "remove it, unless everyone who can load the model may read it")
    return Problem(
        message,
        "remove it; or, if everyone who can load the model may read it, list that file on its own in the manifest (a file in an"
        " existing archive: remove it from the archive first)",
    )


def _start(blob: Blob) -> bytes:
    with blob.open() as stream:
        return stream.read(MAX_BYTES)

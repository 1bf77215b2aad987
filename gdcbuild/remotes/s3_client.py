"""The S3 client, configured to work with all kinds of stores."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.utils import parse_timestamp

from gdcbuild.core.endpoint import FORM, is_endpoint, shown
from gdcbuild.errors import Problem, RemoteError, raise_all

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from mypy_boto3_s3 import S3Client

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""The variables with the endpoint; the first that is set counts."""


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where the bucket is. Credentials, and everything that is None here, come from the AWS_* variables and files."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    ca_file: Path | None = None


def check(options: S3Options) -> None:
    """Refuse settings with which no request could succeed. Raises RemoteError."""
    problems = []
    if options.endpoint is not None and not is_endpoint(options.endpoint):
        problems.append(Problem(f"{shown(options.endpoint)!r} is not an endpoint", f"write endpoint: {FORM}"))
    variable = next(filter(os.environ.get, _ENDPOINTS), None) if options.endpoint is None else None
    ignored = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    if variable and not ignored and not is_endpoint(os.environ[variable]):
        message = f"{variable}: {shown(os.environ[variable])!r} is not an endpoint"
        problems.append(Problem(message, f"set {variable} to {FORM}"))
    if options.ca_file is not None:
        try:
            ssl.create_default_context(cafile=options.ca_file)
        except OSError as error:
            reason = "contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            problems.append(Problem(f"the CA file {options.ca_file} cannot be used: {reason}", "correct `ca_file`"))
    raise_all(RemoteError, problems)


def client(options: S3Options, connections: int) -> S3Client:
    """A client for the bucket, with that many connections. Raises BotoCoreError or ValueError for invalid settings."""
    session = botocore.session.Session()
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "true").lower() != "false":
        # Asking a cloud's metadata address for credentials hangs outside that cloud.
        session.get_component("credential_provider").remove("iam-role")
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_instant)
    config = Config(
        user_agent=session.user_agent(),  # the default, which would otherwise be built again for each request
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # A server that does not answer is given up after four read timeouts and pauses: `waited` tells people how long.
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=connections,
        # Signed payloads let every store refuse bytes changed in transit, whatever checksum headers it supports.
        s3={"addressing_style": "path" if options.endpoint else "auto", "payload_signing_enabled": True},
    )
    made = boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=options.endpoint,
        region_name=_region(options, session),
        verify=str(options.ca_file) if options.ca_file else None,
        config=config,
    )
    made.meta.events.register_last("before-parameter-build.s3", _redirect_once)
    return made


def _redirect_once(model: OperationModel, context: dict[str, Any], **_: object) -> None:
    """Keep botocore from following a redirect for ever: it asks for the bucket's region by HeadBucket, also of HeadBucket."""
    if model.name == "HeadBucket":
        context["s3_redirect"]["redirected"] = True


def _instant(text: Any) -> datetime:
    """A time in a reply. Every row of a listing has one, and botocore's own parser takes as long as the rest of the row."""
    if isinstance(text, str):
        with suppress(ValueError):
            if text[4:5] == "-":  # in bodies
                return datetime.fromisoformat(text)
            if text[3:4] == ",":  # in headers
                return parsedate_to_datetime(text)
    return parse_timestamp(text)


def _region(options: S3Options, session: botocore.session.Session) -> str:
    """The region: AWS_REGION goes before AWS_DEFAULT_REGION, as in AWS's other clients; botocore knows the latter only."""
    known = options.region or os.environ.get("AWS_REGION") or session.get_config_variable("region")
    return str(known or "us-east-1")

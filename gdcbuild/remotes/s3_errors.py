"""What the S3 client's errors mean to people: what could not be done, why, and what to do. Never a secret, never a trace."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from gdcbuild.core.endpoint import FORM, shown
from gdcbuild.errors import Problem

KEYS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to credentials for this endpoint"
RIGHTS_HINT = "the credentials need permission to list, read, write and delete in this bucket"
ENDPOINT_HINT = "check `endpoint` in environments, the network, and the proxy variables"
CERTIFICATE_HINT = "name the CA that signed the endpoint's certificate: ca_file: PATH, in environments"
PLAIN_HINT = "write http:// in `endpoint`, or the port that uses TLS"
RETRY_HINT = "run the command again: what was uploaded is kept"

CODES = {
    "NoSuchBucket": ("bucket {bucket!r} does not exist at {endpoint}", "create it, or correct `bucket` in environments"),
    "InvalidAccessKeyId": ("{endpoint} does not recognise the access key", KEYS_HINT),
    "SignatureDoesNotMatch": ("{endpoint} refuses the signature: the secret key does not match the access key", KEYS_HINT),
    "InvalidToken": ("{endpoint} refuses the session token", KEYS_HINT),
    "ExpiredToken": ("the session token has expired", "sign in again, then run the command again: what was uploaded is kept"),
    "AccessDenied": ("access denied: the credentials do not allow this", RIGHTS_HINT),
    "403": ("access denied: the credentials do not allow this", RIGHTS_HINT),
    "RequestTimeTooSkewed": ("the clocks of this machine and {endpoint} differ too much", "set the clock"),
    "PermanentRedirect": ("bucket {bucket!r} is in another region or at another endpoint", "correct `region` and `endpoint`"),
    "AuthorizationHeaderMalformed": ("bucket {bucket!r} is in another region", "correct `region` in environments"),
    "301": ("bucket {bucket!r} is in another region or at another endpoint", "correct `region` and `endpoint`"),
    "307": ("{endpoint} redirects to another address", "correct `endpoint`: write the address of the bucket"),
    "InvalidBucketName": ("{bucket!r} is not a valid bucket name", "correct `bucket` in environments"),
    "SlowDown": ("{endpoint} limits the request rate", RETRY_HINT),
    "QuotaExceeded": ("bucket {bucket!r} is full", "free space, then run the command again: what was uploaded is kept"),
}

_PAGE = ("{endpoint} answered with a web page", f"run the command again; if that does not help, {ENDPOINT_HINT}")

TYPES: tuple[tuple[type[Exception], str, str], ...] = (
    (exceptions.ProxyConnectionError, "the proxy cannot be reached", "check HTTPS_PROXY and NO_PROXY"),
    (exceptions.ConnectTimeoutError, "{endpoint} does not answer", ENDPOINT_HINT),
    (exceptions.EndpointConnectionError, "{endpoint} cannot be reached", ENDPOINT_HINT),
    (exceptions.ReadTimeoutError, "{endpoint} stopped answering", RETRY_HINT),
    (exceptions.HTTPClientError, "the connection to {endpoint} broke", RETRY_HINT),
    (exceptions.ResponseStreamingError, "the connection to {endpoint} broke", RETRY_HINT),
    (exceptions.IncompleteReadError, "the connection to {endpoint} broke", RETRY_HINT),
    (exceptions.NoCredentialsError, "no credentials found", KEYS_HINT),
    (exceptions.PartialCredentialsError, "the credentials are incomplete", KEYS_HINT),
    (exceptions.CredentialRetrievalError, "credentials could not be retrieved", KEYS_HINT),
    (exceptions.ProfileNotFound, "the profile in AWS_PROFILE does not exist", KEYS_HINT),
    (exceptions.ParamValidationError, "{bucket!r} is not a valid bucket name", "correct `bucket` in environments"),
    (
        exceptions.EndpointProviderError,
        "{endpoint} is not an endpoint",
        f"correct `endpoint_url` in the AWS files: write {FORM}",
    ),
    (ValueError, "the AWS_* settings do not name a valid endpoint or region", "correct AWS_ENDPOINT_URL and AWS_REGION"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bucket is, for messages."""

    bucket: str
    endpoint: str

    @property
    def shown(self) -> str:
        """The endpoint without a user and password."""
        return shown(self.endpoint).replace("***@", "", 1)


def status_of(error: Exception) -> int:
    """HTTP status of the refusal, 0 if there was no answer."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absent(error: ClientError) -> bool:
    """Whether the object does not exist. A HEAD only says 404, so the bucket may be missing too."""
    return error.response.get("Error", {}).get("Code", "") in ("NoSuchKey", "404", "NotFound")


def is_race(refusal: Exception, last: bool) -> bool:
    """Whether a conditional create was refused because of another writer, although the object is not there.

    Then it is sent again. A store that refuses it twice, or with another code, does not support the condition.
    """
    if not isinstance(refusal, ClientError):
        return False
    failed = refusal.response.get("Error", {}).get("Code", "") == "PreconditionFailed"
    return status_of(refusal) == 409 or is_lost_upload(refusal) or (status_of(refusal) == 412 and failed and not last)


def is_lost_upload(error: Exception) -> bool:
    """Whether the multipart upload has ended: completed with a lost reply, or aborted by someone else."""
    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code", "") == "NoSuchUpload"


def is_doubtful(error: BotoCoreError | ClientError) -> bool:
    """Whether the object may exist, written by this request or another, in spite of this error."""
    if not isinstance(error, ClientError):
        return isinstance(error, exceptions.HTTPClientError) and not isinstance(error, exceptions.EndpointConnectionError)
    return is_lost_upload(error) or status_of(error) in (409, 412) or status_of(error) >= 500


def explain(error: Exception, what: str, place: Place) -> Problem:
    """The problem that `what` ("write s3://NAME/KEY") failed."""
    message, hint = _meaning(error)
    reason = message.format(bucket=place.bucket, endpoint=place.shown)
    return Problem(f"cannot {what}: {reason}", hint)


def no_store(what: str, place: Place) -> Problem:
    """The problem that what answers is not an S3 server: a console, or a proxy with a sign-in page."""
    return Problem(f"cannot {what}: what answers at {place.shown} is not an S3 server", ENDPOINT_HINT)


def _meaning(error: Exception) -> tuple[str, str]:
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", "unknown error"))
        status = status_of(error)
        if found := CODES.get(code) or CODES.get(str(status)):
            return found
        if status // 100 == 3:
            return CODES["307"]
        if code == "500" and "html" in error.response["ResponseMetadata"].get("HTTPHeaders", {}).get("content-type", ""):
            return _PAGE  # perhaps with 200: botocore turns what it cannot parse into a 500
        said = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:200]
        return f"{{endpoint}} answered {_literal(f'{code} ({status}) {said}'.strip())}", RETRY_HINT if status >= 500 else ""
    if isinstance(error, exceptions.SSLError):
        return _meaning_of_tls(error)
    for kind, message, hint in TYPES:
        if isinstance(error, kind):
            return message, hint
    return type(error).__name__, ""


def _meaning_of_tls(error: exceptions.SSLError) -> tuple[str, str]:
    """What was wrong with the connection: the system's error is the cause below those of two libraries."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return "cannot connect to {endpoint} with TLS", ENDPOINT_HINT
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate of {{endpoint}} cannot be verified: {_literal(cause.verify_message)}", CERTIFICATE_HINT
    if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "what answers at {endpoint} does not use TLS", PLAIN_HINT
    reason = (cause.reason or "unknown error").replace("_", " ").lower()
    return f"cannot connect to {{endpoint}} with TLS: {_literal(reason)}", ENDPOINT_HINT


def _literal(text: str) -> str:
    """Text with braces escaped, for `str.format`."""
    return text.replace("{", "{{").replace("}", "}}")

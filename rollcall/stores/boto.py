"""Builds boto3 clients with short time-outs, and maps boto3's errors to Rollcall's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import botocore.exceptions as vendor
import botocore.session
from boto3.exceptions import Boto3Error
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session, URLLib3SSLError
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from rollcall.core.errors import RollcallError, SettingsError, StoreMisconfigured, StoreUnavailable
from rollcall.core.settings import Settings
from rollcall.stores.whole_answers import refuse_cut_answers

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
MAX_ATTEMPTS = 3
"""Number of attempts that botocore makes for one request. The retries of the work queue cover
longer outages."""

_THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Error codes that mean "too many requests" or "try again"."""

_NO_ANSWER = (
    vendor.HTTPClientError,
    vendor.ConnectionError,
    vendor.IncompleteReadError,
    vendor.ChecksumError,
    vendor.FlexibleChecksumError,
    vendor.MetadataRetrievalError,
    vendor.CredentialRetrievalError,
    ResponseParserError,
    URLLib3SSLError,  # raised while a body is read; botocore does not wrap it there
)
"""Exceptions of a request that got no complete answer, and may succeed later."""


def s3_client(settings: Settings) -> Any:
    """Return a client for the object store.

    It uses the keys `S3_AWS_*`, or `AWS_*` if S3_AWS_ACCESS_KEY_ID is empty.
    """
    # Without the version, botocore signs URLs with version 2, which newer regions of AWS refuse.
    return _client("s3", _config(signature_version="s3v4"), **_store_arguments(settings))


def public_s3_client(settings: Settings) -> Any:
    """Return a client that signs URLs for browsers, which reach the store at WEB_STORE_URL.

    The host is part of the signature.
    """
    if not settings.web_store_url:
        return s3_client(settings)
    return s3_client(replace(settings, s3_endpoint_url=settings.web_store_url))


def topic_client(settings: Settings) -> Any:
    """Return an SNS client for the object store: Ceph's gateway has S3 and SNS at one address."""
    return _client("sns", **_store_arguments(settings))


def sns_client(settings: Settings, region: str) -> Any:
    """Return a client for AWS's SNS, to confirm subscriptions."""
    return _client("sns", **{**_aws_arguments(settings, ""), "region_name": region})


def dynamodb_client(settings: Settings) -> Any:
    return _client("dynamodb", **_aws_arguments(settings, settings.dynamodb_endpoint_url))


def dynamodb_resource(settings: Settings) -> Any:
    """Return boto3's high-level interface, whose batch writer repeats unprocessed items."""
    arguments = _aws_arguments(settings, settings.dynamodb_endpoint_url)
    resource = _session().resource("dynamodb", config=_config(), **arguments)
    refuse_cut_answers(resource.meta.client)
    return resource


def sqs_client(settings: Settings) -> Any:
    return _client("sqs", **_aws_arguments(settings, settings.sqs_endpoint_url))


def lambda_client(settings: Settings) -> Any:
    """Return a client that waits up to FUNCTION_TIMEOUT_S for the answer to a call."""
    # No retries: after a time-out the function may still be running, and would then run twice.
    config = _config(
        read_timeout=settings.function_timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=settings.max_inflight,
        tcp_keepalive=True,
    )
    return _client("lambda", config, **_aws_arguments(settings, settings.lambda_endpoint_url))


def delete_notification(settings: Settings, bucket: str, entry_id: str) -> None:
    """Delete one notification of a bucket. A missing notification is not an error.

    The request is `DELETE /bucket?notification=id`, an extension of Ceph's gateway. boto3 has no
    method for it, so the request is signed and sent here.
    """
    arguments = _store_arguments(settings)
    url = f"{settings.s3_endpoint_url}/{quote(bucket)}?notification={quote(entry_id, safe='')}"
    request = AWSRequest("DELETE", url)
    with boto_errors(f"removing the notification {entry_id} of {bucket}"):
        session = _session(**{n: v for n, v in arguments.items() if n.startswith("aws_")})
        S3SigV4Auth(session.get_credentials(), "s3", settings.aws_region).add_auth(request)
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        http = URLLib3Session(verify=arguments["verify"] or True, timeout=timeout)
        answer = http.send(request.prepare())
        if answer.status_code >= 300:
            meta = {"HTTPStatusCode": answer.status_code}
            raise vendor.ClientError({"ResponseMetadata": meta}, "DeleteNotification")


def _client(service: str, config: Config | None = None, **arguments: Any) -> Any:
    client = _session().client(service, config=config or _config(), **arguments)
    refuse_cut_answers(client)
    return client


def _session(**credentials: str | None) -> Any:
    """Return a new session for each client: sessions are not thread-safe, but clients are."""
    session = botocore.session.get_session()
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=parse_time)
    return boto3.session.Session(**credentials, botocore_session=session)


def parse_time(value: Any) -> datetime:
    """Parse a time in an answer. Raises ValueError.

    botocore's own function takes two thirds of the processor time of a listing, because it accepts
    many formats. Only times in the format of listings are parsed here; it parses all others.
    """
    if isinstance(value, str) and value.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    parsed: datetime = parse_timestamp(value)
    return parsed


def _store_arguments(settings: Settings) -> dict[str, str | None]:
    arguments = _aws_arguments(settings, settings.s3_endpoint_url)
    if settings.s3_aws_access_key_id:
        arguments["aws_access_key_id"] = settings.s3_aws_access_key_id
        arguments["aws_secret_access_key"] = settings.s3_aws_secret_access_key
        arguments["aws_session_token"] = None  # the token belongs to the keys of AWS_*
    return arguments | {"verify": _ca_bundle(settings)}


def _ca_bundle(settings: Settings) -> str | None:
    path = settings.s3_ca_bundle
    # Checked here, because botocore reports a missing file as a connection error.
    if path and not os.access(path, os.R_OK):
        raise SettingsError(f"S3_CA_BUNDLE: {path!r} cannot be read")
    return path or None


def _aws_arguments(settings: Settings, endpoint: str) -> dict[str, str | None]:
    """Return arguments for a client.

    If the keys are None, boto3 searches its other sources of credentials, such as an IAM role.
    """
    return {
        "endpoint_url": endpoint or None,
        "region_name": settings.aws_region,
        "aws_access_key_id": settings.aws_access_key_id or None,
        "aws_secret_access_key": settings.aws_secret_access_key or None,
        "aws_session_token": settings.aws_session_token or None,
    }


def _config(**others: Any) -> Config:
    common = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        max_pool_connections=32,
        # Host style (bucket.example.org) needs a wildcard DNS name, which few gateways have.
        s3={"addressing_style": "path"},
        # By default, botocore sends trailing checksums, which older gateways refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return common.merge(Config(**others))


@contextmanager
def boto_errors(action: str) -> Iterator[None]:
    """Map every error that boto3 raises in the block to StoreUnavailable or StoreMisconfigured.

    The message begins with `action`, such as "listing my-bucket".
    """
    try:
        yield
    except vendor.ClientError as error:
        raise _error_from_answer(action, error) from error
    except _NO_ANSWER as error:
        raise StoreUnavailable(f"{action}: {_describe_no_answer(error)}") from error
    except (vendor.NoCredentialsError, vendor.PartialCredentialsError) as error:
        raise StoreMisconfigured(
            f"{action}: no keys; set AWS_ACCESS_KEY_ID and S3_AWS_ACCESS_KEY_ID with their secrets,"
            " or run from the folder of .env"
        ) from error
    except Boto3Error as error:
        # boto3's multipart upload raises an error whose `__context__` is the store's answer.
        if isinstance(error.__context__, vendor.ClientError):
            raise _error_from_answer(action, error.__context__) from error
        raise StoreUnavailable(f"{action}: {error}") from error
    except vendor.BotoCoreError as error:
        raise StoreMisconfigured(f"{action}: {error}") from error


def _describe_no_answer(error: Exception) -> str:
    # botocore's connection errors carry the address; the others do not.
    url = getattr(error, "kwargs", {}).get("endpoint_url", "")
    if isinstance(error, vendor.ConnectionError) and url:
        parts = urlsplit(url)
        address = f"{parts.scheme}://{parts.netloc}"
        return (
            f"{address} does not answer ({type(error).__name__}); is it running, and are the"
            " settings that end in ENDPOINT_URL right?"
        )
    if isinstance(error, vendor.IncompleteReadError):
        return f"no complete answer: {error}"
    return f"no complete answer ({type(error).__name__})"


def error_code(error: BaseException | None) -> str:
    """Return the store's error code, such as `NoSuchKey`; empty if the store did not answer.

    The answer to a HEAD request has no body, so its code is the status, such as `404`.
    """
    if not isinstance(error, vendor.ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: vendor.ClientError) -> str:
    """Return the message of the service; empty if there is none."""
    return str(error.response.get("Error", {}).get("Message", ""))


def refusal_code(error: RollcallError) -> str:
    """Return the store's error code behind one of our errors; empty if the store did not answer."""
    return error_code(error.__cause__)


def is_missing(error: RollcallError) -> bool:
    """Whether the store answered 404, which means that the requested object does not exist."""
    cause = error.__cause__
    if not isinstance(cause, vendor.ClientError):
        return False
    status: object = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == 404


def _error_from_answer(action: str, error: vendor.ClientError) -> RollcallError:
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLING or status >= 500 or status == 429:
        return StoreUnavailable(f"{action}: {code or status}")
    return StoreMisconfigured(
        f"{action}: refused with {code or status}; check endpoint, keys, region and names"
    )

"""boto3 clients with time-outs set on purpose, and its errors turned into ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import botocore.exceptions as vendor
from boto3.exceptions import Boto3Error
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session, URLLib3SSLError
from botocore.parsers import ResponseParserError

from rollcall.core.errors import RollcallError, SettingsError, StoreMisconfigured, StoreUnavailable
from rollcall.core.settings import Settings
from rollcall.stores.whole_answers import refuse_cut_answers

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
ATTEMPTS = 3
"""botocore's own, a second or two; longer outages are the inbox's business."""

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

_ANSWERS_LATER = (
    vendor.HTTPClientError,
    vendor.ConnectionError,
    vendor.IncompleteReadError,
    vendor.ChecksumError,
    vendor.FlexibleChecksumError,
    vendor.MetadataRetrievalError,
    vendor.CredentialRetrievalError,
    ResponseParserError,
    URLLib3SSLError,  # while a body is read
)


def s3_client(settings: Settings) -> Any:
    """For the object store: `S3_*`, or AWS's own when those are empty."""
    return _client("s3", **_store_arguments(settings))


def topic_client(settings: Settings) -> Any:
    """The SNS API of the object store: Ceph's gateway serves both at one address."""
    return _client("sns", **_store_arguments(settings))


def sns_client(settings: Settings, region: str) -> Any:
    """AWS's SNS, which confirms subscriptions."""
    return _client("sns", **{**_aws_arguments(settings, ""), "region_name": region})


def dynamodb_client(settings: Settings) -> Any:
    return _client("dynamodb", **_aws_arguments(settings, settings.dynamodb_endpoint_url))


def dynamodb_resource(settings: Settings) -> Any:
    """boto3's higher level, for its batch writer."""
    arguments = _aws_arguments(settings, settings.dynamodb_endpoint_url)
    resource = _session().resource("dynamodb", config=_config(), **arguments)
    refuse_cut_answers(resource.meta.client)
    return resource


def sqs_client(settings: Settings) -> Any:
    return _client("sqs", **_aws_arguments(settings, settings.sqs_endpoint_url))


def lambda_client(settings: Settings) -> Any:
    """It waits for a call as long as FUNCTION_TIMEOUT_S, and never repeats one by itself: a call
    that was given up may be running still."""
    config = _config(
        read_timeout=settings.function_timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=settings.max_inflight,
        tcp_keepalive=True,
    )
    return _client("lambda", config, **_aws_arguments(settings, settings.lambda_endpoint_url))


def delete_notification(settings: Settings, bucket: str, entry_id: str) -> None:
    """`DELETE /bucket?notification=id`, an extension of Ceph's gateway that boto3 has no call for.

    An id that is missing is not an error.
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
    """One for each client: sessions are not safe for threads, clients are."""
    return boto3.session.Session(**credentials)


def _store_arguments(settings: Settings) -> dict[str, str | None]:
    arguments = _aws_arguments(settings, settings.s3_endpoint_url)
    if settings.s3_aws_access_key_id:
        arguments["aws_access_key_id"] = settings.s3_aws_access_key_id
        arguments["aws_secret_access_key"] = settings.s3_aws_secret_access_key
        arguments["aws_session_token"] = None
    return arguments | {"verify": _ca_bundle(settings)}


def _ca_bundle(settings: Settings) -> str | None:
    """botocore would report a missing file as a server that does not answer."""
    path = settings.s3_ca_bundle
    if path and not os.access(path, os.R_OK):
        raise SettingsError(f"S3_CA_BUNDLE: {path!r} cannot be read")
    return path or None


def _aws_arguments(settings: Settings, endpoint: str) -> dict[str, str | None]:
    """Empty credentials leave boto3 its own chain (a role, for example)."""
    return {
        "endpoint_url": endpoint or None,
        "region_name": settings.aws_region,
        "aws_access_key_id": settings.aws_access_key_id or None,
        "aws_secret_access_key": settings.aws_secret_access_key or None,
        "aws_session_token": settings.aws_session_token or None,
    }


def _config(**others: Any) -> Config:
    """Path style, because Ceph's gateway mostly has no wildcard name; checksums only where asked
    for, because older gateways do not know the trailing ones."""
    common = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=32,
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return common.merge(Config(**others))


@contextmanager
def boto_errors(what: str) -> Iterator[None]:
    """Turns every error of boto3 into one of ours; `what` begins its sentence."""
    try:
        yield
    except vendor.ClientError as error:
        raise _answered(what, error) from error
    except _ANSWERS_LATER as error:
        raise StoreUnavailable(f"{what}: {_unanswered(error)}") from error
    except (vendor.NoCredentialsError, vendor.PartialCredentialsError) as error:
        raise StoreMisconfigured(
            f"{what}: no keys; set AWS_ACCESS_KEY_ID and S3_AWS_ACCESS_KEY_ID with their secrets,"
            " or run from the folder of .env"
        ) from error
    except Boto3Error as error:
        # An upload in parts hides the answer behind an error of its own.
        if isinstance(error.__context__, vendor.ClientError):
            raise _answered(what, error.__context__) from error
        raise StoreUnavailable(f"{what}: {error}") from error
    except vendor.BotoCoreError as error:
        raise StoreMisconfigured(f"{what}: {error}") from error


def _unanswered(error: Exception) -> str:
    """botocore's errors know the address, where there is one."""
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
    """`NoSuchKey`, or the status where a HEAD has no body to say more; empty without an answer."""
    if not isinstance(error, vendor.ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: vendor.ClientError) -> str:
    """The service's own sentence; empty if it gave none."""
    return str(error.response.get("Error", {}).get("Message", ""))


def refusal_code(error: RollcallError) -> str:
    """The store's own code behind an error of ours; empty when it did not answer."""
    return error_code(error.__cause__)


def is_missing(error: RollcallError) -> bool:
    """Whether the store answered that the thing does not exist."""
    cause = error.__cause__
    if not isinstance(cause, vendor.ClientError):
        return False
    status: object = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == 404


def _answered(what: str, error: vendor.ClientError) -> RollcallError:
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLING or status >= 500 or status == 429:
        return StoreUnavailable(f"{what}: {code or status}")
    return StoreMisconfigured(
        f"{what}: refused with {code or status}; check endpoint, keys, region and names"
    )

"""Every error of boto3 is mapped to one of Rollcall's."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

import boto3.exceptions
import botocore.exceptions
import pytest
from boto3.exceptions import Boto3Error, S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from rollcall.core.errors import StoreMisconfigured, StoreUnavailable, TransientError
from rollcall.stores.boto import _THROTTLING, boto_errors, error_code

NO_ANSWER = """
    ChecksumError ConnectTimeoutError ConnectionClosedError ConnectionError
    CredentialRetrievalError EndpointConnectionError FlexibleChecksumError HTTPClientError
    IncompleteReadError MetadataRetrievalError ProxyConnectionError ReadTimeoutError
    ResponseStreamingError SSLError
"""


def vendor_errors(module: ModuleType) -> Iterator[type[Exception]]:
    """Yield the exceptions that the module defines. Clients create more subclasses at run time."""
    for each in vars(module).values():
        if inspect.isclass(each) and issubclass(each, BotoCoreError | ClientError | Boto3Error):
            yield each


ERRORS = {
    each.__name__: each
    for module in (botocore.exceptions, boto3.exceptions)
    for each in vendor_errors(module)
}

KNOWN = """
    AliasConflictParameterError ApiVersionNotFoundError AwsChunkedWrapperError
    BaseEndpointResolverError Boto3Error BotoCoreError CapacityNotAvailableError ChecksumError
    ClientError ConfigNotFound ConfigParseError ConnectTimeoutError ConnectionClosedError
    ConnectionError CredentialRetrievalError DataNotFoundError DynamoDBNeedsConditionError
    DynamoDBNeedsKeyConditionError DynamoDBOperationNotSupportedError EndpointConnectionError
    EndpointProviderError EndpointResolutionError EndpointVariantError EventStreamError
    FlexibleChecksumError HTTPClientError IncompleteReadError InfiniteLoopConfigError
    InvalidChecksumConfigError InvalidConfigError InvalidCrtTransferConfigError
    InvalidDNSNameError InvalidDefaultsMode InvalidEndpointConfigurationError
    InvalidEndpointDiscoveryConfigurationError InvalidExpressionError InvalidHostLabelError
    InvalidIMDSEndpointError InvalidIMDSEndpointModeError InvalidMaxRetryAttemptsError
    InvalidProxiesConfigError InvalidRegionError InvalidRetryConfigurationError
    InvalidRetryModeError InvalidS3AddressingStyleError
    InvalidS3UsEast1RegionalEndpointConfigError InvalidSTSRegionalEndpointsConfigError
    LoginAuthorizationCodeError LoginError LoginInsufficientPermissions LoginRefreshRequired
    LoginTokenLoadError MD5UnavailableError MetadataRetrievalError MissingDependencyException
    MissingParametersError NoAuthTokenError NoCredentialsError NoRegionError NoVersionFound
    OperationNotPageableError PaginationError ParamValidationError PartialCredentialsError
    ProfileNotFound ProxyConnectionError RangeError ReadTimeoutError
    RefreshWithMFAUnsupportedError ResourceLoadException ResourceNotExistsError
    ResponseStreamingError RetriesExceededError S3TransferFailedError S3UploadFailedError
    SSLError SSOError SSOTokenLoadError ServiceNotInRegionError StubAssertionError
    StubResponseError TokenRetrievalError UnStubbedResponseError UnauthorizedSSOTokenError
    UnknownAPIVersionError UnknownClientMethodError UnknownCredentialError UnknownEndpointError
    UnknownEndpointResolutionBuiltInName UnknownFIPSEndpointError UnknownKeyError
    UnknownParameterError UnknownRegionError UnknownServiceError UnknownServiceStyle
    UnknownSignatureVersionError UnknownTokenProviderError UnseekableStreamError
    UnsupportedOutpostResourceError UnsupportedS3AccesspointConfigurationError
    UnsupportedS3ArnError UnsupportedS3ConfigurationError UnsupportedS3ControlArnError
    UnsupportedS3ControlConfigurationError UnsupportedServiceProtocolsError
    UnsupportedSignatureVersionError ValidationError WaiterConfigError WaiterError
"""


def mapped(error: Exception) -> TransientError:
    with pytest.raises(TransientError) as caught, boto_errors("reading a/b"):
        raise error
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("reading a/b: ")
    return caught.value


def make_error(name: str) -> Exception:
    """Make an exception without calling `__init__`, whose arguments differ between classes."""
    each = ERRORS[name]
    error: Exception = each.__new__(each)
    if isinstance(error, ClientError):
        error.response = {}
    return error


def test_all_error_classes_of_boto3_are_known() -> None:
    assert sorted(ERRORS) == sorted(KNOWN.split())


@pytest.mark.parametrize("name", KNOWN.split())
def test_every_error_is_mapped(name: str) -> None:
    assert type(mapped(make_error(name))) in (StoreUnavailable, StoreMisconfigured)


@pytest.mark.parametrize("name", NO_ANSWER.split())
def test_no_answer_is_unavailable(name: str) -> None:
    assert type(mapped(make_error(name))) is StoreUnavailable


@pytest.mark.parametrize(
    "name",
    ["NoCredentialsError", "PartialCredentialsError", "NoRegionError", "ParamValidationError"],
)
def test_errors_that_a_person_must_fix_are_misconfigured(name: str) -> None:
    assert type(mapped(make_error(name))) is StoreMisconfigured


def answer(code: str, status: int) -> ClientError:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "GetObject")


@pytest.mark.parametrize(
    ("code", "status"),
    [("InternalError", 500), ("503", 503), ("", 502), ("x", 429), ("SlowDown", 400)]
    + [(code, 400) for code in sorted(_THROTTLING)],
)
def test_server_errors_are_unavailable(code: str, status: int) -> None:
    error = mapped(answer(code, status))
    assert type(error) is StoreUnavailable
    assert (code or str(status)) in str(error)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDenied", 403),
        ("InvalidAccessKeyId", 403),
        ("SignatureDoesNotMatch", 403),
        ("NoSuchBucket", 404),
        ("ResourceNotFoundException", 400),
        ("ExpiredToken", 400),
        ("PermanentRedirect", 301),
    ],
)
def test_a_refusal_is_misconfigured(code: str, status: int) -> None:
    error = mapped(answer(code, status))
    assert type(error) is StoreMisconfigured
    assert code in str(error)


def test_a_failed_multipart_upload_is_mapped_by_the_answer_of_the_store() -> None:
    def upload(hidden: ClientError) -> Exception:
        try:
            try:
                raise hidden
            except ClientError as error:
                raise S3UploadFailedError(f"Failed to upload: {error}")  # noqa: B904
        except S3UploadFailedError as error:
            return error

    assert type(mapped(upload(answer("AccessDenied", 403)))) is StoreMisconfigured
    assert type(mapped(upload(answer("SlowDown", 503)))) is StoreUnavailable
    assert type(mapped(S3UploadFailedError("no part arrived"))) is StoreUnavailable


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), boto_errors("reading a/b"):
        raise KeyError


@pytest.mark.parametrize("response", [{}, {"Error": {}}, {"ResponseMetadata": {}}])
def test_an_answer_without_details_is_misconfigured(response: dict[str, dict[str, str]]) -> None:
    error = ClientError(response, "HeadObject")
    assert error_code(error) == ""
    assert type(mapped(error)) is StoreMisconfigured

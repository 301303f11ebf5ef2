"""Objects in S3, for Ceph's gateway, AWS and moto."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from rollcall.core.errors import (
    ObjectChanged,
    ObjectNotFound,
    ObjectTooLarge,
    RollcallError,
    StoreUnavailable,
)
from rollcall.core.protocols import NO_METADATA
from rollcall.core.types import ObjectInfo
from rollcall.stores.boto import boto_errors, refusal_code
from rollcall.stores.whole_answers import read_body

CHUNK_BYTES = 1 << 20

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"})
"""Error codes for a missing object. MethodNotAllowed means that the version is a delete marker."""

_MAYBE_GONE = frozenset({"404", "405"})
"""Error codes of a HEAD request for an object that may be missing. The answer to a HEAD request has
no body, so botocore uses the status as the code. The bucket may be missing instead, or a proxy may
briefly have lost its connection to the store."""

_DEFAULT_REGION = "us-east-1"
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")

_PEEK_BYTES = 1 << 16
"""How much of an object is read when only its metadata is needed."""

_CHANGED = frozenset(
    {"PreconditionFailed", "412", "ConditionalRequestConflict", "ConcurrentModification"}
)
"""Error codes of a conditional request that failed because the object was replaced."""

_REQUIRED_FIELDS = ("ContentLength", "ETag", "LastModified")
"""Fields that the answer to a HEAD request for an object always has."""

_ALREADY_OWNED = "BucketAlreadyOwnedByYou"


class S3Store:
    """ObjectStore that uses a boto3 S3 client.

    `public_client` signs the URLs for browsers, if browsers reach the store at another address.
    """

    def __init__(self, client: Any, public_client: Any = None) -> None:
        self._client = client
        self._public_client = public_client or client

    def head(self, bucket: str, key: str) -> ObjectInfo:
        answer = self._head(bucket, key)
        return ObjectInfo(
            bucket,
            key,
            int(answer["ContentLength"]),
            answer["ETag"].strip('"'),
            answer.get("VersionId", ""),
            answer["LastModified"].timestamp(),
        )

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        # Read with GET and not with HEAD: if the headers of an answer to HEAD are truncated,
        # nothing shows that some metadata is missing. A truncated answer to GET lacks its body,
        # too, which `read_body` notices.
        answer = self._call_for_object("get_object", bucket, key)
        with boto_errors(f"reading {bucket}/{key}"), closing(answer["Body"]) as body:
            read_body(body, _PEEK_BYTES)
        return {name.lower(): value for name, value in answer["Metadata"].items()}

    def download(self, info: ObjectInfo, path: Path) -> None:
        condition = f'"{info.etag}"'
        answer = self._call_for_object("get_object", info.bucket, info.key, IfMatch=condition)
        received = 0
        with open(path, "xb") as file, boto_errors(f"reading {info.bucket}/{info.key}"):
            for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                received += len(chunk)
                if received > info.size_bytes:
                    raise ObjectChanged(f"{info.key!r} is longer than HEAD reported")
                file.write(chunk)

    def read_range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        conditions = {"IfMatch": f'"{info.etag}"', "Range": f"bytes={start}-{end - 1}"}
        answer = self._call_for_object("get_object", info.bucket, info.key, **conditions)
        with boto_errors(f"reading {info.bucket}/{info.key}"):
            content = read_body(answer["Body"], end - start)
        # Content-Range is "bytes start-end/size". Another size means that the object was replaced.
        _, _, size = answer.get("ContentRange", "").rpartition("/")
        if len(content) != end - start or size not in ("", "*", str(info.size_bytes)):
            raise ObjectChanged(f"{info.key!r} does not have the length that HEAD reported")
        return content

    def read(self, bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        answer = self._call_for_object("get_object", bucket, key, **_version(version_id))
        return self._content(answer, bucket, key, max_bytes)

    def read_with_etag(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
        answer = self._call_for_object("get_object", bucket, key)
        if "ETag" not in answer:
            raise StoreUnavailable(f"get_object {bucket}/{key!r}: the answer lacks ETag")
        return self._content(answer, bucket, key, max_bytes), answer["ETag"].strip('"')

    def write(
        self, bucket: str, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        content = _content_arguments(body, content_type, metadata)
        self._call("put_object", bucket, key, **content)

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        content = _content_arguments(body, content_type, metadata)
        if not etag:
            self._put_if(bucket, key, **content, IfNoneMatch="*")
            return
        try:
            self._put_if(bucket, key, **content, IfMatch=f'"{etag}"')
        except ObjectChanged:
            if not self._still_has(bucket, key, etag):
                raise
            # RFC 9110 requires quotes around the etag. Ceph's gateway compares the quotes, too, so
            # that a quoted etag never matches.
            self._put_if(bucket, key, **content, IfMatch=etag)

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2")
        with boto_errors(f"listing {bucket}"):
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    yield _listed(bucket, item)

    def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_object_versions")
        with boto_errors(f"listing versions of {bucket}"):
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Versions", ()):
                    if not item["IsLatest"]:
                        yield _listed(bucket, item)

    def delete(self, bucket: str, key: str, version_id: str = "") -> None:
        self._call("delete_object", bucket, key, **_version(version_id))

    def presigned_url(
        self, bucket: str, key: str, expires_s: int, filename: str | None = None
    ) -> str:
        parameters = {"Bucket": bucket, "Key": key}
        if filename is not None:
            parameters["ResponseContentDisposition"] = _attachment(filename)
        with boto_errors(f"signing a URL of {bucket}/{key!r}"):
            url: str = self._public_client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=expires_s
            )
        return url

    def upload(self, path: Path, bucket: str, key: str, on_bytes: Any = None) -> None:
        """Upload a file; a large one as a multipart upload, several parts at once.

        `on_bytes` is called from several threads, each time with the number of bytes just sent.
        """
        with boto_errors(f"uploading {path.name!r} to {bucket}"):
            self._client.upload_file(str(path), bucket, key, Callback=on_bytes)

    def create_bucket(self, bucket: str) -> None:
        """Create the bucket. A bucket that is already ours is not an error."""
        try:
            self._call("create_bucket", bucket, None, **self._region_arguments())
        except RollcallError as error:
            if refusal_code(error) != _ALREADY_OWNED:
                raise

    def _region_arguments(self) -> dict[str, Any]:
        # AWS requires the region, except for its default region, where naming it is an error. Other
        # stores refuse regions that they do not know.
        meta = self._client.meta
        host = urlsplit(meta.endpoint_url).hostname or ""
        if meta.region_name == _DEFAULT_REGION or not host.endswith(_AWS_HOSTS):
            return {}
        return {"CreateBucketConfiguration": {"LocationConstraint": meta.region_name}}

    def _put_if(self, bucket: str, key: str, **arguments: Any) -> None:
        try:
            self._call_for_object("put_object", bucket, key, **arguments)
        except ObjectNotFound as error:  # AWS answers 404 if there is no object for If-Match
            raise ObjectChanged(str(error)) from error

    def _still_has(self, bucket: str, key: str, etag: str) -> bool:
        try:
            return self.head(bucket, key).etag == etag
        except ObjectNotFound:
            return False

    def _content(self, answer: Any, bucket: str, key: str, max_bytes: int) -> bytes:
        with boto_errors(f"reading {bucket}/{key}"):
            content = read_body(answer["Body"], max_bytes)
        if len(content) > max_bytes:
            raise ObjectTooLarge(f"{key!r} has more than {max_bytes} bytes")
        return content

    def _head(self, bucket: str, key: str) -> Any:
        try:
            answer = self._call_for_object("head_object", bucket, key)
        except RollcallError as error:
            if refusal_code(error) in _MAYBE_GONE:
                self._raise_reason(bucket, key)
            raise
        # The answer has no body, so it looks complete even if its headers are truncated.
        missing = [name for name in _REQUIRED_FIELDS if name not in answer]
        if missing:
            raise StoreUnavailable(
                f"head_object {bucket}/{key!r}: the answer lacks {', '.join(missing)}"
            )
        return answer

    def _raise_reason(self, bucket: str, key: str) -> NoReturn:
        """Repeat a failed HEAD request as a GET, whose answer has a body with an error code.

        Raises ObjectNotFound, the store's other error, or StoreUnavailable if the GET succeeds.
        """
        answer = self._call_for_object("get_object", bucket, key)
        answer["Body"].close()
        raise StoreUnavailable(f"{bucket}/{key!r} was missing, and a moment later it was there")

    def _call_for_object(self, operation: str, bucket: str, key: str, **arguments: Any) -> Any:
        """Send a request for one object.

        Raises ObjectNotFound and ObjectChanged, in addition to the errors of `_call`.
        """
        try:
            return self._call(operation, bucket, key, **arguments)
        except RollcallError as error:
            code = refusal_code(error)
            if code in _GONE:
                raise ObjectNotFound(f"{bucket}/{key!r} does not exist") from error
            if code in _CHANGED:
                raise ObjectChanged(f"{bucket}/{key!r} was replaced in the meantime") from error
            raise
        except ValueError as error:  # botocore cannot parse a truncated date in the headers
            raise StoreUnavailable(f"{operation} {bucket}/{key!r}: no complete answer") from error

    def _call(self, operation: str, bucket: str, key: str | None, **arguments: Any) -> Any:
        where = {"Bucket": bucket} if key is None else {"Bucket": bucket, "Key": key}
        with boto_errors(f"{operation} {bucket}" + ("" if key is None else f"/{key!r}")):
            return getattr(self._client, operation)(**where, **arguments)


def _listed(bucket: str, item: Mapping[str, Any]) -> ObjectInfo:
    etag, modified_s = item["ETag"].strip('"'), item["LastModified"].timestamp()
    version_id = item.get("VersionId", "")
    return ObjectInfo(bucket, item["Key"], int(item["Size"]), etag, version_id, modified_s)


def _content_arguments(
    body: bytes, content_type: str, metadata: Mapping[str, str]
) -> dict[str, Any]:
    """Return arguments for `put_object`.

    Empty metadata is dropped, because an empty entry means the same as a missing one.
    """
    non_empty = {name: value for name, value in metadata.items() if value}
    return {"Body": body, "ContentType": content_type, "Metadata": non_empty}


def _attachment(filename: str) -> str:
    """The value of Content-Disposition that saves a file under this name (RFC 6266, 4.3)."""
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


def _version(version_id: str) -> dict[str, str]:
    return {"VersionId": version_id} if version_id else {}

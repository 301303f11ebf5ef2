"""Objects in S3, as Ceph's gateway, AWS and moto speak it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rollcall.core.errors import (
    ObjectChanged,
    ObjectNotFound,
    RollcallError,
    StoreUnavailable,
    VideoTooLarge,
)
from rollcall.core.protocols import NO_METADATA
from rollcall.core.types import ObjectInfo
from rollcall.stores.boto import boto_errors, refusal_code
from rollcall.stores.whole_answers import read_body

CHUNK_BYTES = 1 << 20

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"})
"""The last is what a delete marker says."""

_GONE_PERHAPS = frozenset({"404", "405"})
"""What remains of these when the answer has no body. A missing bucket says the same, and so does a
proxy that has lost its store for a moment."""

_FIRST_REGION = "us-east-1"
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")

_PEEK_BYTES = 1 << 16

_CHANGED = frozenset(
    {"PreconditionFailed", "412", "ConditionalRequestConflict", "ConcurrentModification"}
)
_OF_EVERY_OBJECT = ("ContentLength", "ETag", "LastModified")

_OURS_ALREADY = "BucketAlreadyOwnedByYou"


class S3Store:
    """ObjectStore over a boto3 S3 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

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
        """Not from a HEAD: headers that were cut off are whole only where a body follows them."""
        answer = self._read("get_object", bucket, key)
        with boto_errors(f"reading {bucket}/{key}"), closing(answer["Body"]) as body:
            read_body(body, _PEEK_BYTES)
        return {name.lower(): value for name, value in answer["Metadata"].items()}

    def download(self, info: ObjectInfo, path: Path) -> None:
        answer = self._read("get_object", info.bucket, info.key, IfMatch=f'"{info.etag}"')
        received = 0
        with open(path, "xb") as file, boto_errors(f"reading {info.bucket}/{info.key}"):
            for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                received += len(chunk)
                if received > info.size_bytes:
                    raise ObjectChanged(f"{info.key!r} is longer than its HEAD said")
                file.write(chunk)

    def read_range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        which = {"IfMatch": f'"{info.etag}"', "Range": f"bytes={start}-{end - 1}"}
        answer = self._read("get_object", info.bucket, info.key, **which)
        with boto_errors(f"reading {info.bucket}/{info.key}"):
            content = read_body(answer["Body"], end - start)
        _, _, whole = answer.get("ContentRange", "").rpartition("/")
        if len(content) != end - start or whole not in ("", "*", str(info.size_bytes)):
            raise ObjectChanged(f"{info.key!r} has not the length that its HEAD said")
        return content

    def read(self, bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        answer = self._read("get_object", bucket, key, **_version(version_id))
        return self._content(answer, bucket, key, max_bytes)

    def read_tagged(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
        answer = self._read("get_object", bucket, key)
        if "ETag" not in answer:
            raise StoreUnavailable(f"get_object {bucket}/{key!r}: an answer without ETag")
        return self._content(answer, bucket, key, max_bytes), answer["ETag"].strip('"')

    def write(
        self, bucket: str, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        given = {name: value for name, value in metadata.items() if value}
        self._call("put_object", bucket, key, Body=body, ContentType=content_type, Metadata=given)

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        """RFC 9110 wants the etag in quotes, and Ceph's gateway only matches it without them."""
        kept = {name: value for name, value in metadata.items() if value}
        given: dict[str, Any] = {"Body": body, "ContentType": content_type, "Metadata": kept}
        if not etag:
            self._write_if(bucket, key, **given, IfNoneMatch="*")
            return
        try:
            self._write_if(bucket, key, **given, IfMatch=f'"{etag}"')
        except ObjectChanged:
            if not self._still_has(bucket, key, etag):
                raise
            self._write_if(bucket, key, **given, IfMatch=etag)

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

    def upload(self, path: Path, bucket: str, key: str, on_bytes: Any = None) -> None:
        """A file, in parallel parts when it is large; `on_bytes` hears how many went."""
        with boto_errors(f"uploading {path.name!r} to {bucket}"):
            self._client.upload_file(str(path), bucket, key, Callback=on_bytes)

    def create_bucket(self, bucket: str) -> None:
        """A bucket that is already ours is not an error."""
        try:
            self._call("create_bucket", bucket, None, **self._region())
        except RollcallError as error:
            if refusal_code(error) != _OURS_ALREADY:
                raise

    def _region(self) -> dict[str, Any]:
        """AWS wants to hear of every region but its first; other stores refuse what they do not
        know."""
        meta = self._client.meta
        host = urlsplit(meta.endpoint_url).hostname or ""
        if meta.region_name == _FIRST_REGION or not host.endswith(_AWS_HOSTS):
            return {}
        return {"CreateBucketConfiguration": {"LocationConstraint": meta.region_name}}

    def _write_if(self, bucket: str, key: str, **arguments: Any) -> None:
        try:
            self._read("put_object", bucket, key, **arguments)
        except ObjectNotFound as error:  # AWS says so where If-Match finds no object
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
            raise VideoTooLarge(f"{key!r} has more than {max_bytes} bytes")
        return content

    def _head(self, bucket: str, key: str) -> Any:
        """An answer without a body can be cut off among its headers alone."""
        try:
            answer = self._read("head_object", bucket, key)
        except RollcallError as error:
            if refusal_code(error) in _GONE_PERHAPS:
                self._ask_whether_gone(bucket, key)
            raise
        missing = [name for name in _OF_EVERY_OBJECT if name not in answer]
        if missing:
            raise StoreUnavailable(f"head_object {bucket}/{key!r}: an answer without {missing}")
        return answer

    def _ask_whether_gone(self, bucket: str, key: str) -> None:
        """Raises ObjectNotFound, or what else the store says in an answer that has a body."""
        answer = self._read("get_object", bucket, key)
        answer["Body"].close()
        raise StoreUnavailable(f"{bucket}/{key!r} was not there, and now it is")

    def _read(self, operation: str, bucket: str, key: str, **arguments: Any) -> Any:
        """A request for an object; the answers that mean "gone" and "changed" become ours."""
        try:
            return self._call(operation, bucket, key, **arguments)
        except RollcallError as error:
            code = refusal_code(error)
            if code in _GONE:
                raise ObjectNotFound(f"{bucket}/{key!r} does not exist (any more)") from error
            if code in _CHANGED:
                raise ObjectChanged(f"{bucket}/{key!r} was replaced meanwhile") from error
            raise
        except ValueError as error:  # half a date among the headers
            raise StoreUnavailable(f"{operation} {bucket}/{key!r}: no complete answer") from error

    def _call(self, operation: str, bucket: str, key: str | None, **arguments: Any) -> Any:
        where = {"Bucket": bucket} if key is None else {"Bucket": bucket, "Key": key}
        with boto_errors(f"{operation} {bucket}" + ("" if key is None else f"/{key!r}")):
            return getattr(self._client, operation)(**where, **arguments)


def _listed(bucket: str, item: Mapping[str, Any]) -> ObjectInfo:
    etag, modified_s = item["ETag"].strip('"'), item["LastModified"].timestamp()
    version_id = item.get("VersionId", "")
    return ObjectInfo(bucket, item["Key"], int(item["Size"]), etag, version_id, modified_s)


def _version(version_id: str) -> dict[str, str]:
    return {"VersionId": version_id} if version_id else {}

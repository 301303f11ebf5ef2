"""Contract tests for Protocols, which all implementations of a Protocol have to pass."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import cv2
import httpx
import numpy as np
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from skimage import data
from support.faulty_proxy import FaultyProxy
from support.settings import embedded_settings
from support.videos import paint_frame
from urllib3 import HTTPResponse

from rollcall.core.errors import (
    ObjectChanged,
    ObjectNotFound,
    ObjectTooLarge,
    StoreMisconfigured,
    StoreUnavailable,
)
from rollcall.core.protocols import FaceEngine, ObjectStore, StudentStore
from rollcall.core.settings import Settings
from rollcall.core.types import DetectedFace, Encodings, Pixels, Student
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.gallery.photos import read_photo
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, public_s3_client, s3_client
from rollcall.stores.dynamodb import DynamoStudents, ensure_table, put_items
from rollcall.stores.memory import MemoryStore, MemoryStudents
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_engine

ODD_KEYS = ["a b", "a+b %41", 'é "q".mp4', "日本/語.mp4", "x" * 1024, "<&>"]


@pytest.fixture(params=["memory", "s3"])
def store_and_bucket(
    request: pytest.FixtureRequest,
) -> tuple[ObjectStore, str]:
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    if request.param == "memory":
        return MemoryStore(), bucket
    store = S3Store(s3_client(embedded_settings(request.getfixturevalue("moto_url"))))
    store.create_bucket(bucket)
    return store, bucket


class TestObjectStore:
    @pytest.fixture(autouse=True)
    def _set_up(self, store_and_bucket: tuple[ObjectStore, str]) -> None:
        self.store, self.bucket = store_and_bucket

    def put(self, key: str, body: bytes = b"body", **metadata: str) -> None:
        self.store.write(self.bucket, key, body, "text/plain", metadata)

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_a_key_is_stored_unchanged(self, key: str) -> None:
        self.put(key)
        assert self.store.head(self.bucket, key).key == key
        assert [info.key for info in self.store.list_objects(self.bucket)] == [key]
        assert self.store.read(self.bucket, key, 10) == b"body"

    def test_head_returns_size_etag_and_time(self) -> None:
        self.put("a", b"12345")
        info = self.store.head(self.bucket, "a")
        assert (info.size_bytes, info.etag) == (5, "827ccb0eea8a706c4c34a16891f84e7b")
        assert info.modified_s > 1.7e9

    def test_metadata_is_in_lower_case_and_without_empty_values(self) -> None:
        self.put("a", **{"Source-Etag": "e", "source-version": ""})
        assert dict(self.store.metadata(self.bucket, "a")) == {"source-etag": "e"}

    def test_a_write_replaces_the_object(self) -> None:
        self.put("a", b"1")
        self.put("a", b"22")
        assert self.store.read(self.bucket, "a", 10) == b"22"
        assert len(list(self.store.list_objects(self.bucket))) == 1

    def test_a_missing_object_raises_object_not_found(self, tmp_path: Path) -> None:
        self.put("a")
        info = self.store.head(self.bucket, "a")
        self.store.delete(self.bucket, "a")
        self.store.delete(self.bucket, "a")
        calls: list[Callable[[], object]] = [
            lambda: self.store.head(self.bucket, "a"),
            lambda: self.store.metadata(self.bucket, "a"),
            lambda: self.store.read(self.bucket, "a", 10),
            lambda: self.store.download(info, tmp_path / "file"),
        ]
        for call in calls:
            with pytest.raises(ObjectNotFound):
                call()

    def test_a_range_of_a_replaced_object_is_refused(self) -> None:
        self.put("video", b"0123456789")
        info = self.store.head(self.bucket, "video")
        assert self.store.read_range(info, 2, 5) == b"234"
        assert self.store.read_range(info, 9, 10) == b"9"
        for size_bytes in (8, 20):
            other = dataclasses.replace(info, size_bytes=size_bytes)
            with pytest.raises(ObjectChanged):
                self.store.read_range(other, 5, size_bytes)
        self.put("video", b"9876543210")
        with pytest.raises(ObjectChanged):
            self.store.read_range(info, 2, 5)
        self.store.delete(self.bucket, "video")
        with pytest.raises(ObjectNotFound):
            self.store.read_range(info, 2, 5)

    def test_a_download_of_a_replaced_object_is_refused(self, tmp_path: Path) -> None:
        self.put("a", b"old")
        info = self.store.head(self.bucket, "a")
        self.store.download(info, tmp_path / "old")
        assert (tmp_path / "old").read_bytes() == b"old"
        self.put("a", b"new")
        with pytest.raises(ObjectChanged):
            self.store.download(info, tmp_path / "new")

    def test_a_read_of_too_many_bytes_is_refused(self) -> None:
        self.put("a", bytes(11))
        assert len(self.store.read(self.bucket, "a", 11)) == 11
        with pytest.raises(ObjectTooLarge):
            self.store.read(self.bucket, "a", 10)

    def test_a_listing_continues_after_the_first_page(self) -> None:
        keys = [f"{number:04}" for number in range(1003)]
        if isinstance(self.store, S3Store):
            keys = keys[:40]
            self.store._client.meta.events.register(
                "before-parameter-build.s3.ListObjectsV2",
                lambda params, **_: params.update(MaxKeys=15),
            )
        for key in keys:
            self.put(key)
        assert [info.key for info in self.store.list_objects(self.bucket)] == keys

    def test_deleting_a_missing_object_is_not_an_error(self) -> None:
        self.put("a")
        for _ in range(2):
            self.store.delete(self.bucket, "a")
        assert not list(self.store.list_objects(self.bucket))

    def test_a_bucket_that_keeps_no_versions_lists_none(self) -> None:
        self.put("a")
        self.put("a", b"again")
        assert not list(self.store.old_versions(self.bucket))

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_a_presigned_url_needs_no_request_and_differs_by_key_and_name(self, key: str) -> None:
        url = self.store.presigned_url(self.bucket, key, 60)
        assert url.startswith("http://")
        assert urlsplit(url).path == f"/{self.bucket}/{quote(key)}"
        named = self.store.presigned_url(self.bucket, key, 60, 'a "b" é.mp4')
        assert len({url, named, self.store.presigned_url(self.bucket, "other", 60)}) == 3


def test_old_versions_are_listed_read_and_deleted_one_by_one(moto_url: str) -> None:
    client, bucket = s3_client(embedded_settings(moto_url)), f"bucket-{uuid.uuid4().hex[:12]}"
    store = S3Store(client)
    store.create_bucket(bucket)
    versioning = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    for body in (b"1", b"2", b"3"):
        store.write(bucket, "a", body, "text/plain", {})
        store.write(bucket, "b", body, "text/plain", {})
    store.delete(bucket, "b")
    old = list(store.old_versions(bucket, "a"))
    bodies = [store.read(bucket, info.key, 9, info.version_id) for info in old]
    assert sorted(bodies) == [b"1", b"2"]
    assert len(list(store.old_versions(bucket))) == 5
    store.delete(bucket, "a", old[0].version_id)
    assert [info.version_id for info in store.old_versions(bucket, "a")] == [old[1].version_id]
    assert store.read(bucket, "a", 9) == b"3"
    with pytest.raises(ObjectNotFound):
        store.read(bucket, "a", 9, old[0].version_id)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_presigned_url_is_read_in_ranges_by_anybody(moto_url: str, key: str) -> None:
    store = S3Store(s3_client(embedded_settings(moto_url)))
    store.create_bucket("presigned")
    store.write("presigned", key, b"0123456789", "video/mp4", {})
    answer = httpx.get(store.presigned_url("presigned", key, 60), headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["Content-Range"] == "bytes 2-4/10"
    saved = httpx.get(store.presigned_url("presigned", key, 60, 'é "q".mp4'))
    assert "filename*=UTF-8''%C3%A9%20%22q%22.mp4" in saved.headers["Content-Disposition"]


def test_urls_for_browsers_are_signed_for_the_host_that_they_reach() -> None:
    settings = embedded_settings("http://127.0.0.1:1", WEB_STORE_URL="https://videos.example:8443")
    store = S3Store(s3_client(settings), public_s3_client(settings))
    url = urlsplit(store.presigned_url("bucket", "a b.mp4", 60))
    assert (url.scheme, url.netloc) == ("https", "videos.example:8443")
    parameters = parse_qs(url.query)
    assert parameters["X-Amz-SignedHeaders"] == ["host"]
    assert parameters["X-Amz-Expires"] == ["60"]


def _layouts() -> dict[str, dict[str, object]]:
    """Return layouts of users' tables: their keys, and whether they have an index on the name."""

    def keyed(*names: str) -> list[dict[str, str]]:
        kinds = ("HASH", "RANGE")
        return [{"AttributeName": n, "KeyType": k} for n, k in zip(names, kinds, strict=False)]

    def typed(*names: str) -> list[dict[str, str]]:
        kinds = {"name": "S", "id": "N"}
        return [{"AttributeName": n, "AttributeType": kinds[n]} for n in names]

    index = {
        "IndexName": "by-name",
        "KeySchema": keyed("name"),
        "Projection": {"ProjectionType": "ALL"},
    }
    return {
        "name": {"KeySchema": keyed("name"), "AttributeDefinitions": typed("name")},
        "name and id": {
            "KeySchema": keyed("name", "id"),
            "AttributeDefinitions": typed("name", "id"),
        },
        "index": {
            "KeySchema": keyed("id"),
            "AttributeDefinitions": typed("id", "name"),
            "GlobalSecondaryIndexes": [index],
        },
        "scan": {"KeySchema": keyed("id"), "AttributeDefinitions": typed("id")},
    }


RECORDS = [
    {"id": 1, "name": "alice", "major": "physics", "year": "junior", "more": [1, 2]},
    {"id": 2, "name": "bob", "major": "math", "year": 3},
    {"id": 3, "name": "carol"},
    {"id": 4, "name": "Zo\u00eb", "major": "art", "year": "senior"},
    {"id": 5, "name": "Jose\u0301", "major": "law", "year": "senior"},
]


@pytest.fixture(params=["memory", *_layouts()])
def students(request: pytest.FixtureRequest) -> StudentStore:
    if request.param == "memory":
        found = [(str(r["name"]), str(r.get("major", "")), str(r.get("year", ""))) for r in RECORDS]
        return MemoryStudents({name: Student(name, *rest) for name, *rest in found})
    settings = embedded_settings(request.getfixturevalue("moto_url"))
    table = f"table-{uuid.uuid4().hex[:12]}"
    client = dynamodb_client(settings)
    layout = _layouts()[request.param]
    client.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **layout)
    put_items(dynamodb_resource(settings), table, RECORDS)
    return DynamoStudents(client, table)


class TestStudentStore:
    def test_a_record_has_major_and_year(self, students: StudentStore) -> None:
        assert students.get("alice") == Student("alice", "physics", "junior")

    def test_a_number_in_a_record_becomes_text(self, students: StudentStore) -> None:
        assert students.get("bob") == Student("bob", "math", "3")

    def test_a_missing_attribute_is_empty(self, students: StudentStore) -> None:
        assert students.get("carol") == Student("carol", "", "")

    def test_a_record_is_removed_and_the_others_stay(self, students: StudentStore) -> None:
        assert students.count("alice") == 1
        assert students.remove("alice") == 1
        assert (students.count("alice"), students.remove("alice")) == (0, 0)
        assert students.get("bob") == Student("bob", "math", "3")

    @pytest.mark.parametrize(
        ("name", "major"),
        [("Zo\u00eb", "art"), ("Zoe\u0308", "art"), ("Jos\u00e9", "law"), ("Jose\u0301", "law")],
    )
    def test_a_record_is_found_and_removed_in_either_spelling(
        self, students: StudentStore, name: str, major: str
    ) -> None:
        found = students.get(name)
        assert found
        assert found.major == major
        assert (students.count(name), students.remove(name), students.get(name)) == (1, 1, None)

    @pytest.mark.parametrize("name", ["nobody", "Alice", "alice' OR 1=1", "名前"])
    def test_another_name_has_no_record(self, students: StudentStore, name: str) -> None:
        assert students.get(name) is None


def test_a_table_without_index_logs_one_warning(
    moto_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = dynamodb_client(embedded_settings(moto_url))
    table = f"table-{uuid.uuid4().hex[:12]}"
    layout = _layouts()["scan"]
    client.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **layout)
    students = DynamoStudents(client, table)
    for _ in range(3):
        students.get("alice")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "add an index" in caplog.text


def test_a_missing_table_is_created_once(moto_url: str) -> None:
    client = dynamodb_client(embedded_settings(moto_url))
    table = f"table-{uuid.uuid4().hex[:12]}"
    assert [ensure_table(client, table), ensure_table(client, table)] == [True, False]


def test_a_store_that_does_not_answer_is_unavailable() -> None:
    settings = embedded_settings("http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable):
        S3Store(s3_client(settings)).head("bucket", "key")
    with pytest.raises(StoreUnavailable):
        DynamoStudents(dynamodb_client(settings), "table").get("alice")


@pytest.fixture(params=["painted", "dlib", "onnx"])
def engine_and_picture(request: pytest.FixtureRequest) -> tuple[FaceEngine, Pixels]:
    """An engine, and a picture of one face that it can find."""
    if request.param == "painted":
        return PaintedFaces(), np.ascontiguousarray(paint_frame(["red"])[..., ::-1])
    name = {"dlib": "face_recognition", "onnx": "onnx"}[request.param]
    return build_engine(Settings(engine=name)), np.ascontiguousarray(data.astronaut()[:220])


def encoded(engine: FaceEngine, picture: Pixels) -> tuple[tuple[DetectedFace, ...], Encodings]:
    found = engine.detect(picture)
    return found, engine.encode(picture, found)


class TestFaceEngine:
    @pytest.fixture(autouse=True)
    def _set_up(self, engine_and_picture: tuple[FaceEngine, Pixels]) -> None:
        self.engine, self.picture = engine_and_picture

    def test_a_face_has_a_box_inside_the_picture_and_an_encoding(self) -> None:
        (face,), encodings = encoded(self.engine, self.picture)
        height, width = self.picture.shape[:2]
        assert 0 <= face.box.left < face.box.right <= width
        assert 0 <= face.box.top < face.box.bottom <= height
        assert 0 < face.score <= 1
        assert encodings.shape == (1, self.engine.space.size)
        assert encodings.dtype == np.float64

    def test_the_landmarks_are_arranged_as_in_a_face(self) -> None:
        (face,) = self.engine.detect(self.picture)
        left_eye, right_eye, nose, left_corner, right_corner = face.landmarks
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_corner[0] < nose[0] < right_corner[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_corner[1], right_corner[1])
        assert (face.landmarks > (face.box.left, face.box.top)).all()
        assert (face.landmarks < (face.box.right, face.box.bottom)).all()

    def test_no_faces_give_no_encodings(self) -> None:
        assert self.engine.encode(self.picture, ()).size == 0

    def test_the_same_picture_gives_the_same_encoding(self) -> None:
        _, first = encoded(self.engine, self.picture)
        _, second = encoded(self.engine, self.picture.copy())
        np.testing.assert_array_equal(first, second)

    def test_concurrent_calls_do_not_mix(self) -> None:
        pictures = [self.picture, np.ascontiguousarray(self.picture[:, ::-1])]
        alone = [encoded(self.engine, each) for each in pictures]
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(partial(encoded, self.engine), pictures * 8))
        for number, ((face,), encodings) in enumerate(together):
            (expected,), expected_encodings = alone[number % 2]
            assert face.box == expected.box
            np.testing.assert_array_equal(encodings, expected_encodings)

    def test_no_face_is_found_in_a_grey_picture(self) -> None:
        assert self.engine.detect(np.full((64, 64, 3), 90, dtype=np.uint8)) == ()

    def test_the_largest_face_comes_first(self) -> None:
        painted = isinstance(self.engine, PaintedFaces)
        other = paint_frame(["blue"])[..., ::-1] if painted else self.picture
        small = cv2.resize(np.ascontiguousarray(other[:, :300]), None, fx=0.8, fy=0.8)
        below = np.zeros((self.picture.shape[0], small.shape[1], 3), dtype=np.uint8)
        below[: small.shape[0]] = small
        both = np.ascontiguousarray(np.hstack([below, self.picture[:, :300]]))
        areas = [face.box.area_px for face in self.engine.detect(both)]
        assert len(areas) == 2
        assert areas == sorted(areas, reverse=True)


def test_a_large_photo_is_scaled_down(tmp_path: Path) -> None:
    wide = np.zeros((1000, 4000, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    assert read_photo(tmp_path / "wide.png").shape == (400, 1600, 3)


def test_a_missing_bucket_is_misconfigured(moto_url: str) -> None:
    """A permanent error would make every video a dead letter."""
    store = S3Store(s3_client(embedded_settings(moto_url)))
    with pytest.raises(StoreMisconfigured, match="NoSuchBucket"):
        store.write("no-such-bucket", "a.csv", b"", "text/csv", {})
    with pytest.raises(StoreMisconfigured, match="NoSuchBucket"):
        store.head("no-such-bucket", "a.mp4")


@pytest.mark.parametrize(
    ("url", "region", "expected"),
    [
        ("", "eu-central-1", b"<LocationConstraint>eu-central-1</LocationConstraint>"),
        ("", "us-east-1", b""),
        ("http://ceph.example", "eu-central-1", b""),
    ],
)
def test_only_aws_is_told_the_region_of_a_new_bucket(
    url: str, region: str, expected: bytes
) -> None:
    client = s3_client(embedded_settings(url, AWS_REGION=region))
    sent = []

    def answer(request: AWSRequest, **_: object) -> AWSResponse:
        sent.append(request.body or b"")
        body = HTTPResponse(BytesIO(), preload_content=False)
        return AWSResponse(request.url, 200, {"Content-Length": "0"}, body)

    client.meta.events.register("before-send.s3.CreateBucket", answer)
    S3Store(client).create_bucket("bucket")
    assert expected in sent[0]
    assert bool(sent[0]) == bool(expected)


def test_a_404_page_of_a_proxy_is_not_a_missing_object(moto_url: str) -> None:
    with FaultyProxy("store", moto_url) as proxy:
        store = S3Store(s3_client(embedded_settings(proxy.url)))
        store.create_bucket("behind-a-proxy")
        store.write("behind-a-proxy", "a.mp4", b"body", "video/mp4", {})
        info = store.head("behind-a-proxy", "a.mp4")
        asked: list[Callable[[], object]] = [
            lambda: store.head("behind-a-proxy", "a.mp4"),
            lambda: store.metadata("behind-a-proxy", "a.mp4"),
            lambda: store.read_range(info, 0, 2),
        ]
        for ask in asked:
            proxy.break_next(*["no_route"] * 2)
            with pytest.raises(StoreMisconfigured, match="404"):
                ask()
        proxy.break_next("no_route")
        with pytest.raises(StoreUnavailable, match="a moment later it was there"):
            store.head("behind-a-proxy", "a.mp4")

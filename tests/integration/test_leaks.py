"""Run the whole flow, then search its logs, files and answers for secrets and encodings."""

from __future__ import annotations

import base64
import json
import os
import pickle
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.inbox_rows import sqlite_file
from support.leaks import leaks, traces_of_encodings, traces_of_secret
from support.servers import Reply
from support.waiting import wait_until
from support.webhook_receiver import OK, SECRET, WebhookReceiver, receiving

from devstack.openfaas_stack import OpenFaasStack
from rollcall.cli.students import upload_students
from rollcall.core.call_signature import HEADER, signature
from rollcall.core.gallery import Gallery
from rollcall.core.keys import FACES_SUFFIX
from rollcall.core.types import Encodings
from rollcall.database.tables import metadata
from rollcall.gallery.gallery_formats import parse_gallery
from rollcall.recognition.stored_faces import parse_faces
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

REPORTS = "rollcall-reports"
VIDEOS = ("lecture_1.mp4", "stranger.mp4", "cat.mp4")


@pytest.fixture(scope="module")
def gallery_file(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "gallery.npz"
    path.write_bytes((sample / "encoding").read_bytes())
    return path


@pytest.fixture(scope="module", params=["encodings", "pictures"])
def keep(request: pytest.FixtureRequest) -> str:
    """KEEP_FACES of the stack."""
    return str(request.param)


@pytest.fixture(scope="module")
def webhook(keep: str) -> Iterator[tuple[WebhookReceiver, str]]:
    """A receiver of messages about results that fails for one of them, and its secret URL."""

    def answer(number: int) -> Reply:
        return (500, {}, b"") if number == 0 else OK

    with receiving(answer) as (receiver, url):
        yield receiver, f"{url}&token={secrets.token_urlsafe(30)}"


@pytest.fixture(scope="module")
def stack(
    sample: Path,
    gallery_file: Path,
    keep: str,
    webhook: tuple[WebhookReceiver, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OpenFaasStack]:
    overrides = {
        "RESULT_WEBHOOK_URL": webhook[1],
        "RESULT_WEBHOOK_SECRET": SECRET,
        "ENCODINGS": str(gallery_file),
        "ENCODINGS_REFRESH_S": "0",
        "REPORT_BUCKET": REPORTS,
        "KEEP_FACES": keep,
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        "S3_AWS_ACCESS_KEY_ID": "store",
        "S3_AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        "MAX_ATTEMPTS": "1",
    }
    with OpenFaasStack(tmp_path_factory.mktemp("stack"), os.environ, overrides) as running:
        upload_students(running.settings, sample / "student_data.json")
        yield running


def secrets_of(stack: OpenFaasStack) -> list[str]:
    settings = stack.settings
    found = [settings.trigger_token, settings.function_hmac_key]
    found += [settings.result_webhook_secret, settings.result_webhook_url.partition("token=")[2]]
    return [*found, settings.aws_secret_access_key, settings.s3_aws_secret_access_key]


def call(stack: OpenFaasStack, key: str, **headers: str) -> bytes:
    """Call the function as the trigger does, and return the body and headers of the answer."""
    body = json.dumps({"bucket": stack.settings.input_bucket, "key": key}).encode()
    signed = {HEADER: signature(stack.settings.function_hmac_key, body, time.time())}
    url = f"{stack.settings.openfaas_gateway}/function/{stack.settings.openfaas_function}"
    answer = httpx.post(url, content=body, headers={**signed, **headers}, timeout=60)
    return answer.content + repr(answer.headers).encode()


def broken_galleries(known: Gallery) -> Iterator[bytes]:
    """Yield broken galleries that contain the encodings as text or as bytes."""
    texts = {"name": list(known.names), "encoding": known.encodings.tolist()}
    yield pickle.dumps(texts, 0)[:-40]
    yield pickle.dumps(texts, 0).replace(b"\nF", b"\nFx", 3)
    yield pickle.dumps({"name": list(known.names), "encoding": known.encodings * np.nan})
    yield pickle.dumps({"name": ["a"], "encoding": [str(known.encodings[0])]})
    yield pickle.dumps({"name": ["a"] * len(known), "encoding": known.encodings * 1e4}, 2)
    yield b"PK" + known.encodings.tobytes()


def misuse(stack: OpenFaasStack, gallery_file: Path) -> dict[str, bytes]:
    """Send invalid requests, break the gallery in several ways, and return the answers by name."""
    token = stack.settings.trigger_token
    events = stack.trigger_url + "/events"
    answers = {"no token": httpx.post(events, content=token.encode(), timeout=60).content}
    with_token = {"X-Trigger-Token": token}
    for body in (f'{{"opaqueData": "{token}"', f'{{"Records": [{{"opaqueData": "{token}"}}]}}'):
        answers[f"bad event {body[:9]}"] = httpx.post(
            events, content=body, headers=with_token, timeout=60
        ).content
    answers["unsigned"] = call(stack, "lecture_1.mp4", **{HEADER: "t=1,sha256=" + "0" * 64})
    answers["gone"] = call(stack, "nowhere.mp4")
    whole = gallery_file.read_bytes()
    for number, broken in enumerate(broken_galleries(parse_gallery(whole))):
        gallery_file.write_bytes(broken)
        answers[f"broken gallery {number}"] = call(stack, "lecture_1.mp4")
    gallery_file.write_bytes(whole)
    return answers


def left_behind(stack: OpenFaasStack) -> dict[str, bytes]:
    """Return logs, everything in the output and report buckets (with metadata), pages, and the rows
    of the database by name, but not the tables that are there to hold encodings."""
    found = {path.name: path.read_bytes() for path in stack.folder.glob("*.log")}
    store = S3Store(s3_client(stack.settings))
    for bucket in (stack.settings.output_bucket, REPORTS):
        for info in store.list_objects(bucket):
            facts = repr(store.metadata(bucket, info.key)).encode()
            found[info.key] = store.read(bucket, info.key, 1 << 24) + facts
    auth = ("any", stack.settings.trigger_token)
    for page in ("/", "/metrics", "/healthz", "/readyz"):
        found[page] = httpx.get(stack.trigger_url + page, auth=auth, timeout=60).content
    with sqlite3.connect(sqlite_file(stack.values)) as db:
        for table in metadata.tables.keys() - {"face_block", "unknown_group"}:
            found[table] = repr(db.execute(f"SELECT * FROM {table}").fetchall()).encode()
    db.close()
    return found


def test_no_secret_and_no_encoding_leaks(
    stack: OpenFaasStack,
    sample: Path,
    gallery_file: Path,
    webhook: tuple[WebhookReceiver, str],
) -> None:
    known = parse_gallery(gallery_file.read_bytes())
    store = S3Store(s3_client(stack.settings))
    bucket = stack.settings.input_bucket
    for name in VIDEOS:
        store.upload(sample / "videos" / name, bucket, name)
    store.write(bucket, "broken.mp4", known.encodings.tobytes(), "video/mp4", {})
    wait_until(lambda: len(reports(store)) == len(VIDEOS) + 1, "the reports")
    receiver, _ = webhook
    wait_until(
        lambda: len(receiver.deliveries) > len(VIDEOS) + 1, "the messages, one of them twice"
    )
    found = {**misuse(stack, gallery_file), **left_behind(stack)}
    found["messages"] = repr(receiver.deliveries).encode()
    assert {"lecture_1.csv", "lecture_1.mp4.json", "broken.mp4.json", "trigger.log"} <= set(found)
    assert b"old one stays in use" in found["function.log"]
    assert b"refused a call with 401" in found["function.log"]
    assert b"sent again" in found["trigger.log"]
    for name in known.people:
        assert name.encode() not in found["function.log"] + found["trigger.log"]
    for secret in secrets_of(stack):
        assert not leaks(found, traces_of_secret(secret))
    assert not leaks(found, traces_of_encodings(known.encodings))
    faces = {name: found.pop(name) for name in list(found) if name.endswith(FACES_SUFFIX)}
    assert sorted(faces) == sorted(f"{name}{FACES_SUFFIX}" for name in VIDEOS)
    seen = np.vstack([encodings_in(store, name) for name in faces])
    assert len(seen) >= 2  # a known person and a stranger
    traces = traces_of_encodings(seen)
    assert leaks(faces, traces)  # the search finds them where they belong
    assert not leaks(found, traces)


def reports(store: S3Store) -> list[str]:
    return [info.key for info in store.list_objects(REPORTS) if info.key.endswith(".json")]


def encodings_in(store: S3Store, key: str) -> Encodings:
    """Return the encodings of all faces in the video."""
    return parse_faces(store.read(REPORTS, key, 1 << 24)).encodings.astype(np.float64)


@pytest.mark.parametrize("form", [repr, lambda row: str(row.tolist()), lambda row: str(row[5])])
def test_the_search_finds_numbers(form: object) -> None:
    row = np.random.default_rng(1).normal(0, 0.1, 128)
    with np.printoptions(precision=17, threshold=999):
        text = f"error: {form(row)}".encode()  # type: ignore[operator]
    assert leaks({"log": text}, traces_of_encodings(row[None]))
    assert not leaks({"log": text}, traces_of_encodings(row[None] + 0.001))


@pytest.mark.parametrize("kind", ["f8", "f4", "f2"])
@pytest.mark.parametrize("form", ["raw", "hex", "base64"])
@pytest.mark.parametrize("before", [b"", b"x", b"xx"])
def test_the_search_finds_bytes(kind: str, form: str, before: bytes) -> None:
    row = np.random.default_rng(1).normal(0, 0.1, 128)
    body = before + row.astype(kind).tobytes()
    forms = {"raw": body, "hex": body.hex().encode(), "base64": base64.b64encode(body)}
    assert leaks({"log": forms[form]}, traces_of_encodings(row[None]))


def test_the_search_finds_a_secret_in_basic_auth() -> None:
    header = httpx.BasicAuth("rollcall", "s3cret-token-of-ours")._auth_header.encode()
    assert leaks({"log": header}, traces_of_secret("s3cret-token-of-ours"))

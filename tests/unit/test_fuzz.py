"""Input from outside: every event format keeps keys, and a fuzzer finds only our own errors."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.needs import REPOSITORY, need
from support.stored import faces_body

from rollcall.core.events import parse_events
from rollcall.core.gallery import Gallery
from rollcall.core.verdicts import FaceSource, Verdict
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.gallery.gallery_formats import render_gallery

RUNS = 60_000
SEED = 17

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
SHORT_KEYS = KEYS.filter(lambda key: len(key.encode()) <= 1024)


def record(source: str, key: str) -> dict[str, Any]:
    written = key if source == "ceph:s3" else quote_plus(key)
    s3 = {"bucket": {"name": "b"}, "object": {"key": written}}
    return {"eventSource": source, "eventName": "ObjectCreated:Put", "s3": s3}


def in_sns(document: Any) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "m", "Message": json.dumps(document)}


def in_sqs(document: Any) -> dict[str, Any]:
    return {"Records": [{"eventSource": "aws:sqs", "body": json.dumps(document)}]}


def eventbridge_event(key: str) -> dict[str, Any]:
    detail = {"bucket": {"name": "b"}, "object": {"key": key, "sequencer": "1"}}
    return {"detail-type": "Object Created", "detail": detail, "id": "i"}


def cloud_event(data: Any, subject: str = "k") -> dict[str, Any]:
    event = {"specversion": "1.0", "type": "x.ObjectCreated:Put", "id": "i", "data": data}
    return event | {"source": "ceph:s3.default.b", "subject": subject}


@given(SHORT_KEYS, st.sampled_from(["ceph:s3", "aws:s3", "minio:s3"]), st.booleans())
def test_the_key_of_a_record_is_read_from_every_envelope(
    key: str, source: str, ascii_only: bool
) -> None:
    plain = {"Records": [record(source, key)]}
    for document in (plain, in_sns(plain), in_sqs(plain), in_sqs(in_sns(plain))):
        body = json.dumps(document, ensure_ascii=ascii_only).encode()
        (video,) = parse_events(body)
        assert video.key == key


@given(SHORT_KEYS)
def test_the_key_of_a_direct_call_or_a_cloud_event_is_read(key: str) -> None:
    (video,) = parse_events(json.dumps({"bucket": "b", "key": key}).encode())
    assert video.key == key
    headers = {"ce-type": "x.ObjectCreated:Put", "ce-source": "ceph:s3.default.b"}
    headers["ce-subject"] = key.encode().decode("latin-1")  # as WSGI passes header values on
    (video,) = parse_events(b"", headers)
    assert (video.bucket, video.key) == ("b", key)


@given(SHORT_KEYS)
def test_the_key_of_eventbridge_and_structured_cloud_events_is_read(key: str) -> None:
    inner = {"Records": [record("aws:s3", key)]}
    for event in (eventbridge_event(key), cloud_event(None, key), cloud_event(inner)):
        for document in (event, in_sqs(event), in_sns(event), in_sqs(in_sns(event))):
            (video,) = parse_events(json.dumps(document).encode())
            assert (video.bucket, video.key) == ("b", key)


def write_corpus(folder: Path) -> None:
    """Write valid examples for all readers, each after the byte that chooses its reader."""
    points = np.random.default_rng(1).normal(0, 0.1, (1, 128))
    events = [{"Records": [record(source, "a b.mp4")]} for source in ("ceph:s3", "aws:s3")]
    events += [in_sns(events[0]), in_sqs(events[1]), {"bucket": "b", "key": "k"}]
    events += [
        eventbridge_event("a b.mp4"),
        in_sqs(eventbridge_event("a b.mp4")),
        cloud_event(events[0]),
    ]
    events += [[cloud_event(None)], in_sns(cloud_event(json.dumps(events[0])))]
    examples = [b"\0\n" + json.dumps(event).encode() for event in events]
    examples += [b"\0subject\n"]
    for kind in (b"cloudevents+json", b"cloudevents-batch+json"):
        batch = [cloud_event(events[0]) | {"data_base64": "e30="}]
        examples += [b"\0application/" + kind + b"\n" + json.dumps(batch).encode()]
    examples += [b"\1" + json.dumps({"error": {"code": "x", "message": "y"}}).encode()]
    examples += [b"\1" + json.dumps({"status": "recognised"}).encode()]
    document = {"name": ["a"], "encoding": list(points)}
    examples += [b"\2" + pickle.dumps(document, protocol) for protocol in range(6)]
    examples += [b"\2" + render_gallery(Gallery(["a"], points))]
    verdict = Verdict("v", "not", "a", points + 1, (FaceSource(bucket="b", key="k"),))
    examples += [b"\2" + render_gallery(Gallery(["a"], points).with_verdict(verdict))]
    examples += [
        b"\3name,major,year,first_seen_s,last_seen_s,frames,distance\r\nalice,,,0,0,1,\r\n"
    ]
    examples += [b'\3{"people": [{"name": "alice"}], "faces": [{"nearest": "alice"}]}']
    examples += [b"\4t=1000000000,sha256=" + b"0" * 64]
    students = json.dumps([{"name": "a", "year": 1e3, "x": {"y": [None, "z"]}}, {"name": "a"}])
    for encoding in ("utf-8-sig", "utf-16"):
        examples += [b"\5" + students.encode(encoding), b"\6" + "a.mp4:m,j\r\n".encode(encoding)]
    gallery = Gallery(["alice"], PaintedFaces.encoding("red")[None])
    examples += [b"\7" + faces_body(gallery, "red green", "red")]
    for number, example in enumerate(examples):
        (folder / str(number)).write_bytes(example)


def test_the_fuzzer_finds_only_our_own_errors(tmp_path: Path) -> None:
    supported = sys.platform == "linux" and platform.machine() == "x86_64"
    need(supported, "atheris has wheels only for Linux on x86-64")
    need(importlib.util.find_spec("atheris") is not None, "atheris is not installed: make dev")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_corpus(corpus)
    # A shell starts the fuzzer, because a program inherits the peak memory of its parent. This
    # process is large, so the fuzzer would exceed its limit at once.
    argv = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]
    program = REPOSITORY / "tests" / "fuzz" / "outside_bytes.py"
    argv += [sys.executable, "-W", "ignore", str(program)]
    argv += [f"-runs={RUNS}", f"-seed={SEED}", "-max_len=4096", "-rss_limit_mb=1024", "-timeout=60"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*argv, str(corpus)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert f"Done {RUNS} runs" in done.stderr

"""A fuzzer (libFuzzer) for functions that read bytes from outside.

Run it with `python outside_bytes.py -runs=N`. For any input, such a function has to return or raise
one of our own errors. Any other exception ends the run.
"""

from __future__ import annotations

import json
import sys

import atheris

with atheris.instrument_imports(include=["rollcall"]):
    from rollcall.core.call_signature import HEADER, check_signature
    from rollcall.core.errors import BadEvent, CallNotSigned, GalleryError
    from rollcall.core.events import BadRecords, opaque_tokens, parse_events
    from rollcall.core.expectations import MappingError, parse_mapping
    from rollcall.core.reports import report_without
    from rollcall.core.results import csv_without
    from rollcall.core.retry import read_answer
    from rollcall.core.student_records import (
        StudentFileError,
        TableKey,
        check_records,
        parse_records,
        without_duplicates,
    )
    from rollcall.core.texts import TextError, decode_text
    from rollcall.core.types import VideoRef
    from rollcall.gallery.gallery_formats import parse_gallery
    from rollcall.recognition.stored_faces import FacesUnreadable, faces_without


def read_event(data: bytes) -> None:
    """Parse an event. Its first line becomes a content type or the subject of a CloudEvent."""
    cut = data.find(b"\n") + 1
    first, body = data[:cut].decode("latin-1").rstrip("\n"), data[cut:]
    headers = {"Ce-Type": "x.ObjectCreated:Put", "ce-subject": first} if first else {}
    if first.startswith("application/"):
        headers = {"Content-Type": first}
    try:
        videos = parse_events(body, headers)
    except BadRecords as error:
        videos = error.videos
    except BadEvent:
        return
    assert isinstance(videos, tuple)
    for video in videos:
        assert isinstance(video, VideoRef)
        assert video.bucket
        assert len(video.key.encode()) <= 1024
        video.identity().encode()


def read_document(data: bytes) -> None:
    result = read_answer(200 + len(data) % 400, data)
    assert result.outcome in ("done", "retry", "dead")
    try:
        opaque_tokens(json.loads(data))
    except (ValueError, RecursionError):
        return


def read_gallery(data: bytes) -> None:
    try:
        parse_gallery(data)
        said = ""
    except GalleryError as error:
        said = str(error)
    assert said.isprintable()


def read_naming(data: bytes) -> None:
    for without in (csv_without, report_without):
        try:
            rest, count = without(data, "alice")
        except ValueError:
            continue
        assert count or without is csv_without or rest == data


def read_stored_faces(data: bytes) -> None:
    try:
        rest, count = faces_without(data, "alice")
    except FacesUnreadable:
        return
    assert count or rest == data


def read_signature(data: bytes) -> None:
    try:
        check_signature("k" * 32, b"body", {HEADER: data.decode("latin-1")}, 1e9)
    except CallNotSigned:
        return
    raise AssertionError("a signature was guessed")


def read_text_file(data: bytes) -> None:
    keys, said = [TableKey("name", "S")], ""
    try:
        text = decode_text(data, "x")
        records = parse_records(text, "x")
        check_records(records, keys, "x")
        without_duplicates(records, keys)
    except (TextError, StudentFileError) as error:
        said = str(error)
    assert "\n" not in said


def read_mapping(data: bytes) -> None:
    try:
        assert parse_mapping(decode_text(data, "x"))
        said = ""
    except (TextError, MappingError) as error:
        said = str(error)
    assert "\n" not in said


READERS = (
    read_event,
    read_document,
    read_gallery,
    read_naming,
    read_signature,
    read_text_file,
    read_mapping,
    read_stored_faces,
)


def read_any(data: bytes) -> None:
    """Let the first byte choose the reader of the other bytes."""
    if data:
        READERS[data[0] % len(READERS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_any)
    atheris.Fuzz()

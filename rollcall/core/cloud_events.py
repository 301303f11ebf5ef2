"""CloudEvents over HTTP, in binary mode (`ce-*` headers) and in structured mode (JSON)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import NamedTuple

from rollcall.core.errors import BadEvent
from rollcall.core.event_records import Json, plain_text, text_of

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

MAX_ATTRIBUTE_CHARS = 4096
"""Longest `source` or `subject` that is read. The subject is a key of at most 1024 bytes."""


class CloudEvent(NamedTuple):
    """A CloudEvent in either mode: its attributes by name, and its data."""

    attributes: Mapping[str, Json]
    data: str | Json
    """A text has to be parsed as JSON. None and an empty text mean that there is no data."""

    def event_name(self) -> str:
        """`ObjectCreated:Put` for the type `com.amazonaws.ObjectCreated:Put`."""
        return plain_text(self.attributes, "type").rpartition(".")[2].removeprefix("s3:")

    def mark(self) -> str:
        """A text that all deliveries of this event share; empty if the event has no id."""
        source, event_id = (plain_text(self.attributes, name) for name in ("source", "id"))
        return f"ce:{json.dumps([source, event_id])}" if event_id else ""

    def record(self) -> dict[str, Json]:
        """An S3 event record that is built from the attributes, for an event without data."""
        # Ceph sends `ceph:s3.region.bucket` as the source, and the unencoded key as the subject.
        source = text_of(self.attributes, "source", MAX_ATTRIBUTE_CHARS)
        bucket = source.partition(".")[2].partition(".")[2]
        key = text_of(self.attributes, "subject", MAX_ATTRIBUTE_CHARS)
        return {
            "eventSource": "ceph:s3",
            "eventName": self.event_name(),
            "eventId": self.attributes.get("id"),
            "eventTime": self.attributes.get("time"),
            "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
        }

    def with_defaults(self, record: Mapping[str, Json]) -> dict[str, Json]:
        """The record in the event's data. A missing event name or source is filled in."""
        present = {name: value for name, value in record.items() if value is not None}
        return {"eventSource": "ceph:s3", "eventName": self.event_name(), **present}


def media_type(headers: Mapping[str, str]) -> str:
    """The content type in lower case, without parameters. `headers` has names in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def binary_event(body: bytes, headers: Mapping[str, str]) -> CloudEvent:
    """The event in binary mode: attributes in `ce-*` headers, data in the body. Raises BadEvent."""
    attributes = {
        name.removeprefix("ce-"): _header_text(value)
        for name, value in headers.items()
        if name.startswith("ce-")
    }
    return CloudEvent(attributes, _text(body) if body.strip() else None)


def structured_event(document: Mapping[str, Json]) -> CloudEvent:
    """The event in structured mode: JSON with `data` or `data_base64`. Raises BadEvent."""
    if document.get("data") is not None or document.get("data_base64") is None:
        return CloudEvent(document, document.get("data"))
    encoded = document["data_base64"]
    try:
        return CloudEvent(document, _text(base64.b64decode(encoded, validate=True)))
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadEvent("data_base64 of the CloudEvent is not Base64") from error


def _text(body: bytes) -> str:
    try:
        return body.decode(json.detect_encoding(body))
    except UnicodeError as error:
        raise BadEvent(f"the CloudEvent's data is not JSON: {error}") from error


def _header_text(text: str) -> str:
    # Ceph sends headers in UTF-8, but WSGI decodes their bytes as Latin-1.
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text

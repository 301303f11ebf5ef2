"""Parsers for the text of one setting.

The message of a SettingsError from here is part of a sentence, which `parse_settings` completes
with the setting's name and text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from rollcall.core.errors import SettingsError
from rollcall.core.key_rotation import checked_secrets
from rollcall.core.webhook_signature import parse_secrets

ENGINES = ("onnx", "face_recognition")

AUTO = "auto"
"""The text for None, which means that the program chooses the value."""

MIN_KEY_CHARS = 32
"""Smallest length of an HMAC key. 32 hexadecimal digits are 128 bits, too many to guess."""


def text(value: str) -> str:
    return value


def number_from(
    kind: type[int] | type[float], minimum: float, maximum: float
) -> Callable[[str], Any]:
    def parse(value: str) -> int | float:
        try:
            number = kind(value)
        except ValueError as error:
            noun = "a whole number" if kind is int else "a number"
            raise SettingsError(f"has to be {noun} from {minimum:g} to {maximum:g}") from error
        if not minimum <= number <= maximum:  # also true for NaN
            raise SettingsError(f"has to be from {minimum:g} to {maximum:g}")
        return number

    return parse


def number_or_auto(minimum: float, maximum: float) -> Callable[[str], float | None]:
    def parse(value: str) -> float | None:
        if value == AUTO:
            return None
        try:
            number: float = number_from(float, minimum, maximum)(value)
        except SettingsError as error:
            raise SettingsError(
                f"has to be {AUTO}, or a number from {minimum:g} to {maximum:g}"
            ) from error
        return number

    return parse


def one_of(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise SettingsError(f"has to be one of {', '.join(allowed)}")
        return value

    return parse


def url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises ValueError for a port that is not a number up to 65535
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("has to be a URL like http://host:port")
    return value.rstrip("/")


def bucket_name(value: str) -> str:
    # Ceph's rules, which also allow capitals, underscores and 255 characters. AWS is stricter.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}", value):
        raise SettingsError(
            "has to be a bucket's name: 3 to 255 letters, digits, dots, dashes or underscores"
        )
    return value


def gallery_place(value: str) -> str:
    if value.startswith("s3://") and not re.fullmatch(r"s3://[^/]+/.+", value):
        raise SettingsError("has to be a path or s3://bucket/key")
    return value


def header_name(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value):
        raise SettingsError("has to be the name of a header, for example X-Forwarded-User")
    return value


def host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError("has to be host:port, for example 0.0.0.0:8080")
    return value


def keys(value: str) -> str:
    checked_secrets(value, MIN_KEY_CHARS, "openssl rand -hex 32")
    return value


def webhook_url(value: str) -> str:
    url(value)  # unlike there, a slash at the end is kept, because the receiver may need it
    return value


def webhook_secrets(value: str) -> str:
    try:
        parse_secrets(value)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return value


def engine_name(value: str) -> str:
    if value not in ENGINES and not re.fullmatch(r"onnx:.+\.onnx", value):
        raise SettingsError(f"has to be one of {', '.join(ENGINES)} or onnx:/path/to/model.onnx")
    return value

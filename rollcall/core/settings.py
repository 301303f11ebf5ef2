"""All settings: name, default, limits and meaning, each in one place.

`parse_settings` is a pure function of names and texts; where those come from is the business of
`rollcall.config`. The README's table is made from the fields below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from rollcall.core.errors import SettingsError
from rollcall.core.sampling import SCANS

PLACEHOLDER = "CHANGE_ME"
"""What `credentials.env`, the template of `.env`, holds where a person has to fill something in."""

ENGINES = ("onnx", "face_recognition")

AUTO = "auto"
"""How users write None, where a setting follows from something else."""

MIN_KEY_CHARS = 32

_PASSWORD = re.compile(r"//[^/]*@")
"""User and password inside a URL."""


def _text(value: str) -> str:
    return value


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], Any]:
    def parse(value: str) -> int | float:
        try:
            number = kind(value)
        except ValueError as error:
            noun = "a whole number" if kind is int else "a number"
            raise SettingsError(f"has to be {noun} of {least:g} to {most:g}") from error
        if not least <= number <= most:
            raise SettingsError(f"has to be {least:g} to {most:g}")
        return number

    return parse


def _number_or_auto(least: float, most: float) -> Callable[[str], float | None]:
    """`auto` is None."""

    def parse(value: str) -> float | None:
        if value == AUTO:
            return None
        try:
            number: float = _number(float, least, most)(value)
        except SettingsError as error:
            raise SettingsError(
                f"has to be {AUTO}, or a number of {least:g} to {most:g}"
            ) from error
        return number

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise SettingsError(f"has to be one of {', '.join(allowed)}")
        return value

    return parse


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("has to be a URL like http://host:port")
    return value.rstrip("/")


def _bucket(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}", value):
        raise SettingsError("has to be a bucket's name: 3 to 255 letters, digits, dots, dashes")
    return value


def _gallery(value: str) -> str:
    if value.startswith("s3://") and not re.fullmatch(r"s3://[^/]+/.+", value):
        raise SettingsError("has to be a path or s3://bucket/key")
    return value


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError("has to be host:port, for example 0.0.0.0:8080")
    return value


def _key(value: str) -> str:
    if len(value) < MIN_KEY_CHARS:
        raise SettingsError(
            f"has to have {MIN_KEY_CHARS} characters or more; make one with: openssl rand -hex 32"
        )
    return value


def _engine(value: str) -> str:
    if value not in ENGINES and not re.fullmatch(r"onnx:.+\.onnx", value):
        raise SettingsError(f"has to be one of {', '.join(ENGINES)}, onnx:/path/to/model.onnx")
    return value


def _setting(
    default: Any, meaning: str, parse: Callable[[str], Any] = _text, *, secret: bool = False
) -> Any:
    metadata = {"meaning": meaning, "parse": parse, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Field `max_inflight` is the setting `MAX_INFLIGHT`. Secrets stay out of the repr."""

    aws_access_key_id: str = _setting("", "key for AWS (and S3, unless `S3_*` is set)")
    aws_secret_access_key: str = _setting("", "its secret", secret=True)
    aws_session_token: str = _setting("", "its session token, where there is one", secret=True)
    aws_region: str = _setting("us-east-1", "region of all of AWS")
    dynamodb_endpoint_url: str = _setting("", "address of DynamoDB; empty: AWS", _url)
    s3_aws_access_key_id: str = _setting("", "key for the object store")
    s3_aws_secret_access_key: str = _setting("", "its secret", secret=True)
    s3_endpoint_url: str = _setting("", "address of Ceph's gateway; empty: AWS S3", _url)
    s3_ca_bundle: str = _setting("", "CA certificate (PEM) for the store; empty: the public CAs")
    input_bucket: str = _setting("input-bucket-video", "videos arrive here", _bucket)
    output_bucket: str = _setting("output-bucket-vid", "results go here", _bucket)
    report_bucket: str = _setting("", "details and errors as JSON; empty: none", _bucket)
    student_table: str = _setting("student_table", "DynamoDB table of the records")
    encodings: str = _setting(
        "",
        "the gallery: a path or `s3://bucket/key`; empty: `~/.local/share/rollcall/gallery.npz`",
        _gallery,
    )
    encodings_refresh_s: float = _setting(
        60.0, "seconds before a gallery is checked for changes again", _number(float, 0, 86400)
    )
    tolerance: float | None = _setting(
        None,
        "largest distance accepted as the same person; smaller is stricter; `auto`: chosen so that"
        " at most 1 in 100 strangers gets a name (0.6 for a pickled gallery)",
        _number_or_auto(0.01, 2),
    )
    scan: str = _setting(
        "auto",
        "`auto`: a look at least every 10 s; `timeline`: every second, with exact intervals;"
        " `identify`: stop at the first frame in which every face is clear",
        _choice(*SCANS),
    )
    engine: str = _setting(
        "onnx",
        "`onnx`: the encodings of face_recognition, fast; `face_recognition`: that library itself,"
        " for comparison; `onnx:/path/to/model.onnx`: an encoder of your own (docs/own-encoder.md)",
        _engine,
    )
    model_cache: str = _setting("", "folder of converted models; empty: `~/.cache/rollcall`")
    openfaas_gateway: str = _setting("http://127.0.0.1:8080", "where functions are called", _url)
    openfaas_function: str = _setting("face-recognition", "name of the function")
    function_hmac_key: str = _setting(
        "",
        "a function with this key rejects unsigned calls with 401; empty: calls are not checked",
        _key,
        secret=True,
    )
    function_timeout_s: float = _setting(
        320.0,
        "seconds before a call is given up; above the function's `exec_timeout`",
        _number(float, 1, 3600),
    )
    lambda_function: str = _setting("face-recognition", "name of the Lambda function, or its ARN")
    lambda_endpoint_url: str = _setting("", "address of the Lambda service; empty: AWS", _url)
    sqs_endpoint_url: str = _setting("", "address of the queues' service; empty: AWS", _url)
    input_queue_url: str = _setting("", "queue of the input bucket's events", _url)
    result_queue_url: str = _setting("", "queue of the results that the Lambda sends", _url)
    dead_letter_queue_url: str = _setting(
        "", "queue for messages that cannot be processed; required by the worker", _url
    )
    visibility_timeout_s: int = _setting(
        60,
        "seconds until the messages of a worker that died are taken again",
        _number(int, 3, 43200),
    )
    results_folder: str = _setting(
        "results", "folder of the worker's result files; on a local disk"
    )
    trigger_listen: str = _setting("127.0.0.1:8090", "address of the trigger", _listen)
    trigger_token: str = _setting(
        "",
        "secret shared with the store's topic, 16 characters or more; required by the trigger",
        secret=True,
    )
    sns_topic_arns: str = _setting(
        "", "SNS topics whose messages are accepted and confirmed, comma-separated"
    )
    sns_verify: str = _setting(
        "yes",
        "`yes`: SNS messages have to be signed by AWS; `no`: a local SNS is trusted",
        _choice("yes", "no"),
    )
    inbox: str = _setting("inbox.sqlite3", "file of the durable queue; on a local disk")
    max_inflight: int = _setting(
        2,
        "calls in flight; set it to what the replicas can run, extra calls are answered 429",
        _number(int, 1, 256),
    )
    max_attempts: int = _setting(20, "calls before a dead letter", _number(int, 1, 100))
    reconcile_s: float = _setting(
        300.0, "seconds between scans for videos that have no result", _number(float, 1, 86400)
    )
    max_call_s: float = _setting(
        280.0,
        "seconds of work on one video; below the function's `exec_timeout`",
        _number(float, 1, 3600),
    )
    max_video_bytes: int = _setting(2 << 30, "largest video in bytes", _number(int, 1, 1 << 40))
    max_video_s: float = _setting(4 * 3600.0, "longest video in seconds", _number(float, 1, 1e6))
    max_video_px: int = _setting(
        4096 * 2304, "largest frame in pixels (width x height)", _number(int, 1, 1 << 28)
    )


def setting_names() -> tuple[str, ...]:
    """Names as users write them, in upper case."""
    return tuple(item.name.upper() for item in fields(Settings))


def changed_settings(settings: Settings) -> dict[str, str]:
    """Settings that differ from their defaults, as texts by name, for `parse_settings`."""
    changed = [item for item in fields(settings) if getattr(settings, item.name) != item.default]
    values = {item.name.upper(): getattr(settings, item.name) for item in changed}
    return {name: AUTO if value is None else str(value) for name, value in values.items()}


def parse_settings(values: Mapping[str, str]) -> Settings:
    """Settings from texts by name; an empty text leaves the default.

    Raises SettingsError with a sentence that names the setting, for a name that is not a setting,
    for a placeholder that was left, and for a value that does not parse.
    """
    known = {item.name.upper(): item for item in fields(Settings)}
    for name in values:
        if name not in known:
            raise SettingsError(unknown_setting(name))
    parsed = {}
    for name, text in values.items():
        if text.strip():
            parsed[known[name].name] = _parse(name, text.strip(), known[name].metadata)
    settings = Settings(**parsed)
    _check_together(settings)
    return settings


def unknown_setting(name: str) -> str:
    """The sentence for a name that is not a setting, with the nearest one that is."""
    near = get_close_matches(name, setting_names(), 1)
    hint = f"did you mean {near[0]}" if near else f"the settings are {', '.join(setting_names())}"
    return f"{name} is not a setting; {hint}"


def _parse(name: str, text: str, metadata: Mapping[str, Any]) -> Any:
    if text == PLACEHOLDER:
        raise SettingsError(
            f"{name} still holds its placeholder; set it in .env, or leave it empty there"
        )
    try:
        return metadata["parse"](text)
    except SettingsError as error:
        shown = "" if metadata["secret"] else f", not {_PASSWORD.sub('//***@', text)!r:.100}"
        raise SettingsError(f"{name} {error}{shown}") from error


def _check_together(settings: Settings) -> None:
    """One result per video holds only where nothing else is written beside the results, and half
    of a key opens nothing."""
    for prefix in ("", "s3_"):
        names = [f"{prefix}aws_access_key_id", f"{prefix}aws_secret_access_key"]
        if bool(getattr(settings, names[0])) != bool(getattr(settings, names[1])):
            raise SettingsError(f"{names[0].upper()} and {names[1].upper()} belong together")
    check_gallery_place(settings)
    buckets = [settings.input_bucket, settings.output_bucket, settings.report_bucket]
    named = [bucket for bucket in buckets if bucket]
    if len(set(named)) < len(named):
        raise SettingsError("INPUT_BUCKET, OUTPUT_BUCKET and REPORT_BUCKET have to differ")


def check_gallery_place(settings: Settings) -> None:
    """Raises SettingsError for a gallery that everybody who uploads videos could replace."""
    if settings.encodings.startswith(f"s3://{settings.input_bucket}/"):
        raise SettingsError(
            f"ENCODINGS is in INPUT_BUCKET ({settings.input_bucket}), so whoever may upload videos"
            " could replace the gallery; put it into a bucket of its own"
        )


def settings_table() -> str:
    """The Markdown table of the README."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for item in fields(Settings):
        default = f"{item.default:g}" if isinstance(item.default, float) else item.default
        default = AUTO if default is None else default
        shown = f"`{default}`" if default != "" else ""
        rows.append(f"| `{item.name.upper()}` | {shown} | {item.metadata['meaning']} |")
    return "\n".join(rows) + "\n"

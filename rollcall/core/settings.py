"""All settings of Rollcall, with their names, defaults, limits and descriptions.

`parse_settings` is a pure function from names and texts to values. `rollcall.config` finds the
texts in the environment and in files. The README's table is generated from the fields of
`Settings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal

from rollcall.core import setting_parsers as parsers
from rollcall.core.errors import SettingsError
from rollcall.core.sampling import SCANS
from rollcall.core.setting_parsers import AUTO
from rollcall.core.webhook_signature import PREFIX

PLACEHOLDER = "CHANGE_ME"
"""The text in `credentials.env` for each value that a person has to fill in."""

OLD_INBOX = "INBOX"
"""The setting that earlier versions had in place of DATABASE_URL."""

SQLITE_URL = "sqlite:///"
POSTGRESQL_URLS = ("postgresql://", "postgres://")

_PASSWORD = re.compile(r"//[^/]*@")
"""Matches user and password in a URL, which messages must not show."""


def _database_url(value: str) -> str:
    # Which parts a PostgreSQL URL may have is checked by libpq (`rollcall.database.database`).
    path = value.removeprefix(SQLITE_URL)
    if value.startswith(SQLITE_URL) and path and path != ":memory:" and "?" not in path:
        return value
    if value.startswith(POSTGRESQL_URLS) and not value.endswith("://"):
        return value
    raise SettingsError(
        "has to be sqlite:///PATH with a path to a file (sqlite:////PATH if it begins with /), or"
        " postgresql://USER:PASSWORD@HOST/NAME"
    )


def _setting(
    default: Any,
    meaning: str,
    parse: Callable[[str], Any] = parsers.text,
    *,
    secret: bool = False,
    may_be_empty: bool = False,
) -> Any:
    """A field of `Settings`. `meaning` is the description in the README's table.

    Secrets do not appear in the repr or in error messages. With `may_be_empty`, an empty text is a
    value of its own; for all other settings it leaves the default.
    """
    metadata = {"meaning": meaning, "parse": parse, "secret": secret, "may_be_empty": may_be_empty}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The field `max_inflight` is the setting `MAX_INFLIGHT`. The repr shows no secrets."""

    aws_access_key_id: str = _setting(
        "", "access key for AWS; also for the object store if `S3_AWS_ACCESS_KEY_ID` is empty"
    )
    aws_secret_access_key: str = _setting("", "secret of `AWS_ACCESS_KEY_ID`", secret=True)
    aws_session_token: str = _setting("", "session token of temporary AWS keys", secret=True)
    aws_region: str = _setting("us-east-1", "region of all AWS services")
    dynamodb_endpoint_url: str = _setting("", "URL of DynamoDB; empty: AWS", parsers.url)
    s3_aws_access_key_id: str = _setting("", "access key for the object store")
    s3_aws_secret_access_key: str = _setting("", "secret of `S3_AWS_ACCESS_KEY_ID`", secret=True)
    s3_endpoint_url: str = _setting("", "URL of Ceph's S3 gateway; empty: AWS S3", parsers.url)
    s3_ca_bundle: str = _setting("", "CA certificate (PEM) for the store; empty: the public CAs")
    input_bucket: str = _setting(
        "input-bucket-video", "bucket that receives the videos", parsers.bucket_name
    )
    output_bucket: str = _setting(
        "output-bucket-vid", "bucket for the results (CSV)", parsers.bucket_name
    )
    # Reports are written by default, because the pages' index is rebuilt from them.
    report_bucket: str = _setting(
        "rollcall-reports",
        "bucket for reports and errors (JSON), and for stored faces; set to an empty text: neither"
        " is written",
        parsers.bucket_name,
        may_be_empty=True,
    )
    student_table: str = _setting("student_table", "DynamoDB table of the student records")
    encodings: str = _setting(
        "",
        "the gallery: a path or `s3://bucket/key`; empty: `~/.local/share/rollcall/gallery.npz`",
        parsers.gallery_place,
    )
    # A new person is recognised after at most a minute. Each replica sends one HEAD request per
    # minute for that.
    encodings_refresh_s: float = _setting(
        60.0,
        "seconds between two checks for a changed gallery",
        parsers.number_from(float, 0, 86400),
    )
    # Encodings of length 1 are at most 2 apart, so with a larger tolerance every face would match.
    tolerance: float | None = _setting(
        None,
        "largest distance accepted as the same person; smaller is stricter; `auto`: chosen so that"
        " 1 in 100 strangers, at most, is expected to get a name (0.6 for a pickled gallery)",
        parsers.number_or_auto(0.01, 2),
    )
    scan: str = _setting(
        "auto",
        "`identify`: stop at the first frame in which every face is recognised clearly; `auto`: as"
        " `identify` up to 10 s, search longer videos for faces at least every 10 s; `timeline`:"
        " search every second, and report exact intervals",
        parsers.one_of(*SCANS),
    )
    engine: str = _setting(
        "onnx",
        "`onnx`: encodings as face_recognition computes them, but faster; `face_recognition`: that"
        " library itself, for comparison; `onnx:/path/to/model.onnx`: your own encoder"
        " (docs/own-encoder.md)",
        parsers.engine_name,
    )
    model_cache: str = _setting(
        "", "folder that caches converted models; empty: `~/.cache/rollcall`"
    )
    openfaas_gateway: str = _setting(
        "http://127.0.0.1:8080", "URL of the OpenFaaS gateway", parsers.url
    )
    openfaas_function: str = _setting("face-recognition", "name of the OpenFaaS function")
    function_hmac_key: str = _setting(
        "",
        "key that signs the trigger's calls, 32 characters or more; a function with this key"
        " rejects unsigned calls with 401; empty: calls are neither signed nor checked; `new,old`"
        " signs with the first key and accepts both",
        parsers.keys,
        secret=True,
    )
    # The time-outs get shorter from the outside to the inside: this setting, the watchdog's
    # write_timeout (310 s), the gateway's (305 s), exec_timeout (300 s), MAX_CALL_S (280 s). If an
    # outer one were shorter, the caller would get a 502 or nothing instead of the function's error.
    function_timeout_s: float = _setting(
        320.0,
        "limit for a call, in seconds; has to be longer than the function's `exec_timeout`",
        parsers.number_from(float, 1, 3600),
    )
    lambda_function: str = _setting("face-recognition", "name or ARN of the Lambda function")
    lambda_endpoint_url: str = _setting("", "URL of the Lambda service; empty: AWS", parsers.url)
    sqs_endpoint_url: str = _setting("", "URL of the SQS service; empty: AWS", parsers.url)
    input_queue_url: str = _setting("", "SQS queue with the input bucket's events", parsers.url)
    result_queue_url: str = _setting(
        "", "SQS queue to which the Lambda function sends its results", parsers.url
    )
    dead_letter_queue_url: str = _setting(
        "", "queue for messages that cannot be processed; required by the worker", parsers.url
    )
    # During a call, a worker extends the time-out three times in each period (hence at least 3 s).
    # So the setting only delays the retry after a crash. SQS allows at most 12 h.
    visibility_timeout_s: int = _setting(
        60,
        "seconds until the messages of a crashed worker are delivered again",
        parsers.number_from(int, 3, 43200),
    )
    results_folder: str = _setting(
        "results", "folder of the worker's result files; has to be on a local disk"
    )
    # By default only this machine can connect, because the token is sent unencrypted.
    trigger_listen: str = _setting(
        "127.0.0.1:8090", "host:port on which the trigger listens", parsers.host_and_port
    )
    trigger_token: str = _setting(
        "",
        "secret shared with the store's topic, 16 characters or more; required by the trigger;"
        " `new,old` registers the first token and accepts both",
        secret=True,
    )
    sns_topic_arns: str = _setting(
        "", "SNS topics whose messages are accepted and confirmed, comma-separated"
    )
    sns_verify: str = _setting(
        "yes",
        "`yes`: SNS messages have to be signed by AWS; `no`: unsigned messages, as a local SNS"
        " sends them, are accepted too",
        parsers.one_of("yes", "no"),
    )
    # SQLite's locks do not work on most network file systems.
    database_url: str = _setting(
        "sqlite:///inbox.sqlite3",
        "database of the trigger and the pages: `sqlite:///PATH`, a file on a local disk for one"
        " trigger, or `postgresql://USER:PASSWORD@HOST/NAME` for several triggers",
        _database_url,
        secret=True,
    )
    # One replica of the stack file has two cores and accepts two calls.
    max_inflight: int = _setting(
        2,
        "largest number of calls at the same time; set it to the number that all replicas together"
        " can run, because further calls are answered 429",
        parsers.number_from(int, 1, 256),
    )
    # With the exponential back-off, twenty attempts outlast an outage of an hour and a half.
    max_attempts: int = _setting(
        20,
        "failed calls after which the work becomes a dead letter",
        parsers.number_from(int, 1, 100),
    )
    # Scans need not be frequent: events are rarely lost, and a scan lists the whole input bucket.
    reconcile_s: float = _setting(
        300.0,
        "seconds between scans for videos that have no result",
        parsers.number_from(float, 1, 86400),
    )
    # The URL is secret, because some receivers put a token into the path.
    result_webhook_url: str = _setting(
        "",
        "URL that receives a message for each finished or failed video (docs/webhook.md); empty:"
        " no messages are sent",
        parsers.webhook_url,
        secret=True,
    )
    result_webhook_secret: str = _setting(
        "",
        "secret that signs these messages: `whsec_` followed by base64; required with"
        " `RESULT_WEBHOOK_URL`; `new,old` signs with both",
        parsers.webhook_secrets,
        secret=True,
    )
    result_webhook_ca_bundle: str = _setting(
        "", "CA certificate (PEM) for `RESULT_WEBHOOK_URL`; empty: the public CAs"
    )
    # Stored faces are biometric data, so nothing is stored unless somebody asks for it.
    keep_faces: Literal["none", "encodings", "pictures"] = _setting(
        "none",
        "what is stored of the faces in videos, beside their reports: `none`; `encodings`: numbers"
        " with which results can be corrected and earlier videos searched; `pictures`: small"
        " pictures too, also of photos that are enrolled with this setting",
        parsers.one_of("none", "encodings", "pictures"),
    )
    web_listen: str = _setting(
        "127.0.0.1:8091", "host:port of the pages (`rollcall web`)", parsers.host_and_port
    )
    web_users: str = _setting(
        "",
        "file with the users of the pages (`rollcall web user add`); empty: nobody has to sign in,"
        " which is allowed only on a loopback address",
    )
    web_secret: str = _setting(
        "",
        "key that signs the sessions of the pages, 32 characters or more; `new,old` accepts both;"
        " empty: sessions end when `rollcall web` stops",
        parsers.keys,
        secret=True,
    )
    web_proxy_header: str = _setting(
        "",
        "header in which a reverse proxy names the user of the pages, for example"
        " `X-Forwarded-User`; needs `WEB_PROXIES`",
        parsers.header_name,
    )
    web_proxies: str = _setting(
        "",
        "addresses or networks of the reverse proxies in front of the pages, comma-separated; their"
        " `X-Forwarded-Proto` and `X-Forwarded-For` are trusted",
    )
    web_store_url: str = _setting(
        "", "URL of the store as browsers reach it; empty: `S3_ENDPOINT_URL`", parsers.url
    )
    blur_faces: str = _setting(
        "no",
        "`yes`: pictures of faces are blurred until the pointer is on them",
        parsers.one_of("yes", "no"),
    )
    audit_views: str = _setting(
        "no",
        "`yes`: every view of a person's page is written into the log",
        parsers.one_of("yes", "no"),
    )
    log_format: str = _setting(
        "text",
        "`text`: log lines for people; `json`: one JSON object per line, for programs that collect"
        " logs",
        parsers.one_of("text", "json"),
    )
    max_call_s: float = _setting(
        280.0,
        "limit for the work on one video, in seconds; has to be shorter than the function's"
        " `exec_timeout`",
        parsers.number_from(float, 1, 3600),
    )
    # Each replica needs room in its temporary folder for the videos that it is processing.
    max_video_bytes: int = _setting(
        2 << 30, "largest video, in bytes", parsers.number_from(int, 1, 1 << 40)
    )
    max_video_s: float = _setting(
        4 * 3600.0, "longest video, in seconds", parsers.number_from(float, 1, 1e6)
    )
    # Allows both forms of 4K (4096 x 2160, 3840 x 2160) with some extra lines. A frame in RGB then
    # has at most 28 MB.
    max_video_px: int = _setting(
        4096 * 2304,
        "largest frame, in pixels (width x height)",
        parsers.number_from(int, 1, 1 << 28),
    )


def setting_names() -> tuple[str, ...]:
    """The names of all settings, in upper case and in the order of the README's table."""
    return tuple(item.name.upper() for item in fields(Settings))


def default_texts() -> dict[str, str]:
    """The texts that leave every setting at its default, by name."""
    return {
        item.name.upper(): str(item.default) if item.metadata["may_be_empty"] else ""
        for item in fields(Settings)
    }


def changed_settings(settings: Settings) -> dict[str, str]:
    """The settings that differ from their defaults, by name, as texts for `parse_settings`.

    A process that starts another process passes these texts to it.
    """
    changed = [item for item in fields(settings) if getattr(settings, item.name) != item.default]
    values = {item.name.upper(): getattr(settings, item.name) for item in changed}
    return {name: AUTO if value is None else str(value) for name, value in values.items()}


def parse_settings(values: Mapping[str, str]) -> Settings:
    """Parse the texts of settings, by name. An empty text usually leaves the default.

    Raises SettingsError for an unknown name, a placeholder, a malformed value, and for values that
    contradict each other. The message names the settings.
    """
    known = {item.name.upper(): item for item in fields(Settings)}
    for name in values:
        if name not in known:
            raise SettingsError(unknown_setting(name, values[name]))
    parsed = {}
    for name, text in values.items():
        if text.strip():
            parsed[known[name].name] = _parse(name, text.strip(), known[name].metadata)
        elif known[name].metadata["may_be_empty"]:
            parsed[known[name].name] = ""
    settings = Settings(**parsed)
    _check_together(settings)
    return settings


def unknown_setting(name: str, text: str = "") -> str:
    """A message about an unknown name. It suggests the most similar setting."""
    if name == OLD_INBOX:
        path = text.strip() or "PATH"
        return f"{name} is not a setting any more; set DATABASE_URL={SQLITE_URL}{path} instead"
    similar = get_close_matches(name, setting_names(), 1)
    every = ", ".join(setting_names())
    hint = f"did you mean {similar[0]}" if similar else f"the settings are {every}"
    return f"{name} is not a setting; {hint}"


def _parse(name: str, text: str, metadata: Mapping[str, Any]) -> Any:
    if text == PLACEHOLDER:
        raise SettingsError(
            f"{name} still holds its placeholder; set it in .env, or leave it empty there"
        )
    try:
        return metadata["parse"](text)
    except SettingsError as error:
        # The message contains neither secrets nor passwords in URLs.
        shown = "" if metadata["secret"] else f", not {_PASSWORD.sub('//***@', text)!r:.100}"
        raise SettingsError(f"{name} {error}{shown}") from error


def _check_together(settings: Settings) -> None:
    """Raise SettingsError for values that are valid separately but not together."""
    for prefix in ("", "s3_"):
        key, secret = f"{prefix}aws_access_key_id", f"{prefix}aws_secret_access_key"
        if bool(getattr(settings, key)) != bool(getattr(settings, secret)):
            raise SettingsError(
                f"{key.upper()} and {secret.upper()} belong together; set both, or neither"
            )
    if settings.result_webhook_url and not settings.result_webhook_secret:
        raise SettingsError(
            "RESULT_WEBHOOK_URL needs RESULT_WEBHOOK_SECRET, which signs the messages; make one"
            f' with: echo "{PREFIX}$(openssl rand -base64 32)"'
        )
    if settings.keep_faces != "none" and not settings.report_bucket:
        raise SettingsError(
            f"KEEP_FACES={settings.keep_faces} needs REPORT_BUCKET, because faces are stored beside"
            " the reports; set REPORT_BUCKET=rollcall-reports, or KEEP_FACES=none"
        )
    check_gallery_place(settings)
    # The buckets differ, so that the output bucket contains only results, one for each video.
    buckets = [settings.input_bucket, settings.output_bucket, settings.report_bucket]
    used = [bucket for bucket in buckets if bucket]
    if len(set(used)) < len(used):
        raise SettingsError("INPUT_BUCKET, OUTPUT_BUCKET and REPORT_BUCKET have to differ")


def check_gallery_place(settings: Settings) -> None:
    """Raise SettingsError if the gallery is in the input bucket.

    Anybody who may upload videos could replace the gallery there.
    """
    if settings.encodings.startswith(f"s3://{settings.input_bucket}/"):
        raise SettingsError(
            f"ENCODINGS is in INPUT_BUCKET ({settings.input_bucket}), so anybody who may upload"
            " videos could replace the gallery; put it into a bucket of its own"
        )


def settings_table() -> str:
    """The README's table of all settings, in Markdown."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for item in fields(Settings):
        default = f"{item.default:g}" if isinstance(item.default, float) else item.default
        default = AUTO if default is None else default
        shown = f"`{default}`" if default != "" else ""
        rows.append(f"| `{item.name.upper()}` | {shown} | {item.metadata['meaning']} |")
    return "\n".join(rows) + "\n"

"""Contract 3.8: the names and defaults of settings, and a clear message for every mistake."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from rollcall.core.errors import SettingsError
from rollcall.core.settings import (
    PLACEHOLDER,
    Settings,
    changed_settings,
    parse_settings,
    setting_names,
    settings_table,
)
from rollcall.wiring import build_gallery_location

KEPT_FOR_USERS = """
    AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION DYNAMODB_ENDPOINT_URL S3_AWS_ACCESS_KEY_ID
    S3_AWS_SECRET_ACCESS_KEY S3_ENDPOINT_URL INPUT_BUCKET OUTPUT_BUCKET REPORT_BUCKET STUDENT_TABLE
    ENCODINGS TOLERANCE SCAN OPENFAAS_GATEWAY OPENFAAS_FUNCTION TRIGGER_TOKEN MAX_INFLIGHT
    MAX_ATTEMPTS RECONCILE_S MAX_VIDEO_BYTES MAX_VIDEO_S MAX_VIDEO_PX
"""
SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "DATABASE_URL",
    "FUNCTION_HMAC_KEY",
    "AWS_SESSION_TOKEN",
    "RESULT_WEBHOOK_SECRET",
    "RESULT_WEBHOOK_URL",
    "S3_AWS_SECRET_ACCESS_KEY",
    "TRIGGER_TOKEN",
    "WEB_SECRET",
)
PLAIN = sorted(set(setting_names()) - set(SECRETS))


def refused(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_settings(values)
    return str(caught.value)


def test_names_that_users_know_exist() -> None:
    assert set(KEPT_FOR_USERS.split()) <= set(setting_names())


def test_defaults_that_users_know() -> None:
    settings = Settings()
    assert settings.input_bucket == "input-bucket-video"
    assert settings.output_bucket == "output-bucket-vid"
    assert settings.student_table == "student_table"
    assert settings.aws_region == "us-east-1"
    assert settings.openfaas_function == "face-recognition"
    assert settings.tolerance is None
    assert settings.scan == "auto"


@pytest.mark.parametrize("item", fields(Settings), ids=lambda item: item.name)
def test_every_default_is_a_value_that_parses(item: object) -> None:
    name, default = item.name, item.default  # type: ignore[attr-defined]
    text = "auto" if default is None else str(default)
    parsed = getattr(parse_settings({name.upper(): text}), name)
    assert (parsed, type(parsed)) == (default, type(default))


def test_the_tolerance_is_a_number_or_auto() -> None:
    assert parse_settings({"TOLERANCE": "auto"}).tolerance is None
    assert parse_settings({"TOLERANCE": "0.5"}).tolerance == 0.5
    for wrong in ("none", "0", "3", "nan"):
        assert "TOLERANCE has to be auto, or a number from 0.01 to 2" in refused(TOLERANCE=wrong)


@pytest.mark.parametrize("text", ["", "  ", "\t\n"])
def test_an_empty_text_means_the_default(text: str) -> None:
    others = [name for name in setting_names() if name != "REPORT_BUCKET"]
    assert parse_settings(dict.fromkeys(others, text)) == Settings()


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_report_bucket_switches_reports_off(text: str) -> None:
    assert Settings().report_bucket == "rollcall-reports"
    off = parse_settings({"REPORT_BUCKET": text})
    assert off.report_bucket == ""
    assert parse_settings(changed_settings(off)) == off


@pytest.mark.parametrize("keep", ["encodings", "pictures"])
def test_faces_are_kept_only_beside_reports(keep: str) -> None:
    message = refused(KEEP_FACES=keep, REPORT_BUCKET="")
    assert message.startswith(f"KEEP_FACES={keep} needs REPORT_BUCKET")
    assert parse_settings({"KEEP_FACES": keep, "REPORT_BUCKET": "r" * 3}).keep_faces == keep


def test_spaces_around_a_value_are_not_part_of_it() -> None:
    assert parse_settings({"MAX_INFLIGHT": " 7 ", "TRIGGER_TOKEN": " t\n"}) == Settings(
        max_inflight=7, trigger_token="t"
    )


def test_the_error_about_an_unknown_name_lists_the_known_names() -> None:
    message = refused(TOLERANSE="0.5")
    assert "TOLERANSE is not a setting" in message
    assert "TOLERANCE" in message


@pytest.mark.parametrize("name", setting_names())
def test_placeholder_is_named(name: str) -> None:
    message = refused(**{name: PLACEHOLDER})
    assert message.startswith(f"{name} ")
    assert "placeholder" in message


MALFORMED = {
    "TOLERANCE": ["0", "-1", "2.1", "nan", "inf", "0,6", "high", "0.6 0.7"],
    "MAX_INFLIGHT": ["0", "257", "4.0", "four", "", "-1", "1" * 5000],
    "MAX_ATTEMPTS": ["0", "101", "1e1"],
    "MAX_VIDEO_BYTES": ["0", "2GB", "1.5"],
    "MAX_VIDEO_PX": ["0", "1920x1080"],
    "MAX_VIDEO_S": ["0", "1h", "nan"],
    "RECONCILE_S": ["0", "-5", "86401"],
    "ENCODINGS_REFRESH_S": ["-1", "often"],
    "FUNCTION_TIMEOUT_S": ["0", "3601"],
    "SCAN": ["Identify", "all"],
    "S3_ENDPOINT_URL": [
        "ceph:8080",
        "//ceph",
        "ftp://ceph",
        "http://",
        "http://ceph:port",
        "http://ceph:99999",
        "http://[::1",
    ],
    "DYNAMODB_ENDPOINT_URL": ["localhost:8000"],
    "OPENFAAS_GATEWAY": ["gateway"],
    "INPUT_BUCKET": ["ab", "-abc", "a/b", "a b c", "x" * 256, "s3://videos", "videos\nx"],
    "OUTPUT_BUCKET": ["ü-bucket"],
    "REPORT_BUCKET": ["ab"],
    "ENCODINGS": ["s3://", "s3://bucket", "s3://bucket/", "s3:///key"],
    "TRIGGER_LISTEN": ["8090", ":8090", "0.0.0.0:", "0.0.0.0:http", "0.0.0.0:65536", "a:-1"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in MALFORMED.items() for text in texts if text]
)
def test_malformed_value_is_named_and_shown(name: str, text: str) -> None:
    message = refused(**{name: text})
    assert message.startswith(f"{name} has to be ")
    assert repr(text)[:50] in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("TOLERANCE", "0.5", 0.5),
        ("MAX_INFLIGHT", "256", 256),
        ("RECONCILE_S", "1", 1.0),
        ("SCAN", "timeline", "timeline"),
        ("S3_ENDPOINT_URL", "http://rgw.rook-ceph.svc:80/", "http://rgw.rook-ceph.svc:80"),
        ("S3_ENDPOINT_URL", "https://[::1]:8080", "https://[::1]:8080"),
        ("INPUT_BUCKET", "My.bucket_1", "My.bucket_1"),
        ("ENCODINGS", "s3://bucket/folder/key", "s3://bucket/folder/key"),
        ("ENCODINGS", "/data/encoding", "/data/encoding"),
        ("TRIGGER_LISTEN", "[::]:8090", "[::]:8090"),
        ("DATABASE_URL", "sqlite:////var/lib/inbox.sqlite3", "sqlite:////var/lib/inbox.sqlite3"),
        ("DATABASE_URL", "postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg"),
        ("DATABASE_URL", "postgres://u:p@h1:5432,h2/db", "postgres://u:p@h1:5432,h2/db"),
        ("TRIGGER_LISTEN", "0.0.0.0:0", "0.0.0.0:0"),
    ],
)
def test_value(name: str, text: str, value: object) -> None:
    assert getattr(parse_settings({name: text}), name.lower()) == value


@pytest.mark.parametrize(
    "values",
    [
        {"INPUT_BUCKET": "same", "OUTPUT_BUCKET": "same"},
        {"INPUT_BUCKET": "same", "REPORT_BUCKET": "same"},
        {"OUTPUT_BUCKET": "same", "REPORT_BUCKET": "same"},
        {"OUTPUT_BUCKET": "input-bucket-video"},
        {"REPORT_BUCKET": "output-bucket-vid"},
    ],
)
def test_buckets_have_to_differ(values: dict[str, str]) -> None:
    message = refused(**values)
    assert all(name in message for name in values)


# --- secrets


def test_the_list_of_secrets_is_complete() -> None:
    marked = {item.name.upper() for item in fields(Settings) if item.metadata["secret"]}
    assert marked == set(SECRETS)


FORMS = {
    "DATABASE_URL": "postgresql://rollcall:%s@host/rollcall",
    "RESULT_WEBHOOK_SECRET": "whsec_%s",
    "RESULT_WEBHOOK_URL": "https://receiver.example/%s",
}


@pytest.mark.parametrize("name", SECRETS)
def test_secret_is_not_in_the_repr(name: str) -> None:
    key_id = name.replace("SECRET_ACCESS_KEY", "ACCESS_KEY_ID")
    secret = FORMS.get(name, "%s") % ("s3cr3t" * 6)
    values = {"RESULT_WEBHOOK_SECRET": f"whsec_{'k' * 40}"} if "WEBHOOK" in name else {}
    settings = parse_settings({key_id: "id", **values, name: secret})
    assert getattr(settings, name.lower()) == secret
    assert "s3cr3t" not in repr(settings)
    assert "s3cr3t" not in repr(replace(settings, tolerance=0.5))


def test_a_key_that_could_be_guessed_is_refused_without_showing_it() -> None:
    message = refused(FUNCTION_HMAC_KEY="x" * 31)
    assert "openssl rand" in message
    assert "xx" not in message


@pytest.mark.parametrize(
    "url",
    [
        "inbox.sqlite3",
        "/var/lib/inbox.sqlite3",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://inbox.sqlite3",
        "sqlite:///inbox.sqlite3?mode=ro",
        "postgresql://",
        "postgresql+psycopg://u:s3cr3t@host/db",
        "mysql://u:s3cr3t@host/db",
        "host=h password=s3cr3t",
    ],
)
def test_a_malformed_database_url_is_refused_without_showing_it(url: str) -> None:
    message = refused(DATABASE_URL=url)
    assert message.startswith("DATABASE_URL has to be sqlite:///PATH")
    assert "s3cr3t" not in message


def test_the_old_setting_of_the_inbox_names_the_new_one() -> None:
    message = refused(INBOX=" /var/lib/inbox.sqlite3 ")
    assert "set DATABASE_URL=sqlite:////var/lib/inbox.sqlite3 instead" in message


def test_a_setting_may_hold_two_keys() -> None:
    new, old = "n" * 32, "o" * 32
    assert parse_settings({"FUNCTION_HMAC_KEY": f"{new},{old}"}).function_hmac_key
    assert "not 31" in refused(FUNCTION_HMAC_KEY=f"{new},{'x' * 31}")
    assert "one secret, or two" in refused(FUNCTION_HMAC_KEY=f"{new},{old},{new}")


@pytest.mark.parametrize("name", PLAIN)
def test_other_settings_are_in_the_repr(name: str) -> None:
    assert f"{name.lower()}=" in repr(Settings())


@pytest.mark.parametrize("wrong", [{"TOLERANCE": "x"}, {"NO_SUCH": "x"}, {"SCAN": PLACEHOLDER}])
def test_errors_do_not_show_secrets(wrong: dict[str, str]) -> None:
    assert "s3cr3t" not in refused(**dict.fromkeys(SECRETS, "s3cr3t"), **wrong)


def test_value_of_an_unknown_name_is_not_shown() -> None:
    """The value may be a secret whose name was misspelt."""
    assert "s3cr3t" not in refused(TRIGER_TOKEN="s3cr3t")


@pytest.mark.parametrize("url", ["http://user:s3cr3t@host:port", "ftp://user:s3cr3t@host"])
def test_password_in_a_url_is_not_shown(url: str) -> None:
    assert "s3cr3t" not in refused(S3_ENDPOINT_URL=url)


# --- the README's table


def test_table_has_a_row_for_every_setting() -> None:
    rows = settings_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(setting_names())
    assert all(row.count(" | ") == 2 for row in rows)
    assert "| `TOLERANCE` | `auto` |" in settings_table()
    assert "| `REPORT_BUCKET` | `rollcall-reports` |" in settings_table()
    assert "| `RESULT_QUEUE_URL` |  |" in settings_table()


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "S3_AWS_SECRET_ACCESS_KEY"])
def test_an_access_key_without_its_other_half_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="belong together"):
        parse_settings({name: "x"})


@pytest.mark.parametrize("key", ["gallery.npz", "a/b.npz"])
def test_a_gallery_in_the_input_bucket_is_refused(key: str) -> None:
    """Anybody who may upload videos could replace the gallery."""
    for values in (
        {"ENCODINGS": f"s3://input-bucket-video/{key}"},
        {"ENCODINGS": f"s3://videos/{key}", "INPUT_BUCKET": "videos"},
    ):
        with pytest.raises(SettingsError, match="ENCODINGS is in INPUT_BUCKET"):
            parse_settings(values)
    near = f"s3://input-bucket-video-2/{key}"
    assert parse_settings({"ENCODINGS": near}).encodings == near
    chosen = replace(Settings(), encodings=f"s3://input-bucket-video/{key}")
    with pytest.raises(SettingsError, match="a bucket of its own"):
        build_gallery_location(chosen)  # as the option --encodings gives it

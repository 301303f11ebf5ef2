"""The settings of the user that apply to a local stack. No process is started."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import pytest

from devstack.flows import FLOWS
from devstack.stack import STACK_SETTINGS, LocalStack
from rollcall.core.settings import Settings, changed_settings, parse_settings, setting_names

OTHER_VALUES = {
    "AUDIT_VIEWS": "yes",
    "AWS_REGION": "eu-central-1",
    "BLUR_FACES": "yes",
    "DATABASE_URL": "postgresql://rollcall:password@elsewhere.example/rollcall",
    "ENGINE": "face_recognition",
    "FUNCTION_HMAC_KEY": "0123456789abcdef" * 2,
    "INPUT_BUCKET": "my-videos",
    "KEEP_FACES": "encodings",
    "LAMBDA_FUNCTION": "my-function",
    "LOG_FORMAT": "json",
    "MODEL_CACHE": "/somewhere/models",
    "OPENFAAS_FUNCTION": "my-function",
    "OUTPUT_BUCKET": "my-results",
    "REPORT_BUCKET": "my-reports",
    "RESULT_WEBHOOK_SECRET": f"whsec_{'k' * 40}",
    "SCAN": "timeline",
    "SNS_TOPIC_ARNS": "arn:aws:sns:eu-central-1:1:topic",
    "SNS_VERIFY": "no",
    "STUDENT_TABLE": "my_students",
    "TOLERANCE": "0.55",
    "TRIGGER_LISTEN": "0.0.0.0:1234",
    "TRIGGER_TOKEN": "my-token-for-the-trigger",
    "WEB_LISTEN": "0.0.0.0:1235",
    "WEB_USERS": "/somewhere/users",
    "WEB_SECRET": "fedcba9876543210" * 2,
}


def other_value(name: str) -> str:
    """Return a valid value that is not the default."""
    default = getattr(Settings(), name.lower())
    if isinstance(default, int | float):
        return str(type(default)(default / 2))
    return OTHER_VALUES.get(name, "http://elsewhere.example:1234" if "URL" in name else "other")


def all_changed() -> Settings:
    """Return settings that all differ from their defaults."""
    chosen = parse_settings(
        {name: other_value(name) for name in setting_names() if name != "OPENFAAS_GATEWAY"}
        | {"OPENFAAS_GATEWAY": "http://elsewhere.example:8080"}
    )
    assert changed_settings(chosen).keys() == set(setting_names())
    return chosen


def stack(stopped: ExitStack, flow: str, folder: Path, chosen: Settings | None) -> LocalStack:
    made = FLOWS[flow](folder, {"PATH": "/usr/bin"}, chosen=chosen)
    stopped.callback(made.__exit__)
    return made


@pytest.mark.parametrize("flow", FLOWS)
def test_every_setting_applies_unless_the_stack_replaces_it(flow: str, tmp_path: Path) -> None:
    chosen = all_changed()
    wanted = changed_settings(chosen)
    with ExitStack() as stopped:
        made = stack(stopped, flow, tmp_path, chosen)
        bare = stack(stopped, flow, tmp_path, None)
    for name in setting_names():
        if name in STACK_SETTINGS:
            # SNS_VERIFY has only two values, so the stack and the user may have the same value.
            assert made.environ[name] != wanted[name] or name == "SNS_VERIFY", name
            assert bool(made.values.get(name)) == bool(bare.values.get(name)), name
        else:
            assert made.environ[name] == wanted[name], name
            field = name.lower()
            assert getattr(made.settings, field) == getattr(chosen, field), name


def test_a_hint_names_the_settings_that_do_not_apply(tmp_path: Path) -> None:
    chosen = Settings(
        s3_endpoint_url="http://ceph.example", database_url="sqlite:////inbox", scan="timeline"
    )
    with ExitStack() as stopped:
        made = stack(stopped, "openfaas", tmp_path, chosen)
        plain = stack(stopped, "openfaas", tmp_path, Settings(scan="timeline"))
    hint = "Not used, because this stack has its own: DATABASE_URL, S3_ENDPOINT_URL."
    assert made.hints == [hint]
    assert plain.hints == []


def test_overrides_apply_and_no_hint_names_them(tmp_path: Path) -> None:
    chosen = Settings(encodings="mine.npz", tolerance=0.4)
    overrides = {"ENCODINGS": "/the/gallery.npz", "TOLERANCE": "0.5"}
    made = FLOWS["lambda"](tmp_path, {}, overrides, chosen=chosen)
    made.__exit__()
    assert (made.settings.encodings, made.settings.tolerance) == ("/the/gallery.npz", 0.5)
    assert made.hints == []


def test_child_processes_get_every_setting_so_that_files_have_no_effect(tmp_path: Path) -> None:
    with ExitStack() as stopped:
        made = stack(stopped, "openfaas", tmp_path, None)
    assert made.environ.keys() >= set(setting_names())
    assert made.environ["S3_AWS_SECRET_ACCESS_KEY"] == ""
    assert parse_settings({name: made.environ[name] for name in setting_names()}) == made.settings


def test_relative_paths_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stopped:
        chosen = Settings(model_cache="models", web_users="users")
        made = stack(stopped, "openfaas", tmp_path / "run", chosen)
    assert made.settings.model_cache == str(tmp_path / "models")
    assert made.settings.web_users == str(tmp_path / "users")


def test_a_stack_in_the_folder_of_a_real_trigger_leaves_its_database(tmp_path: Path) -> None:
    real = tmp_path / Settings().database_url.removeprefix("sqlite:///")
    real.write_text("the database of a trigger")
    made = FLOWS["openfaas"](tmp_path, {})
    own = Path(made.settings.database_url.removeprefix("sqlite:///"))
    own.touch()
    made.__exit__()
    assert real.read_text() == "the database of a trigger"
    assert not own.exists()


def test_the_call_limit_is_longer_than_max_call_s(tmp_path: Path) -> None:
    with ExitStack() as stopped:
        made = stack(stopped, "openfaas", tmp_path, Settings(max_call_s=900))
        plain = stack(stopped, "openfaas", tmp_path, None)
    assert (made.call_limit_s, plain.call_limit_s) == (920, 300)


def test_changed_settings_are_parsed_into_the_same_settings() -> None:
    chosen = all_changed()
    assert parse_settings(changed_settings(chosen)) == chosen
    assert changed_settings(Settings()) == {}
    assert dataclasses.replace(Settings(), tolerance=0.55) == parse_settings(
        changed_settings(Settings(tolerance=0.55))
    )

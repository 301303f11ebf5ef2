"""The sources of settings: first the environment, then secrets, `.env` and `credentials.env`."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from support.needs import need

from rollcall.config import MAX_SECRET_BYTES, load_settings
from rollcall.core.errors import SettingsError
from rollcall.core.settings import PLACEHOLDER, Settings


class Sources:
    """The four sources of settings, in a folder for one test."""

    def __init__(self, folder: Path) -> None:
        self.environ: dict[str, str] = {}
        self.secrets = folder / "secrets"
        self.folder = folder
        self.credentials = folder / "credentials.env"
        self.env_file = folder / ".env"

    def secret(self, name: str, text: str) -> None:
        self.secrets.mkdir(exist_ok=True)
        (self.secrets / name).write_text(text)

    def load(self, *, offline: bool = False) -> Settings:
        return load_settings(self.environ, self.secrets, self.folder, offline=offline)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def test_without_any_source_every_setting_has_its_default(sources: Sources) -> None:
    assert sources.load() == Settings()


def test_the_first_source_that_has_a_setting_wins(sources: Sources) -> None:
    names = ("TRIGGER_TOKEN", "AWS_REGION", "STUDENT_TABLE", "OPENFAAS_FUNCTION")
    sources.credentials.write_text("".join(f"{name}=credentials\n" for name in names))
    sources.env_file.write_text("".join(f"export {name}=env-file\n" for name in names[:3]))
    for name in ("trigger-token", "aws-region"):
        sources.secret(name, "secret")
    sources.environ["TRIGGER_TOKEN"] = "environment"
    settings = sources.load()
    assert [getattr(settings, name.lower()) for name in names] == [
        "environment",
        "secret",
        "env-file",
        "credentials",
    ]


def test_the_old_setting_of_the_inbox_is_refused_until_its_successor_is_set(
    sources: Sources,
) -> None:
    """Without the error, the trigger would start with an empty database."""
    wanted = r"set DATABASE_URL=sqlite:///old/inbox\.sqlite3 instead"
    sources.environ["INBOX"] = "old/inbox.sqlite3"
    with pytest.raises(SettingsError, match=wanted):
        sources.load(offline=True)
    sources.environ["DATABASE_URL"] = "sqlite:///old/inbox.sqlite3"
    assert sources.load().database_url == "sqlite:///old/inbox.sqlite3"
    sources.env_file.write_text("INBOX=old/inbox.sqlite3\n")
    with pytest.raises(SettingsError, match=wanted):
        sources.load()


def test_placeholders_in_credentials_are_refused_only_without_an_env_file(sources: Sources) -> None:
    sources.credentials.write_text(f"TRIGGER_TOKEN={PLACEHOLDER}\nTOLERANCE=0.5\n")
    with pytest.raises(SettingsError, match="TRIGGER_TOKEN still holds its placeholder"):
        sources.load()
    sources.env_file.write_text("AWS_REGION=r\n")
    assert sources.load() == Settings(tolerance=0.5, aws_region="r")


def test_a_placeholder_in_the_env_file_is_refused(sources: Sources) -> None:
    sources.env_file.write_text(f"TRIGGER_TOKEN={PLACEHOLDER}\n")
    with pytest.raises(SettingsError, match=r"TRIGGER_TOKEN still holds.*set it in \.env"):
        sources.load()
    assert sources.load(offline=True) == Settings()


def test_an_empty_value_in_the_env_file_means_the_default(sources: Sources) -> None:
    sources.credentials.write_text("AWS_REGION=credentials\n")
    sources.env_file.write_text("AWS_REGION=\n")
    assert sources.load() == Settings()


@pytest.mark.parametrize("name", [".env", "credentials.env"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"TRIGER_TOKEN=s3cr3t\n", "TRIGER_TOKEN is not a setting; did you mean TRIGGER_TOKEN"),
        (b"# ok\nTRIGGER_TOKEN: s3cr3t\n", "line 2 of"),
        (b"TRIGGER_TOKEN=s3cr3t\xe9\n", "Windows-1252"),
        (b"PK\x03\x04\x00s3cr3t", "is not a text file"),
        (b"#" * (1 << 20) + b"\n", "has more than 1024 KiB"),
        (None, "is a folder"),
    ],
)
def test_the_error_about_a_bad_file_is_one_sentence_that_names_it(
    sources: Sources, name: str, content: bytes | None, problem: str
) -> None:
    path = sources.folder / name
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(SettingsError, match=problem) as caught:
        sources.load()
    message = str(caught.value)
    assert repr(str(path)) in message
    assert "s3cr3t" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_from_other_machines(sources: Sources, encoding: str, end: str) -> None:
    text = end.join(["TRIGGER_TOKEN=Zürich", "AWS_REGION=r", ""])
    sources.env_file.write_bytes(text.encode(encoding))
    settings = sources.load()
    assert (settings.trigger_token, settings.aws_region) == ("Zürich", "r")


def test_a_secret_from_another_machine(sources: Sources) -> None:
    sources.secret("trigger-token", "")
    (sources.secrets / "trigger-token").write_bytes("t\r\n".encode("utf-16"))
    assert sources.load().trigger_token == "t"


@pytest.mark.parametrize("name", ["trigger-token", "TRIGGER_TOKEN", "trigger_token"])
def test_a_secret_may_be_spelled_like_a_setting_or_in_lower_case(
    sources: Sources, name: str
) -> None:
    sources.secret(name, "t\n")
    assert sources.load().trigger_token == "t"


def test_secrets_that_are_not_settings_are_not_read(sources: Sources) -> None:
    sources.secret("basic-auth-password", PLACEHOLDER)
    (sources.secrets / "..data").mkdir()
    (sources.secrets / "broken").symlink_to("nowhere")
    (sources.secrets / "other-token").write_bytes(b"\xff")
    assert sources.load() == Settings()


def test_a_secret_that_is_not_text_is_an_error(sources: Sources) -> None:
    sources.secret("trigger-token", "")
    (sources.secrets / "trigger-token").write_bytes(b"t\xff")
    with pytest.raises(SettingsError, match="secret"):
        sources.load()


def test_a_secret_is_read_up_to_a_limit(sources: Sources) -> None:
    sources.secret("trigger-token", "t" * (MAX_SECRET_BYTES + 10))
    assert len(sources.load().trigger_token) == MAX_SECRET_BYTES


@pytest.mark.parametrize(
    ("line", "token"),
    [
        ("TRIGGER_TOKEN=t", "t"),
        ("export TRIGGER_TOKEN=t", "t"),
        ("export TRIGGER_TOKEN = 't # t'  # comment", "t # t"),
        ('TRIGGER_TOKEN="a=b+/c"', "a=b+/c"),
        ("TRIGGER_TOKEN=a=b+/c==", "a=b+/c=="),
        ("# TRIGGER_TOKEN=t", ""),
        ("TRIGGER_TOKEN=", ""),
        ("TRIGGER_TOKEN=t\r", "t"),
        ("TRIGGER_TOKEN=a${HOME}b", "a${HOME}b"),
        ("TRIGGER_TOKEN=a$b", "a$b"),
    ],
)
def test_a_line_of_credentials_is_parsed(
    sources: Sources, line: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    sources.credentials.write_text(f"{line}\nAWS_REGION=r\n")
    settings = sources.load()
    assert (settings.trigger_token, settings.aws_region) == (token, "r")


def test_unknown_name_in_credentials_is_an_error(sources: Sources) -> None:
    sources.credentials.write_text("TRIGER_TOKEN=t\n")
    with pytest.raises(SettingsError, match="TRIGER_TOKEN is not a setting"):
        sources.load()


@pytest.mark.parametrize("line", ["TRIGGER_TOKEN='s3cr3t", "TRIGGER_TOKEN: s3cr3t", "= s3cr3t"])
def test_line_that_cannot_be_read_is_an_error(sources: Sources, line: str) -> None:
    sources.credentials.write_text(f"AWS_REGION=r\n{line}\n")
    with pytest.raises(SettingsError, match="line 2") as caught:
        sources.load()
    assert "s3cr3t" not in str(caught.value)


def test_credentials_that_are_not_text_are_an_error(sources: Sources) -> None:
    sources.credentials.write_bytes(b"TRIGGER_TOKEN=\xff\n")
    with pytest.raises(SettingsError, match=r"credentials\.env"):
        sources.load()


def test_other_environment_variables_are_ignored(sources: Sources) -> None:
    sources.environ |= {"PATH": "/bin", "fprocess": "python", "TOLERANCE": "0.5"}
    assert sources.load() == Settings(tolerance=0.5)


def test_only_the_given_environment_is_read(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "TOLERANCE", "0.5")
    assert sources.load() == Settings()


def test_placeholders_are_refused_except_offline(sources: Sources) -> None:
    sources.credentials.write_text(f"TRIGGER_TOKEN={PLACEHOLDER}\nTOLERANCE=0.5\n")
    with pytest.raises(SettingsError, match="TRIGGER_TOKEN still holds its placeholder"):
        sources.load()
    assert sources.load(offline=True) == Settings(tolerance=0.5)


def test_offline_all_other_checks_remain(sources: Sources) -> None:
    sources.environ["TOLERANCE"] = "high"
    with pytest.raises(SettingsError, match="TOLERANCE"):
        sources.load(offline=True)


@pytest.mark.parametrize("prefix", ["", "S3_"])
@pytest.mark.parametrize("left", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_offline_a_key_with_one_placeholder_counts_as_empty(
    sources: Sources, prefix: str, left: str
) -> None:
    values = {f"{prefix}AWS_ACCESS_KEY_ID": "key", f"{prefix}AWS_SECRET_ACCESS_KEY": "secret"}
    values[prefix + left] = PLACEHOLDER
    sources.credentials.write_text("".join(f"{name}={text}\n" for name, text in values.items()))
    assert sources.load(offline=True) == Settings()
    with pytest.raises(SettingsError, match=prefix + left):
        sources.load()


# --- files that another user may have written

SOMEBODY = 4321


def foreign(sources: Sources, caplog: pytest.LogCaptureFixture) -> str:
    """Return the warning if the file was refused; empty if it was read."""
    with caplog.at_level(logging.WARNING):
        settings = sources.load()
    read = settings == Settings(aws_region="theirs")
    assert read or settings == Settings()
    assert read != bool(caplog.text)
    return caplog.text


@pytest.mark.parametrize("name", [".env", "credentials.env"])
def test_a_file_that_every_user_may_write_is_not_read(
    sources: Sources, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = sources.folder / name
    path.write_text("AWS_REGION=theirs\n")
    path.chmod(0o666)
    warning = foreign(sources, caplog)
    assert (
        f"{str(path)!r} is not read, because every user may write to it; make it yours" in warning
    )


@pytest.mark.parametrize("name", [".env", "credentials.env"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_file_of_another_user_is_not_read(
    sources: Sources, name: str, linked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Links are refused if the link or its target belongs to another user."""
    need(os.geteuid() == 0, "only root may give files away")
    path, target = sources.folder / name, sources.folder / "target"
    if linked:
        target.write_text("AWS_REGION=theirs\n")
        path.symlink_to(target)
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
        assert f"belongs to the user {SOMEBODY}" in foreign(sources, caplog)
        os.chown(path, 0, 0, follow_symlinks=False)
        os.chown(target, SOMEBODY, SOMEBODY)
        caplog.clear()
    else:
        path.write_text("AWS_REGION=theirs\n")
        os.chown(path, SOMEBODY, SOMEBODY)
    assert f"belongs to the user {SOMEBODY}" in foreign(sources, caplog)
    sources.environ["SUDO_UID"] = str(SOMEBODY)  # as with `sudo rollcall` in one's own folder
    caplog.clear()
    assert not foreign(sources, caplog)


def test_a_pipe_of_another_user_is_not_opened(
    sources: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    need(os.geteuid() == 0, "only root may give files away")
    os.mkfifo(sources.env_file)
    os.chown(sources.env_file, SOMEBODY, SOMEBODY)
    assert foreign(sources, caplog)


def test_a_file_that_a_group_may_write_is_refused_unless_the_group_is_the_owners(
    sources: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    """Many systems create a group for each user and give it write access by default."""
    sources.env_file.write_text("AWS_REGION=theirs\n")
    sources.env_file.chmod(0o664)
    assert not foreign(sources, caplog)
    need(os.geteuid() == 0, "only root may give files away")
    os.chown(sources.env_file, 0, SOMEBODY)
    assert f"the group {SOMEBODY} may write to it" in foreign(sources, caplog)
    sources.env_file.chmod(0o644)
    caplog.clear()
    assert not foreign(sources, caplog)

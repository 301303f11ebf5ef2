"""Finds the settings: in the environment, OpenFaaS secrets, `.env` and `credentials.env`.

If several of these places have a setting, the first one wins (docs/decisions/0036).
"""

from __future__ import annotations

import grp
import io
import logging
import os
import pwd
import stat
from collections.abc import Mapping, Set
from pathlib import Path

from dotenv.parser import parse_stream

from rollcall.core.errors import SettingsError
from rollcall.core.settings import (
    OLD_INBOX,
    PLACEHOLDER,
    Settings,
    parse_settings,
    setting_names,
    unknown_setting,
)
from rollcall.core.texts import TextError, decode_text
from rollcall.text_files import read_text

log = logging.getLogger(__name__)

SECRETS = Path("/var/openfaas/secrets")
"""Folder in which OpenFaaS mounts each secret of a function as a file."""

ENV_FILE = Path(".env")
CREDENTIALS_FILE = Path("credentials.env")

MAX_SETTINGS_BYTES = 1 << 20
MAX_SECRET_BYTES = 65536
"""Size limits, against files that were put in these places by mistake. Usual files have a few
hundred bytes."""


def load_settings(
    environ: Mapping[str, str],
    secrets: Path = SECRETS,
    folder: Path = Path(),
    *,
    offline: bool = False,
) -> Settings:
    """The settings of this process. `.env` and `credentials.env` are in `folder`.

    A file that another user may have written is not read, and a warning says why. Commands that
    need no connection set `offline`, so that all placeholders are ignored. Raises SettingsError
    with a message that names the setting or the file.
    """
    known = setting_names()
    from_environment = {name: value for name, value in environ.items() if name in known}
    trusted = _trusted_users(environ.get("SUDO_UID", ""))
    from_credentials = _read_file(folder / CREDENTIALS_FILE, trusted)
    from_env_file = _read_file(folder / ENV_FILE, trusted)
    if from_env_file is not None:
        # If there is an `.env`, a placeholder in `credentials.env` means "not set".
        from_credentials = _without_placeholders(from_credentials or {})
    from_secrets = _read_secrets(secrets, known)
    values = {
        **(from_credentials or {}),
        **(from_env_file or {}),
        **from_secrets,
        **from_environment,
    }
    if "DATABASE_URL" not in values and environ.get(OLD_INBOX):
        # Unknown names in the environment belong to other programs, but this one was ours. If it
        # were ignored, the trigger would start with an empty database.
        raise SettingsError(unknown_setting(OLD_INBOX, environ[OLD_INBOX]))
    return parse_settings(_without_placeholders(values) if offline else values)


def _without_placeholders(values: Mapping[str, str]) -> dict[str, str]:
    """The values without the settings that still have to be filled in."""
    unset = {name for name, value in values.items() if value == PLACEHOLDER}
    # An access key and its secret belong together. If either is a placeholder, neither is set.
    unset |= {name.replace("SECRET_ACCESS_KEY", "ACCESS_KEY_ID") for name in unset}
    unset |= {name.replace("ACCESS_KEY_ID", "SECRET_ACCESS_KEY") for name in unset}
    return {name: value for name, value in values.items() if name not in unset}


def _read_file(path: Path, trusted: Set[int]) -> dict[str, str] | None:
    """The settings in a file; None if it does not exist, or if another user may have written it.

    Every name in the file has to be a setting. A line without `=` is ignored.
    """
    try:
        if not path.exists():
            return None
        if reason := _why_untrusted(path, trusted):
            log.warning(
                "%r is not read, because %s; make it yours (chown, chmod go-w), or put the settings"
                " into the environment",
                str(path.absolute()),
                reason,
            )
            return None
        text = read_text(path, MAX_SETTINGS_BYTES)
    except (TextError, OSError) as error:
        raise SettingsError(f"settings: {error}") from error
    values: dict[str, str] = {}
    # Only the library's parser is used, because its interpolation would replace `${X}` in a secret.
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.line
            raise SettingsError(f"line {line} of {str(path)!r} does not have the form NAME=value")
        if binding.key and binding.value is not None:
            values[binding.key] = binding.value
    unknown = [name for name in values if name not in setting_names()]
    if unknown:
        problem = unknown_setting(unknown[0], values[unknown[0]])
        raise SettingsError(f"{str(path)!r}: {problem}")
    return values


def _why_untrusted(path: Path, trusted: Set[int]) -> str:
    """The reason why another user may have written a file; empty if no other user may have.

    Anybody who can write the settings decides where videos, faces and keys are sent. Commands can
    be started in any folder, for example in /tmp (docs/decisions/0067).
    """
    for status in (path.lstat(), path.stat()):  # a link to the file, and the file
        owner, mode = status.st_uid, status.st_mode
        if owner not in trusted:
            return f"it belongs to the user {_user(owner)}"
        if stat.S_ISLNK(mode):
            continue  # Linux ignores the mode of a link
        if mode & stat.S_IWOTH:
            return "every user may write to it"
        if mode & stat.S_IWGRP and not _is_private(status.st_gid, owner):
            return f"the group {_group(status.st_gid)} may write to it"
    return ""


def _trusted_users(sudo_uid: str) -> set[int]:
    """The ids of this user, of root and, under sudo, of the user who called sudo."""
    caller = {int(sudo_uid)} if os.geteuid() == 0 and sudo_uid.isdecimal() else set[int]()
    return {os.geteuid(), 0} | caller


def _is_private(group: int, owner: int) -> bool:
    """Whether only the owner and root are in the group."""
    # Some systems create a group for each user and give it write access to the user's files.
    return group == 0 or (_group(group) == _user(owner) and not _members(group) - {_user(owner)})


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _members(number: int) -> set[str]:
    try:
        return set(grp.getgrgid(number).gr_mem)
    except KeyError:
        return set()


def _read_secrets(folder: Path, known: tuple[str, ...]) -> dict[str, str]:
    """The settings among the secrets in the folder. Other secrets are not read."""
    try:
        files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
        # Kubernetes allows neither capitals nor underscores in names of secrets, so the secret
        # `trigger-token` is the setting TRIGGER_TOKEN.
        by_name = {path.name.upper().replace("-", "_"): path for path in files}
        return {name: _read_secret(path) for name, path in by_name.items() if name in known}
    except (OSError, TextError) as error:
        raise SettingsError(f"a secret in {str(folder)!r} cannot be read: {error}") from error


def _read_secret(path: Path) -> str:
    with open(path, "rb") as file:
        return decode_text(file.read(MAX_SECRET_BYTES), path.name).strip()

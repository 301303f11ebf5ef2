"""Where settings come from: environment, then OpenFaaS secrets, `.env`, `credentials.env`."""

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
FILLED_IN = Path(".env")
TEMPLATE = Path("credentials.env")
MAX_SETTINGS_BYTES = 1 << 20
MAX_SECRET_BYTES = 65536


def load_settings(
    environ: Mapping[str, str],
    secrets: Path = SECRETS,
    folder: Path = Path(),
    *,
    offline: bool = False,
) -> Settings:
    """Settings of this process; `folder` holds `.env` and `credentials.env`.

    Once there is a `.env`, `credentials.env` is only its template, and a placeholder there means
    "not set". `offline` is for commands that connect to nothing: they ignore every placeholder.
    A file that somebody else may have written is not read, and a warning says why.
    Raises SettingsError with a sentence that names the setting or the file.
    """
    known = setting_names()
    named = {name: value for name, value in environ.items() if name in known}
    trusted = _trusted_users(environ.get("SUDO_UID", ""))
    template, filled_in = _file(folder / TEMPLATE, trusted), _file(folder / FILLED_IN, trusted)
    if filled_in is not None:
        template = _without_placeholders(template or {})
    values = {**(template or {}), **(filled_in or {}), **_secrets(secrets, known), **named}
    return parse_settings(_without_placeholders(values) if offline else values)


def _without_placeholders(values: Mapping[str, str]) -> dict[str, str]:
    """A key whose other half still is a placeholder has not been filled in either."""
    left = {name for name, value in values.items() if value == PLACEHOLDER}
    left |= {name.replace("SECRET_ACCESS_KEY", "ACCESS_KEY_ID") for name in left}
    left |= {name.replace("ACCESS_KEY_ID", "SECRET_ACCESS_KEY") for name in left}
    return {name: value for name, value in values.items() if name not in left}


def _file(path: Path, trusted: Set[int]) -> dict[str, str] | None:
    """The settings of a file; None if there is no such file, or somebody else may have written it.

    Every name in it has to be a setting; a name without `=` is left out. Values are taken as they
    stand: `${X}` in a secret is part of the secret.
    """
    try:
        if not path.exists():
            return None
        if reason := _foreign(path, trusted):
            log.warning(
                "%r is not read, because %s; make it yours (chown, chmod go-w), or set the settings"
                " in the environment",
                str(path.absolute()),
                reason,
            )
            return None
        text = read_text(path, MAX_SETTINGS_BYTES)
    except (TextError, OSError) as error:
        raise SettingsError(f"settings: {error}") from error
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.line
            raise SettingsError(f"line {line} of {str(path)!r} does not have the form NAME=value")
        if binding.key and binding.value is not None:
            values[binding.key] = binding.value
    unknown = [name for name in values if name not in setting_names()]
    if unknown:
        raise SettingsError(f"{str(path)!r}: {unknown_setting(unknown[0])}")
    return values


def _foreign(path: Path, trusted: Set[int]) -> str:
    """Why the file, or the link to it, may be somebody else's; empty if it is ours.

    Whoever may write settings decides where videos, faces and keys go. A command can be started in
    any folder, /tmp for example.
    """
    for status in (path.lstat(), path.stat()):
        owner, mode = status.st_uid, status.st_mode
        if owner not in trusted:
            return f"it belongs to the user {_user(owner)}"
        if stat.S_ISLNK(mode):
            continue  # its mode means nothing
        if mode & stat.S_IWOTH:
            return "every user may write it"
        if mode & stat.S_IWGRP and not _is_private(status.st_gid, owner):
            return f"the group {_group(status.st_gid)} may write it"
    return ""


def _trusted_users(sudo_uid: str) -> set[int]:
    """This user, root, and with sudo the user who called it."""
    called_by = {int(sudo_uid)} if os.geteuid() == 0 and sudo_uid.isdecimal() else set[int]()
    return {os.geteuid(), 0} | called_by


def _is_private(group: int, owner: int) -> bool:
    """Whether nobody but the owner and root is in the group, as on systems that make a group for
    each user and let it write by default."""
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


def _secrets(folder: Path, known: tuple[str, ...]) -> dict[str, str]:
    """Kubernetes allows neither capitals nor underscores in a secret's name, so the secret
    `trigger-token` is the setting TRIGGER_TOKEN. Other functions' secrets are left alone."""
    try:
        files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
        found = {path.name.upper().replace("-", "_"): path for path in files}
        return {name: _secret(path) for name, path in found.items() if name in known}
    except (OSError, TextError) as error:
        raise SettingsError(f"a secret in {str(folder)!r} cannot be read: {error}") from error


def _secret(path: Path) -> str:
    with open(path, "rb") as file:
        return decode_text(file.read(MAX_SECRET_BYTES), path.name).strip()

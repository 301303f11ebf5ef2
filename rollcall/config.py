"""Where settings come from: environment, then OpenFaaS secrets, `.env`, `credentials.env`."""

from __future__ import annotations

import io
from collections.abc import Mapping
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
    Raises SettingsError with a sentence that names the setting or the file.
    """
    known = setting_names()
    named = {name: value for name, value in environ.items() if name in known}
    template, filled_in = _file(folder / TEMPLATE), _file(folder / FILLED_IN)
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


def _file(path: Path) -> dict[str, str] | None:
    """The settings of a file; None if there is no such file.

    Every name in it has to be a setting; a name without `=` is left out. Values are taken as they
    stand: `${X}` in a secret is part of the secret.
    """
    try:
        if not path.exists():
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

"""Where settings come from: environment over OpenFaaS secrets over `credentials.env`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from rollcall.core.errors import SettingsError
from rollcall.core.settings import PLACEHOLDER, Settings, parse_settings, setting_names

SECRETS = Path("/var/openfaas/secrets")
CREDENTIALS = Path("credentials.env")
MAX_SECRET_BYTES = 65536


def load_settings(
    environ: Mapping[str, str],
    secrets: Path = SECRETS,
    credentials: Path = CREDENTIALS,
    *,
    offline: bool = False,
) -> Settings:
    """Raises SettingsError with a sentence that names the setting.

    `offline` is for commands that connect to nothing: they mind no placeholder that is left.
    """
    known = setting_names()
    named = {name: value for name, value in environ.items() if name in known}
    values = {**_credentials(credentials), **_secrets(secrets, known), **named}
    return parse_settings(_without_placeholders(values) if offline else values)


def _without_placeholders(values: Mapping[str, str]) -> dict[str, str]:
    """A key whose other half still is a placeholder has not been filled in either."""
    left = {name for name, value in values.items() if value == PLACEHOLDER}
    left |= {name.replace("SECRET_ACCESS_KEY", "ACCESS_KEY_ID") for name in left}
    left |= {name.replace("ACCESS_KEY_ID", "SECRET_ACCESS_KEY") for name in left}
    return {name: value for name, value in values.items() if name not in left}


def _credentials(path: Path) -> dict[str, str]:
    """Every name in that file has to be a setting; a name without value is left out.

    Values are taken as they stand: `${X}` in a secret is part of the secret.
    """
    if not path.is_file():
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{str(path)!r} cannot be read: {error}") from error
    for binding in bindings:
        if binding.error:
            raise SettingsError(f"line {binding.original.line} of {str(path)!r} is no NAME=value")
    return {each.key: each.value for each in bindings if each.key and each.value is not None}


def _secrets(folder: Path, known: tuple[str, ...]) -> dict[str, str]:
    """Kubernetes allows neither capitals nor underscores in a secret's name, so the secret
    `trigger-token` is the setting TRIGGER_TOKEN. Other functions' secrets are left alone."""
    try:
        files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
        found = {path.name.upper().replace("-", "_"): path for path in files}
        return {name: _secret(path) for name, path in found.items() if name in known}
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"a secret in {str(folder)!r} cannot be read: {error}") from error


def _secret(path: Path) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(MAX_SECRET_BYTES).strip()

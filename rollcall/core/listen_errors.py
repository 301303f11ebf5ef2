"""The error of a server that cannot listen on the address of a setting."""

from __future__ import annotations

import errno

from rollcall.core.errors import SettingsError


def cannot_listen(setting: str, address: str, error: OSError, users: str) -> SettingsError:
    """The SettingsError for `error`. `users` names the programs that may use the address."""
    if error.errno == errno.EADDRINUSE:
        return SettingsError(
            f"{setting} {address} is in use by another program, perhaps by {users}; stop that"
            f" program, or set {setting} to an address with another port"
        )
    return SettingsError(
        f"{setting} {address} cannot be used ({error.strerror}); set {setting} to an address of"
        " this machine with another port"
    )

"""The file with the users of the pages: a line for each, with name, role and hashed password.

    # name  role    password
    ada     editor  scrypt:32768:8:1$salt$hash
    ben     viewer  -

A user whose password is `-` cannot sign in with a password, only through a reverse proxy. The hash
is werkzeug's scrypt, a function that is slow and uses much memory on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from rollcall.atomic_files import replace_file
from rollcall.core.errors import PermanentError, SettingsError
from rollcall.locks import locked
from rollcall.web.users import ROLES, Role, User

NO_PASSWORD = "-"  # noqa: S105 (stands for a missing password)

MIN_PASSWORD_CHARS = 12
"""Shortest password. NIST SP 800-63B asks for 8 at least; these pages show personal data."""

MAX_PASSWORD_CHARS = 1024
"""Longer passwords are refused, because hashing them would take memory and time."""

MAX_FILE_BYTES = 1 << 20
"""Limit for the file: about 7,000 users."""

NAME_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

_UNKNOWN_USER_HASH = generate_password_hash("nobody has this password")
"""Checked for unknown names, so that the time of an answer does not reveal which names exist."""


class UserRefused(PermanentError):
    """A name or a password cannot be used."""

    code = "user_refused"
    status = 400


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A line of the file."""

    user: User
    hashed: str


class UserFile:
    """The file that WEB_USERS names. It is read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # In one tuple, because threads read the file at once: the users of an earlier version must
        # not be taken for those of a later stamp.
        self._known: tuple[tuple[int, int, int] | None, Mapping[str, StoredUser]] = (None, {})

    def users(self) -> Mapping[str, StoredUser]:
        """All users by name. Raises SettingsError if the file cannot be read."""
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._known
            if stamp != known[0]:
                known = self._known = stamp, _parse(self._read(), str(self.path))
        except OSError as error:
            raise SettingsError(
                f"WEB_USERS {str(self.path)!r} cannot be read ({error.strerror}); make it with"
                " `rollcall web user add NAME`"
            ) from error
        return known[1]

    def checked(self, name: str, password: str) -> StoredUser | None:
        """The user with this name, in any case, and this password; None if there is none."""
        found = meant_user(self.users(), name)
        has_password = found is not None and found.hashed != NO_PASSWORD
        hashed = found.hashed if found and has_password else _UNKNOWN_USER_HASH
        right = len(password) <= MAX_PASSWORD_CHARS and check_password_hash(hashed, password)
        return found if right and has_password else None

    def put(self, name: str, role: Role, password: str | None) -> bool:
        """Add a user, or change role and password. Return whether the user is new.

        Without a password, the user can sign in only through a reverse proxy. Raises UserRefused
        and SettingsError.
        """
        check_name(name)
        hashed = NO_PASSWORD if password is None else hashed_password(password)
        known: list[bool] = []

        def change(users: dict[str, StoredUser]) -> None:
            known.append(name in users)
            users[name] = StoredUser(User(name, role), hashed)

        self._change(change)
        return not known[-1]

    def remove(self, name: str) -> bool:
        """Remove a user, and return whether there was one."""
        removed: list[bool] = []
        self._change(lambda users: removed.append(users.pop(name, None) is not None))
        return removed[-1]

    def _change(self, change: Callable[[dict[str, StoredUser]], None]) -> None:
        path = self.path.resolve()
        try:
            with locked(path.parent):
                text = self._read() if path.exists() else ""
                users = dict(_parse(text, str(self.path)))
                change(users)
                replace_file(path, _render(users).encode())
        except OSError as error:
            raise SettingsError(
                f"WEB_USERS {str(self.path)!r} cannot be written ({error.strerror}); name a file in"
                " a folder that exists and that you may write to"
            ) from error

    def _read(self) -> str:
        with open(self.path, "rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
        if len(body) > MAX_FILE_BYTES:
            raise SettingsError(
                f"WEB_USERS {str(self.path)!r} has more than {MAX_FILE_BYTES} bytes"
            )
        return body.decode("utf-8", errors="replace")


def meant_user(users: Mapping[str, StoredUser], typed: str) -> StoredUser | None:
    """The user whose name somebody typed; None if there is none.

    Case matters only if the names of several users differ in nothing else. Every name is compared,
    so that the time does not reveal which names exist.
    """
    folded = typed.casefold()
    same = [each for name, each in users.items() if name.casefold() == folded]
    exact = [each for each in same if each.user.name == typed]
    found = exact or same
    return found[0] if len(found) == 1 else None


def check_name(name: str) -> None:
    """Raise UserRefused for a name that a line of the file cannot hold."""
    if not NAME_FORM.fullmatch(name):
        raise UserRefused(
            f"the user name {name!r:.80} cannot be used; it has 1 to 64 letters, digits, dots,"
            " dashes, underscores or @, and begins with a letter or a digit"
        )


def hashed_password(password: str) -> str:
    """The hash of a new password. Raises UserRefused for one that is too short or too long."""
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise UserRefused(
            f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters, not"
            f" {len(password)}; use several words"
        )
    return generate_password_hash(password)


def _parse(text: str, path: str) -> dict[str, StoredUser]:
    users = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 3 or fields[1] not in ROLES or not NAME_FORM.fullmatch(fields[0]):
            raise SettingsError(
                f"line {number} of WEB_USERS {path!r} is not `NAME viewer|editor HASH`; write it"
                " with `rollcall web user add NAME`"
            )
        name, role, hashed = fields
        users[name] = StoredUser(User(name, role), hashed)  # type: ignore[arg-type]
    return users


def _render(users: Mapping[str, StoredUser]) -> str:
    lines = [f"{name} {stored.user.role} {stored.hashed}" for name, stored in sorted(users.items())]
    return "\n".join(["# Users of Rollcall's pages: `rollcall web user --help`", *lines]) + "\n"

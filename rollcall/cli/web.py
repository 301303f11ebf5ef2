"""`rollcall web`: serve the pages, and manage the users who may see them."""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

import click

from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.forget_on_pages import EverywhereForgetting
from rollcall.cli.terminal import Group, new_secret, say, say_json, stdin_is_terminal
from rollcall.core.errors import SettingsError
from rollcall.core.page_hints import missing_on_pages
from rollcall.database.open_database import open_database, sqlite_path
from rollcall.wiring import build_engine, build_gallery_location, space_of

if TYPE_CHECKING:
    from rollcall.web.user_file import UserFile

# The modules of the pages are imported in the functions, because other commands run in images
# without the packages of the pages.


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
@command_errors
def web(context: click.Context) -> None:
    """Serve the pages that show who was in which video, until Ctrl-C.

    Settings come from the environment and .env; DATABASE_URL has to be that of the trigger.
    """
    if context.invoked_subcommand:
        return
    from rollcall.faces.face_jpeg import face_jpeg
    from rollcall.web.web_service import build_parts, listen

    chosen = settings()
    path = sqlite_path(chosen)
    is_new = path is not None and not path.exists()
    with closing(open_database(chosen)) as database:
        if is_new:
            say(
                f"new database {str(path)!r}; if a trigger runs, set DATABASE_URL to its database",
                err=True,
            )
        location = build_gallery_location(chosen)
        parts = build_parts(
            chosen,
            database,
            location,
            space_of(chosen),
            build_engine=lambda: build_engine(chosen),
            face_jpeg=face_jpeg,
            forgetting=EverywhereForgetting(chosen, location),
        )
        server = listen(chosen, parts)

        def stop(number: int, frame: FrameType | None) -> None:
            raise SystemExit(0)

        signal.signal(signal.SIGTERM, stop)
        say(f"pages: http://{chosen.web_listen}/", err=True)
        for hint in missing_on_pages(chosen):
            say(hint, err=True)
        with parts.rematcher.running():
            server.run()


@web.group(cls=Group)
def user() -> None:
    """Manage the users in the file WEB_USERS."""


file_option = click.option(
    "--file", "path", type=click.Path(path_type=Path), help="Use this file instead of WEB_USERS."
)


@user.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "editor"]),
    default="viewer",
    show_default=True,
    help="A viewer looks; an editor also corrects, enrols and forgets people.",
)
@click.option(
    "--no-password",
    is_flag=True,
    help="The user comes through a reverse proxy (WEB_PROXY_HEADER), and has no password here.",
)
@file_option
@command_errors
def add(name: str, role: Literal["viewer", "editor"], no_password: bool, path: Path | None) -> None:
    """Add the user NAME, or change role and password.

    Asks for the password twice, or reads it from the first line of the standard input.
    """
    users = _user_file(path)
    from rollcall.web.user_file import check_name

    check_name(name)  # before anybody types a password
    password = None if no_password else _new_password(name)
    added = users.put(name, role, password)
    say(f"{'added' if added else 'changed'} {name} ({role}) in {users.path}")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@file_option
@command_errors
def list_users(as_json: bool, path: Path | None) -> None:
    """List the users with their roles."""
    from rollcall.web.user_file import NO_PASSWORD

    found = _user_file(path).users()
    if as_json:
        say_json(
            [
                {"name": name, "role": each.user.role, "password": each.hashed != NO_PASSWORD}
                for name, each in found.items()
            ]
        )
        return
    for name, each in found.items():
        proxied = ", through a reverse proxy only" if each.hashed == NO_PASSWORD else ""
        say(f"{name}: {each.user.role}{proxied}")


@user.command("remove")
@click.argument("name")
@file_option
@command_errors
def remove_user(name: str, path: Path | None) -> None:
    """Remove the user NAME, who is signed out at once."""
    users = _user_file(path)
    if not users.remove(name):
        say(f"{name!r} is not a user in {users.path}", err=True)
        sys.exit(COMMAND_FAILED)
    say(f"removed {name} from {users.path}")


def _user_file(path: Path | None) -> UserFile:
    from rollcall.web.user_file import UserFile

    chosen = path or Path(settings(offline=True).web_users or "")
    if not chosen.name:
        raise SettingsError(
            "WEB_USERS is not set, so there is no file for the users; add --file PATH, or set"
            " WEB_USERS in the environment, or in .env or credentials.env in the folder"
            f" {str(Path.cwd())!r}"
        )
    return UserFile(chosen)


def _new_password(name: str) -> str:
    if not stdin_is_terminal():
        return sys.stdin.readline().rstrip("\r\n")
    return new_secret(f"Password of {name}")

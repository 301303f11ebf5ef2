"""`rollcall up`: a stack until Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote

from devstack.aws_profile import aws_commands, write_private
from devstack.build_context import REPOSITORY
from devstack.openfaas_stack import OpenFaasStack
from devstack.processes import StartFailed
from devstack.store_servers import StoreName
from rollcall.cli.terminal import say, say_block
from rollcall.core.errors import GalleryError
from rollcall.core.gallery import empty_gallery
from rollcall.core.settings import Settings, setting_names
from rollcall.core.tolerance import gallery_tolerance
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_places import FilePlace, default_gallery, described, read_gallery
from rollcall.stores.boto import dynamodb_client
from rollcall.stores.dynamodb import ensure_table
from rollcall.wiring import space_of


def run_up(
    folder: Path,
    environ: Mapping[str, str],
    encodings: str,
    pause: Callable[[], None],
    store: StoreName = "embedded",
    chosen: Settings | None = None,
) -> None:
    """Starts everything, says how to use it, and stops it at Ctrl-C or SIGTERM.

    `encodings` is the setting ENCODINGS. Raises GalleryError for a gallery that cannot be used.
    """
    # Both, because a shell's background jobs start with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartFailed(f"{str(folder)!r} cannot be made: {error.strerror}") from error
    place = _gallery(encodings)
    settings = chosen or Settings()
    space = space_of(settings)
    known = read_gallery(place, space)
    say_block(described(place, known), err=True)
    if len(known):
        say(str(gallery_tolerance(known, space, settings.tolerance)), err=True)
    earlier = folder / "gallery.npz"
    if not encodings and earlier.is_file():
        say(
            f"The file {earlier} of an earlier version is not used; name it with --encodings.",
            err=True,
        )
    try:
        overrides = {"ENCODINGS": str(place.path.resolve()), **_refresh(chosen or Settings())}
        with OpenFaasStack(folder, environ, overrides, store, chosen) as stack:
            ensure_table(dynamodb_client(stack.settings), stack.settings.student_table)
            token = "your TRIGGER_TOKEN" if chosen and chosen.trigger_token else ""
            for line in _usage(stack, token or stack.settings.trigger_token).split("\n"):
                say(line)
            _wait(stack, pause)
    except KeyboardInterrupt:
        say("stopped")


def _refresh(chosen: Settings) -> dict[str, str]:
    """New people are recognised at once while it runs, unless the user has set another time."""
    unset = chosen.encodings_refresh_s == Settings().encodings_refresh_s
    return {"ENCODINGS_REFRESH_S": "1"} if unset else {}


def _gallery(encodings: str) -> FilePlace:
    """The same gallery that the other commands use; the default one is made when it is missing."""
    if encodings.startswith("s3://"):
        raise GalleryError(
            f"`rollcall up` has a store of its own and cannot read {encodings};"
            " name a file with --encodings or ENCODINGS"
        )
    if encodings:
        return FilePlace(Path(encodings))
    place = default_gallery()
    place.change(lambda body: render_gallery(empty_gallery()) if body is None else None)
    return place


def _wait(stack: OpenFaasStack, pause: Callable[[], None]) -> None:
    while not (dead := stack.dead()):
        pause()
    raise StartFailed(f"{dead[0].name} ended by itself; see {dead[0].log}")


def _usage(stack: OpenFaasStack, password: str) -> str:
    """Lines to paste; `env.sh` holds the settings for the scripts.

    All of them, so that `.env` and `credentials.env` change nothing.
    """
    script = stack.folder / "env.sh"
    values = dict.fromkeys(setting_names(), "") | stack.values
    write_private(script, "".join(f"export {n}={quote(v)}\n" for n, v in values.items()))
    chosen = stack.settings
    commands = "\n".join(f"  {line}" for line in aws_commands(chosen, stack.folder))
    return f"""
Running; logs are in {stack.folder}. {" ".join(stack.hints)}
Ctrl-C stops everything. Videos, results and records are gone then; the gallery stays.

  cd {quote(str(REPOSITORY))} && . .venv/bin/activate
  . {quote(str(script))}
  rollcall enrol NAME PHOTO
  python upload_data.py data/student_data.json
  python workload.py FOLDER

With the AWS CLI (apt-get install awscli): upload VIDEO.mp4, list the results, read its result:

{commands}

Status page: {stack.trigger_url}/ (any user, password {password})
"""

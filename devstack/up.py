"""`rollcall up`: run the flow on this machine until Ctrl-C."""

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
from rollcall.core.errors import GalleryError, GalleryMissing
from rollcall.core.gallery import empty_gallery
from rollcall.core.page_hints import missing_on_pages
from rollcall.core.settings import Settings, default_texts
from rollcall.core.tolerance import gallery_tolerance
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import (
    GalleryFile,
    default_gallery,
    describe_gallery,
    read_gallery,
)
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
    """Start the flow, print how to use it, and stop it at Ctrl-C or SIGTERM.

    `encodings` is the value of ENCODINGS. `pause` is called between checks of the processes.
    Raises GalleryError if the gallery cannot be used, and StartFailed if a process ends.
    """
    # SIGINT needs a handler too, because a shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartFailed(f"cannot create the folder {str(folder)!r}: {error.strerror}") from error
    gallery_file, settings = _gallery(encodings), chosen or Settings()
    _describe_gallery(gallery_file, settings)
    earlier = folder / "gallery.npz"
    if not encodings and earlier.is_file():
        say(
            f"The gallery {earlier} of an earlier version is not used; to use it, add"
            f" --encodings {earlier}",
            err=True,
        )
    try:
        overrides = {"ENCODINGS": str(gallery_file.path.resolve()), **_refresh(settings)}
        with OpenFaasStack(folder, environ, overrides, store, chosen) as stack:
            ensure_table(dynamodb_client(stack.settings), stack.settings.student_table)
            stack.start_pages()
            # If the user has set a token, it is not printed, because terminals keep their output.
            token = "your TRIGGER_TOKEN" if chosen and chosen.trigger_token else ""
            for line in _usage(stack, token or stack.settings.trigger_token).split("\n"):
                say(line)
            _wait_for_end(stack, pause)
    except KeyboardInterrupt:
        say("stopped")


def _describe_gallery(gallery_file: GalleryFile, settings: Settings) -> None:
    """Print which gallery is used, and its tolerance unless it is empty."""
    space = space_of(settings)
    known = read_gallery(gallery_file, space)
    say_block(describe_gallery(gallery_file, known), err=True)
    if len(known):
        say(str(gallery_tolerance(known, space, settings.tolerance)), err=True)


def _refresh(chosen: Settings) -> dict[str, str]:
    """Return settings that reload the gallery every second, so that new people are recognised soon.

    They are empty if the user has set a refresh time.
    """
    unset = chosen.encodings_refresh_s == Settings().encodings_refresh_s
    return {"ENCODINGS_REFRESH_S": "1"} if unset else {}


def _gallery(encodings: str) -> GalleryFile:
    """Return the gallery that the other commands use. An empty gallery is made if there is none.

    People often upload videos first, and then name the unknown faces. Raises GalleryError if
    `encodings` names a gallery in a bucket, or a file in a folder that does not exist.
    """
    if encodings.startswith("s3://"):
        raise GalleryError(
            f"`rollcall up` uses a store of its own and cannot read {encodings};"
            " set --encodings or ENCODINGS to a file"
        )
    gallery_file = GalleryFile(Path(encodings)) if encodings else default_gallery()
    try:
        missing = "" if gallery_file.load() else "was an empty file"
    except GalleryMissing:
        missing = "did not exist"
    if missing:
        # Another command may have written the gallery since it was read.
        gallery_file.update(lambda body: None if body else render_gallery(empty_gallery()))
        # The path may contain a typing error, so the message shows it.
        say(
            f"The gallery {str(gallery_file)!r} {missing}, so a new one without people was made."
            " Until you enrol people or name their faces, everybody is unknown.",
            err=True,
        )
    return gallery_file


def _wait_for_end(stack: OpenFaasStack, pause: Callable[[], None]) -> None:
    try:
        while not (dead := stack.dead()):
            pause()
    except KeyboardInterrupt:
        say("stopping ...")
        raise
    raise StartFailed(f"{dead[0].name} ended unexpectedly; see {dead[0].log}")


def _missing_on_pages(settings: Settings) -> str:
    """The limits of the pages with these settings, one on each line."""
    return "".join(f"\n  {hint}" for hint in missing_on_pages(settings))


def _usage(stack: OpenFaasStack, password: str) -> str:
    """Write `env.sh` with the settings for the scripts, and return commands to paste."""
    script = stack.folder / "env.sh"
    # The file sets every setting, so that `.env` and `credentials.env` have no effect.
    values = default_texts() | stack.values
    write_private(
        script, "".join(f"export {name}={quote(text)}\n" for name, text in values.items())
    )
    commands = "\n".join(f"  {line}" for line in aws_commands(stack.settings, stack.folder))
    return f"""Pages: {stack.pages_url}/{_missing_on_pages(stack.settings)}

Running; logs are in {stack.folder}. {" ".join(stack.hints)}
This is for trying: Ctrl-C stops everything, and deletes videos, results, student records and the
list of changes. The gallery stays, with all corrections, which cannot be undone then.

In a second terminal:

  cd {quote(str(REPOSITORY))} && . .venv/bin/activate
  . {quote(str(script))}
  rollcall enrol NAME PHOTO      # one person; --folder PEOPLE enrols many
  python workload.py FOLDER      # uploads the videos in FOLDER
  python upload_data.py students.json  # optional: majors and years, as in data/student_data.json

With the AWS CLI (apt-get install awscli): upload VIDEO.mp4, list the results, print its result:

{commands}

The trigger's own status, for operators: {stack.trigger_url}/ (any user, password {password})
"""

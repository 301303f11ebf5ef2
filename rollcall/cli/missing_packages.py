"""The message of a script that is started without its environment. Standard library only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

BAD_USAGE = 2
WAY_OUT = "in the repository, run: make setup && . .venv/bin/activate"


@contextmanager
def explain_missing_packages() -> Iterator[None]:
    """For the imports of a script: ends it with one sentence when a package is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name == "rollcall":
            raise
        _end(f"the Python package {name} is not installed for {sys.executable}; {WAY_OUT}")
    except (ImportError, SyntaxError):
        if sys.version_info >= (3, 11):  # noqa: UP036
            raise
        found = ".".join(map(str, sys.version_info[:2]))
        _end(f"Python 3.11 or newer is needed, and this is {found}; {WAY_OUT}")


def _end(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(BAD_USAGE)

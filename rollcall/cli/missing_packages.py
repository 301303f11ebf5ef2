"""Explain why a script cannot start, if it runs outside the virtual environment.

This module imports only the standard library, and has to run on old versions of Python.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

BAD_USAGE = 2
"""The same exit code as in `entry`, which cannot be imported here."""
ADVICE = "in the repository, run: make setup && . .venv/bin/activate"


@contextmanager
def explain_missing_packages() -> Iterator[None]:
    """Wrap the imports of a script. If a package is missing, one sentence says so."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name == "rollcall":
            raise  # our own mistake, so the traceback is useful
        _end(f"the Python package {name} is not installed for {sys.executable}; {ADVICE}")
    except (ImportError, SyntaxError):
        if sys.version_info >= (3, 11):  # noqa: UP036
            raise
        version = ".".join(map(str, sys.version_info[:2]))
        _end(f"Python 3.11 or newer is needed, but this is {version}; {ADVICE}")


def _end(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(BAD_USAGE)

"""Access to the parts of the repository that no installation contains."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import rollcall
from rollcall.core.errors import PermanentError


class NotACheckout(PermanentError):
    """The package was installed without the rest of the repository."""


def import_from_checkout(module: str) -> ModuleType:
    """Import a module that lies beside the package `rollcall` in a checkout.

    Raises NotACheckout when the package was installed elsewhere.
    """
    repository = Path(rollcall.__file__).resolve().parents[1]
    if not (repository / module.partition(".")[0] / "__init__.py").is_file():
        raise NotACheckout(
            "this needs a checkout of the repository, and pip installed only the commands;"
            " run it in the checkout, after: make setup && . .venv/bin/activate"
        )
    if str(repository) not in sys.path:
        sys.path.append(str(repository))
    return importlib.import_module(module)

"""Import parts of the repository that pip does not install, such as `devstack`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import rollcall
from rollcall.core.errors import PermanentError


class NotACheckout(PermanentError):
    """The package `rollcall` is installed without the rest of the repository."""


def import_from_checkout(module: str) -> ModuleType:
    """Import a module that lies beside the package `rollcall` in a checkout.

    Raises NotACheckout if `rollcall` is not imported from a checkout.
    """
    repository = Path(rollcall.__file__).resolve().parents[1]
    if not (repository / module.partition(".")[0] / "__init__.py").is_file():
        raise NotACheckout(
            "this command needs a checkout of the repository, but pip installed only the package;"
            " run it in a checkout, after: make setup && . .venv/bin/activate"
        )
    # An editable installation puts only `rollcall` on the path, not the repository.
    if str(repository) not in sys.path:
        sys.path.append(str(repository))
    return importlib.import_module(module)

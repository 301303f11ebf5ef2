"""The function's folder as faas-cli assembles it."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def assemble(target: Path, stack: str = "project3.yml", root: Path = REPOSITORY) -> Path:
    """`target/function`: the handler's folder, and beside its files what `configuration.copy`
    names. Returns `target`, which belongs on the path of whoever imports `function.handler`.
    """
    document = yaml.safe_load((root / stack).read_text())
    (function,) = document["functions"].values()
    folder = target / "function"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / function["handler"], folder, ignore=_NO_CACHE)
    for name in document["configuration"]["copy"]:
        shutil.copytree(root / name, folder / Path(name).name, ignore=_NO_CACHE)
    return target


_NO_CACHE = shutil.ignore_patterns("__pycache__")

"""Assemble the files of the container images without a container engine."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]

DOCKERFILE = "aws_lambda/Dockerfile"


def assemble(target: Path, stack: str = "project3.yml", root: Path = REPOSITORY) -> Path:
    """Copy the files of an OpenFaaS function to `target/function`, as faas-cli does.

    These are the handler's folder and the folders in `configuration.copy`. Returns `target`; if it
    is in `sys.path`, `function.handler` can be imported.
    """
    document = yaml.safe_load((root / stack).read_text())
    (function,) = document["functions"].values()
    folder = target / "function"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / function["handler"], folder, ignore=_NO_CACHE)
    for name in document["configuration"]["copy"]:
        shutil.copytree(root / name, folder / Path(name).name, ignore=_NO_CACHE)
    return target


def assemble_image(target: Path, dockerfile: str = DOCKERFILE, root: Path = REPOSITORY) -> Path:
    """Copy the files that the last stage of a Dockerfile copies from the repository.

    Returns `target`, which stands for the root folder of the image. A pattern that matches no file
    is ignored, as in BuildKit.
    """
    shutil.rmtree(target, ignore_errors=True)
    last_stage = re.split(r"^FROM ", (root / dockerfile).read_text(), flags=re.MULTILINE)[-1]
    for line in re.findall(r"^COPY (?!--from)(.+)$", last_stage, re.MULTILINE):
        *sources, destination = [word for word in shlex.split(line) if not word.startswith("--")]
        for source in (path for pattern in sources for path in root.glob(pattern)):
            _copy(source, target / destination.lstrip("/"), into=destination.endswith("/"))
    return target


def _copy(source: Path, destination: Path, *, into: bool) -> None:
    if source.is_dir():
        # COPY copies the content of a folder, not the folder itself.
        shutil.copytree(source, destination, ignore=_NO_CACHE, dirs_exist_ok=True)
        return
    file = destination / source.name if into else destination
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, file)


_NO_CACHE = shutil.ignore_patterns("__pycache__")

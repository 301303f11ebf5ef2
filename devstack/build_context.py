"""What ends up in the functions' images, put together without a container engine."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]

DOCKERFILE = "aws_lambda/Dockerfile"


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


def assemble_image(target: Path, dockerfile: str = DOCKERFILE, root: Path = REPOSITORY) -> Path:
    """What the last stage of a Dockerfile copies from the repository, with `target` as its `/`.

    Returns `target`. Patterns that match nothing copy nothing, as in BuildKit.
    """
    shutil.rmtree(target, ignore_errors=True)
    last_stage = re.split(r"^FROM ", (root / dockerfile).read_text(), flags=re.MULTILINE)[-1]
    for line in re.findall(r"^COPY (?!--from)(.+)$", last_stage, re.MULTILINE):
        *sources, place = [word for word in shlex.split(line) if not word.startswith("--")]
        for source in (path for pattern in sources for path in root.glob(pattern)):
            _copy(source, target / place.lstrip("/"), into=place.endswith("/"))
    return target


def _copy(source: Path, place: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, place, ignore=_NO_CACHE, dirs_exist_ok=True)
        return
    place = place / source.name if into else place
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)


_NO_CACHE = shutil.ignore_patterns("__pycache__")

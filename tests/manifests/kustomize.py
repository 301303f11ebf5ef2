"""Build the overlays in deploy/ with kubectl, and check their kustomizations."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from manifests.checks import REPOSITORY, Document, parse
from support.needs import need

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
DEPLOY = REPOSITORY / "deploy"
ONE = DEPLOY / "trigger" / "overlays" / "one"
MANY = DEPLOY / "trigger" / "overlays" / "many"
WEB_ONE = DEPLOY / "web" / "overlays" / "one"
WEB_MANY = DEPLOY / "web" / "overlays" / "many"
DATABASE = DEPLOY / "database"
MONITORING = DEPLOY / "monitoring"
SECONDS = 60


def build(*folders: Path) -> list[Document]:
    """Return what `kubectl apply -k` would apply for each folder.

    kubectl itself refuses unknown keys, missing files and patches that match no resource.
    """
    return [
        document
        for folder in folders
        for document in parse(_rendered(folder), str(folder.relative_to(REPOSITORY)))
    ]


@cache
def _rendered(folder: Path) -> str:
    need(KUBECTL.exists(), "kubectl is not installed: make dev")
    done = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def unlisted_files(document: Document, folder: Path) -> Iterator[str]:
    """Check that a kustomization uses every file of its folder, so none is left out by mistake."""
    body = document.body
    named = [*body.get("resources", ()), *(each["path"] for each in body.get("patches", ()))]
    for generator in body.get("configMapGenerator", ()):
        named += [each.partition("=")[2] or each for each in generator.get("files", ())]
    present = {path.name for path in folder.iterdir() if path.suffix in (".yaml", ".json")}
    for name in sorted(present - set(named) - {"kustomization.yaml"}):
        yield f"{document}: {name} is not listed"

"""The rules for imports, checked in the source code."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import REPOSITORY
from support.syntax_trees import syntax_tree

# CONTRIBUTING.md quotes this table. A folder of `rollcall` may import itself and these modules.
MAY_IMPORT = {
    "core": "numpy",
    "faces": "core atomic_files numpy cv2 dlib face_recognition onnx onnxruntime",
    "video": "core numpy av",
    "gallery": "core locks atomic_files numpy PIL",
    "stores": "core numpy boto3 botocore",
    "database": "core sqlalchemy alembic psycopg",
    "queues": "core database sqlalchemy",
    "recognition": "core numpy",
    "function": "core pipeline logs tracing flask werkzeug",
    "trigger": "core stores database queues index http_client logs tracing"
    " flask werkzeug markupsafe waitress prometheus_client cryptography",
    "worker": "core stores database queues index gallery locks atomic_files",
    "index": "core database recognition numpy sqlalchemy",
    "corrections": "core database index gallery recognition numpy sqlalchemy",
    "web": "core stores database queues index corrections gallery recognition locks atomic_files"
    " flask flask_wtf werkzeug markupsafe waitress numpy sqlalchemy",
}
ONE_VENDOR_EACH = ("gallery", "stores")
READ_THE_ENVIRONMENT = {
    "rollcall/faces/runtime.py",  # sets a variable, but reads none
    "rollcall/cli/entry.py",
    "rollcall/cli/main.py",
    "devstack/demo.py",
    "devstack/function_server.py",
    "OpenFaas/project3/awss3.py",
    "aws_lambda/handler.py",
}

PACKAGE = sorted((REPOSITORY / "rollcall").rglob("*.py"))
SHIPPED = [
    *PACKAGE,
    *sorted(REPOSITORY.glob("*.py")),
    *(path for home in ("OpenFaas", "aws_lambda") for path in (REPOSITORY / home).rglob("*.py")),
]
EVERYWHERE = [
    *SHIPPED,
    *REPOSITORY.glob("devstack/*.py"),
    *REPOSITORY.glob("tests/**/*.py"),
    *REPOSITORY.glob("bench*/*.py"),
]


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in PACKAGE}


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(REPOSITORY)) for path in paths]


def imported(path: Path) -> set[str]:
    """Return the full names of imported modules.

    `from a import b` counts as a.b if that is a module of ours, otherwise as a.
    """
    found: set[str] = set()
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names} & NAMES
            found |= inner or {module}
    return found


def parts_and_vendors(path: Path) -> set[str]:
    """Return the imported packages; for imports from `rollcall`, the part below `rollcall`."""
    found = set()
    for name in imported(path):
        first, _, rest = name.partition(".")
        found.add(rest.partition(".")[0] if first == "rollcall" else first)
    return found - set(sys.stdlib_module_names)


def folder_of(path: Path) -> str:
    """Return the folder of `rollcall` that contains the file; empty for a file beside them."""
    return "/".join(path.relative_to(REPOSITORY / "rollcall").parts[:-1][:1])


FOLDERS = [path for path in PACKAGE if folder_of(path) in MAY_IMPORT]


@pytest.mark.parametrize("path", FOLDERS, ids=relative(FOLDERS))
def test_a_folder_imports_only_what_the_table_allows(path: Path) -> None:
    folder = folder_of(path)
    assert parts_and_vendors(path) <= {folder, *MAY_IMPORT[folder].split()}


def test_every_folder_has_a_line_in_the_table() -> None:
    folders = {folder_of(path) for path in PACKAGE} - {""}
    assert folders - {"cli"} == set(MAY_IMPORT)  # `cli` may import everything


def test_contributing_quotes_the_table() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = [f"{folder:<12} {allowed}" for folder, allowed in MAY_IMPORT.items()]
    assert "\n".join(lines) in text


@pytest.mark.parametrize("folder", ONE_VENDOR_EACH)
def test_a_module_talks_to_at_most_one_vendor(folder: str) -> None:
    vendors = set(MAY_IMPORT[folder].split()) - {"core", "locks", "atomic_files", "numpy"}
    for path in (REPOSITORY / "rollcall" / folder).glob("*.py"):
        found = parts_and_vendors(path) & vendors
        assert len(found - {"boto3"}) <= 1, path  # boto3 and botocore are one vendor


CORE = sorted((REPOSITORY / "rollcall" / "core").glob("*.py"))


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_has_no_io(path: Path) -> None:
    forbidden = {"os", "pathlib", "socket", "subprocess", "sqlite3", "tempfile", "threading"}
    if path.name == "protocols.py":  # its stores download to a path
        forbidden.remove("pathlib")
    assert not imported(path) & forbidden


LOWER = [path for path in PACKAGE if path.parent.name not in ("cli", "trigger", "worker", "web")]


@pytest.mark.parametrize("path", LOWER, ids=relative(LOWER))
def test_lower_layers_do_not_import_the_hosts(path: Path) -> None:
    if path.name == "__main__.py":
        return
    hosts = {"cli", "trigger", "worker", "function", "web"} - {path.parent.name}
    assert not parts_and_vendors(path) & hosts


@pytest.mark.parametrize("path", SHIPPED, ids=relative(SHIPPED))
def test_shipped_code_does_not_import_development_folders(path: Path) -> None:
    assert not parts_and_vendors(path) & {"devstack", "benchmarks", "tests", "support"}


@pytest.mark.parametrize("path", PACKAGE, ids=relative(PACKAGE))
def test_imports_are_absolute(path: Path) -> None:
    """As `function.rollcall`, errors would be different classes, and `except` would miss them."""
    relative_ones = [
        node
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative_ones
    assert not [name for name in imported(path) if name.startswith("function.rollcall")]


def test_file_names_are_unique_within_the_package() -> None:
    names = Counter(path.name for path in PACKAGE if path.name != "__init__.py")
    assert [name for name, times in names.items() if times > 1] == []


def test_only_the_module_that_disables_telemetry_imports_onnxruntime() -> None:
    importers = [path for path in EVERYWHERE if "onnxruntime" in set(_first_names(path))]
    assert relative(importers) == ["rollcall/faces/runtime.py"]


def _first_names(path: Path) -> Iterator[str]:
    """Yield the top-level name of each import."""
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_only_one_module_is_an_http_client() -> None:
    """This module limits answers. boto3, the other client, has its own tests."""
    clients = {"httpx", "httpcore", "h11", "requests", "urllib3", "aiohttp"}
    found = [
        path
        for path in PACKAGE
        if parts_and_vendors(path) & clients or "http.client" in imported(path)
    ]
    assert relative(found) == ["rollcall/http_connection.py"]
    assert not [path for path in PACKAGE if "urlopen" in path.read_text(encoding="utf-8")]


def reads_environment(path: Path) -> bool:
    """Return whether a file uses `os.environ`, `os.getenv` or the like, however imported."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "load_dotenv"}
    for node in ast.walk(syntax_tree(path)):
        match node:
            case ast.Attribute(ast.Name("os"), attribute) if attribute in names:
                return True
            case ast.ImportFrom("os" | "dotenv", imports) if names & {a.name for a in imports}:
                return True
    return False


def test_only_entry_points_read_the_environment() -> None:
    paths = [*SHIPPED, *sorted(REPOSITORY.glob("devstack/*.py"))]
    found = {path for path in paths if reads_environment(path)}
    assert set(relative(sorted(found))) == READ_THE_ENVIRONMENT

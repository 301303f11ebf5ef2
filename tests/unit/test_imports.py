"""Section 1 of the design: who may import whom, read from the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import REPOSITORY

MODULES = sorted((REPOSITORY / "rollcall").rglob("*.py"))
HOMES = [path for home in ("OpenFaas", "aws_lambda") for path in (REPOSITORY / home).rglob("*.py")]
SCRIPTS = sorted([*REPOSITORY.glob("*.py"), *HOMES])
MIDDLE = (
    "recognition",
    "pipeline",
    "galleries",
    "gallery_files",
    "gallery_objects",
    "enrolment",
    "forgetting",
    "locks",
    "looking",
    "memory_limit",
    "refining",
    "scratch",
    "searching",
    "video_files",
)
TOP = ("trigger", "worker", "local", "tools", "function")
VENDORS = {
    "boto": {"boto3", "botocore"},
    "dynamodb": {"botocore"},
    "http_client": {"httpcore"},
    "pillow_photo": {"PIL"},
    "sns_signature": {"cryptography"},
    "whole_answers": {"botocore"},
}
SHARED = ("core", "adapters.boto", "adapters.whole_answers")
"""What adapters may import."""
VIDEO_VENDORS = {"numpy", "av"}
FACE_VENDORS = {"numpy", "cv2", "dlib", "face_recognition", "onnx", "onnxruntime"}
READ_THE_ENVIRONMENT = {
    "rollcall/faces/runtime.py",  # sets a variable, and reads none
    "rollcall/tools/entry.py",
    "rollcall/tools/cli.py",
    "rollcall/tools/demo.py",
    "rollcall/local/python3_http.py",
    "OpenFaas/project3/awss3.py",
    "aws_lambda/handler.py",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(REPOSITORY)) for path in paths]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Full names of modules; `from a import b` counts as a and, where that is a module, a.b."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= set(_from(node))
    return found


def _from(node: ast.ImportFrom) -> Iterator[str]:
    assert not node.level, "rollcall imports by full names"
    assert node.module
    inner = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
    yield from inner or {node.module}


NAMES = {name_of(path) for path in MODULES}


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name.split(".")[0] == "rollcall"}


def others(path: Path) -> set[str]:
    """First names of what is neither ours nor of the standard library."""
    first = {name.split(".")[0] for name in imported(path) - ours(path)}
    return first - set(sys.stdlib_module_names)


def below(folder: str) -> list[Path]:
    return sorted((REPOSITORY / "rollcall" / folder).glob("*.py"))


def within(name: str, *packages: str) -> bool:
    return any(f"{name}.".startswith(f"rollcall.{package}.") for package in packages)


@pytest.mark.parametrize("path", below("core"), ids=lambda path: path.name)
def test_core_imports_core_the_standard_library_and_numpy(path: Path) -> None:
    assert all(within(name, "core") for name in ours(path))
    assert others(path) <= {"numpy"}


@pytest.mark.parametrize("path", below("core"), ids=lambda path: path.name)
def test_core_has_no_io(path: Path) -> None:
    forbidden = {"os", "pathlib", "socket", "subprocess", "sqlite3", "tempfile", "threading"}
    assert not (imported(path) & forbidden) - ({"pathlib"} if path.name == "seams.py" else set())


@pytest.mark.parametrize("path", below("adapters"), ids=lambda path: path.name)
def test_an_adapter_imports_core_and_one_vendor(path: Path) -> None:
    assert all(within(name, *SHARED) for name in ours(path))
    assert others(path) - {"numpy"} == VENDORS.get(path.stem, set())


@pytest.mark.parametrize("path", below("adapters/video"), ids=lambda path: path.name)
def test_the_decoder_imports_core_and_ffmpeg(path: Path) -> None:
    assert all(within(name, "core", "adapters.video") for name in ours(path))
    assert others(path) <= VIDEO_VENDORS


@pytest.mark.parametrize("path", below("faces"), ids=lambda path: path.name)
def test_an_engine_imports_core_and_what_sees_faces(path: Path) -> None:
    assert all(within(name, "core", "faces") for name in ours(path))
    assert others(path) <= FACE_VENDORS


EVERYWHERE = [
    *MODULES,
    *SCRIPTS,
    *REPOSITORY.glob("tests/**/*.py"),
    *REPOSITORY.glob("bench*/*.py"),
]


def test_onnxruntime_is_imported_in_one_place_which_switches_its_telemetry_off() -> None:
    direct = [path for path in EVERYWHERE if "onnxruntime" in {i.split(".")[0] for i in _all(path)}]
    assert relative(direct) == ["rollcall/faces/runtime.py"]


def _all(path: Path) -> Iterator[str]:
    """First arguments of every import, relative ones of other folders included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("name", MIDDLE)
def test_the_story_imports_core_alone(name: str) -> None:
    path = REPOSITORY / "rollcall" / f"{name}.py"
    assert all(within(each, "core", *MIDDLE) for each in ours(path))
    assert others(path) <= {"numpy"}


def test_one_module_speaks_http() -> None:
    """Any other client would have to keep the limits of answers anew. boto3 has its own tests."""
    clients = {"httpx", "httpcore", "requests", "urllib3", "aiohttp"}
    found = [path for path in MODULES if others(path) & clients or "http.client" in imported(path)]
    assert relative(found) == ["rollcall/adapters/http_client.py"]
    opened = [path for path in MODULES if "urlopen" in path.read_text(encoding="utf-8")]
    assert opened == []


LOWER = [path for path in MODULES if not within(name_of(path), *TOP, "__main__")]


@pytest.mark.parametrize("path", LOWER, ids=relative(LOWER))
def test_nothing_below_imports_the_top(path: Path) -> None:
    assert not [name for name in ours(path) if within(name, *TOP)]


@pytest.mark.parametrize("folder", ["function", "trigger", "worker"])
def test_servers_import_neither_each_other_nor_tools(folder: str) -> None:
    rest = [each for each in TOP if each != folder]
    for path in below(folder):
        assert not [name for name in ours(path) if within(name, *rest)]


@pytest.mark.parametrize("path", MODULES, ids=relative(MODULES))
def test_the_package_never_has_a_second_identity(path: Path) -> None:
    """`function.rollcall` would be another module, and `except` would stop matching."""
    assert not [name for name in imported(path) if name.startswith("function.rollcall")]


def reads_environment(path: Path) -> bool:
    """`os.environ`, `os.getenv` and what is like them, however it was imported."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "load_dotenv"}
    for node in ast.walk(tree(path)):
        match node:
            case ast.Attribute(ast.Name("os"), attribute) if attribute in names:
                return True
            case ast.ImportFrom("os" | "dotenv", imports) if names & {a.name for a in imports}:
                return True
    return False


def test_only_entry_points_read_the_environment() -> None:
    found = {path for path in [*MODULES, *SCRIPTS] if reads_environment(path)}
    assert set(relative(sorted(found))) == READ_THE_ENVIRONMENT

"""Scripts that are run with a Python that lacks their packages."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.needs import REPOSITORY

from rollcall.cli.missing_packages import explain_missing_packages

SCRIPTS = [path.name for path in sorted(REPOSITORY.glob("*.py"))]


@pytest.mark.parametrize("words", [*([name] for name in SCRIPTS), ["-m", "rollcall"]], ids=" ".join)
def test_one_sentence_says_how_to_set_up_the_environment(words: list[str]) -> None:
    """With -S, Python finds no installed packages."""
    done = subprocess.run(
        [sys.executable, "-S", *words], cwd=REPOSITORY, env={}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: the Python package click is not installed for {sys.executable};"
        " in the repository, run: make setup && . .venv/bin/activate\n"
    )


def test_a_missing_module_of_rollcall_is_not_reported_as_a_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError), explain_missing_packages():
        raise ModuleNotFoundError("no", name="rollcall.gone")


def test_other_import_errors_are_not_changed() -> None:
    with pytest.raises(ImportError, match="odd"), explain_missing_packages():
        raise ImportError("odd")


def test_an_old_python_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    with pytest.raises(SystemExit) as ended, explain_missing_packages():
        raise ImportError("cannot import name 'Self'")
    assert ended.value.code == 2
    assert "Python 3.11 or newer is needed, but this is 3.10;" in capsys.readouterr().err

"""The syntax trees of Python files."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def syntax_tree(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    try:
        return ast.parse(text)
    except SystemError:
        # Python 3.11 raises it if finalizers of another test run during `ast.parse`
        # (https://github.com/python/cpython/issues/106905).
        return ast.parse(text)

"""Fingerprints of code: what a result depends on, blind to comments and docstrings."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PACKAGE = "quietdial."
_WITH_TEXT = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def _file_of(module: str) -> Path | None:
    """The source file of a module or package of quietdial; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _imports(tree: ast.AST) -> set[str]:
    """Names of what a module imports from quietdial, modules or things in them."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith(_PACKAGE)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _without_text(tree: ast.AST) -> ast.AST:
    """The tree without docstrings, in place."""
    for node in ast.walk(tree):
        if isinstance(node, _WITH_TEXT) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


@cache
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """SHA-256 of a file's code without comments and docstrings, and what it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = frozenset(_imports(tree))
    return hashlib.sha256(ast.dump(_without_text(tree)).encode()).hexdigest(), imported


def code_sha256(modules: Iterable[str], within: str = "quietdial.envs.") -> str:
    """SHA-256 of the code of some modules and of all that they import.

    Args:
        modules: names of modules of quietdial.
        within: imports are followed only into modules whose name begins so.
    """
    seen: dict[str, str] = {}
    left = sorted(modules)
    while left:
        module = left.pop()
        path = _file_of(module)
        if path is None or module in seen:
            continue
        seen[module], imported = _read(path)
        left += [name for name in imported if name.startswith(within)]
    text = "\n".join(f"{name} {seen[name]}" for name in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()


def kernel_sha256() -> str:
    """SHA-256 of the simulator's code, without the controllers."""
    return code_sha256(("quietdial.envs.pacing.world", "quietdial.envs.regulation.calendar"))

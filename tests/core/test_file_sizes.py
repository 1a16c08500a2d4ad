"""The house stays readable: no file over 400 lines, no function over 60."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def too_long(text: str, *, lines: int = 400, function_lines: int = 60) -> list[str]:
    """What exceeds the limits; a function's lines include its docstring, not its decorators."""
    found = [f"{len(text.splitlines())} lines"] if len(text.splitlines()) > lines else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTIONS) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            found += [f"{node.name} has {length} lines"] if length > function_lines else []
    return found


@pytest.mark.parametrize("folder", ["forecast", "tests"])
def test_files_and_functions_fit_a_screen(folder: str) -> None:
    """Hold the limits of CONTRIBUTING.md."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    found = [f"{path.relative_to(ROOT)}: {text}" for path in paths for text in too_long(path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_the_limits_are_seen() -> None:
    """Find a function of one line too many, nested ones too, and a file of one line too many."""
    body = "\n".join(f"        x{i} = {i}" for i in range(60))
    assert too_long(f"class A:\n    def long(self):\n{body}\n") == ["long has 61 lines"]
    assert too_long(f"class A:\n    def long(self):\n{body}\n".replace("        x59 = 59\n", "")) == []
    assert too_long("x = 1\n" * 401) == ["401 lines"]

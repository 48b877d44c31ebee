"""A docstring's first line fits on one line of a listing."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("do_bridge", "accounts", "blog", "project")
LONGEST = 80
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def first_lines():
    """Yield (place, first line) of each docstring in the product."""
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
                    place = f"{path.relative_to(ROOT)}:{node.body[0].lineno}"
                    yield place, text.partition("\n")[0]


def test_the_first_line_of_a_docstring_has_at_most_80_characters():
    lines = list(first_lines())
    assert len(lines) > 1000
    long = [f"{place}: {len(line)} characters: {line}" for place, line in lines if len(line) > LONGEST]
    assert not long, "Shorten these lines; move details to a second paragraph:\n" + "\n".join(long)

"""List every text that a user may read, with its place: `python -m tests.messages [path …]`.

The list holds exceptions, log records, system checks, help texts, verbose names, what commands print, the
texts of templates, and the Worker's errors. `{…}` stands for a value.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGES = ("do_bridge", "accounts", "blog", "project")
WORKER = "worker/src"

NAMES = {"verbose_name", "verbose_name_plural", "label", "short_description", "description", "title"}
KEYWORDS = {
    "help": "help",
    "help_text": "help",
    "epilog": "help",
    "hint": "check",
    **dict.fromkeys(NAMES, "name"),
}
LOGGING = {"debug", "info", "warning", "error", "exception", "critical"}
CHECKS = {"Error", "Warning", "Info", "Critical"}
SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|WITH|PRAGMA|EXPLAIN|FROM|WHERE|AND|ON|VALUES|UNION|CASE"
    r"|JOIN|ORDER BY|CHECK|RAISE|COALESCE|NOT EXISTS|EXISTS|CAST|\(SELECT|\(CASE)\b"
    r"|.*(\bSELECT \w+ FROM|json_each|->>)",
    re.DOTALL,
)
WORDS = re.compile(r"[A-Za-z][a-z']+")


class Message(NamedTuple):
    """One text, its kind and the place where it stands."""

    path: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.text}"


def messages(*paths: str) -> Iterator[Message]:
    """Yield the messages of the files below these paths, or of the whole product."""
    for path in paths or (*PACKAGES, WORKER):
        start = ROOT / path
        for file in sorted(start.rglob("*")) if start.is_dir() else [start]:
            name = file.relative_to(ROOT).as_posix()
            if file.suffix == ".py" and "/migrations/" not in name:
                yield from in_python(name, file.read_text())
            elif file.suffix == ".html":
                yield from in_template(name, file.read_text())
            elif file.suffix == ".ts":
                yield from in_typescript(name, file.read_text())


def in_python(path: str, source: str) -> Iterator[Message]:
    """Yield the messages of a Python module."""
    reader = Reader(path)
    reader.visit(ast.parse(source))
    yield from reader.found


class Reader(ast.NodeVisitor):
    """Collect the texts of a module that are neither docstrings nor SQL."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.found: list[Message] = []
        self.kinds = ["text"]

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # else a docstring
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._inside("raise", node.exc)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        kind = _kind_of_call(name, node.func)
        self.visit(node.func)
        for argument in node.args:
            self._inside(kind, argument)
        for keyword in node.keywords:
            self._inside(KEYWORDS.get(keyword.arg or "", kind), keyword.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        name = getattr(target, "attr", getattr(target, "id", ""))
        self._inside(KEYWORDS.get(name), node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._add(node.lineno, node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._add(node.lineno, _rendered(node))
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self._inside(None, value.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Add) and _is_text(node):
            self._add(node.lineno, _rendered(node))
        else:
            self.generic_visit(node)

    def _inside(self, kind: str | None, node: ast.AST | None) -> None:
        if node is not None:
            self.kinds.append(kind or self.kinds[-1])
            self.visit(node)
            self.kinds.pop()

    def _add(self, line: int, text: str) -> None:
        kind = self.kinds[-1]
        least = 1 if kind in ("name", "help") else 2 if kind in ("raise", "check") else 3
        is_text = len(WORDS.findall(text)) >= least and (" " in text.strip() or kind == "name")
        if is_text and not SQL.match(text):
            self.found.append(Message(self.path, line, kind, " ".join(text.split())))


def _kind_of_call(name: str, func: ast.expr) -> str | None:
    if name in CHECKS:
        return "check"
    if name in LOGGING and isinstance(func, ast.Attribute):
        return "log"
    if name == "write" or name == "print":
        return "output"
    return None


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _rendered(node: ast.AST) -> str:
    if isinstance(node, ast.BinOp):
        return _rendered(node.left) + _rendered(node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(_rendered(value) for value in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "{…}"


def in_template(path: str, source: str) -> Iterator[Message]:
    """Yield the texts between a template's tags, and those of its `title` attributes."""
    blank = re.sub(r"{#.*?#}|<(script|style)\b.*?</\1>", _same_lines, source, flags=re.DOTALL)
    for found in re.finditer(r'\b(?:title|aria-label|placeholder)="([^"{]+)"', blank):
        yield Message(path, blank.count("\n", 0, found.start()) + 1, "page", found[1])
    blank = re.sub(r"{%.*?%}", lambda tag: _same_lines(tag), blank, flags=re.DOTALL)
    blank = re.sub(r"<[^>]*>", _same_lines, re.sub(r"{{.*?}}", "…", blank), flags=re.DOTALL)
    for line, text in enumerate(blank.split("\n"), 1):
        if WORDS.search(text):
            yield Message(path, line, "page", " ".join(text.split()))


def _same_lines(found: re.Match[str]) -> str:
    return " " + "\n" * found[0].count("\n")


def in_typescript(path: str, source: str) -> Iterator[Message]:
    """Yield the texts of a TypeScript module that are not SQL."""
    blank = re.sub(r"/\*[\s\S]*?\*/|^\s*//.*$|\s//\s.*$", _same_lines, source, flags=re.MULTILINE)
    for found in re.finditer(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`', blank):
        text = re.sub(r"\$\{.*?\}", "{…}", found[1] or found[2] or "")
        if " " in text and len(WORDS.findall(text)) >= 3 and not SQL.match(text):
            yield Message(path, blank.count("\n", 0, found.start()) + 1, "worker", " ".join(text.split()))


if __name__ == "__main__":
    for message in messages(*sys.argv[1:]):
        sys.stdout.write(f"{message}\n")

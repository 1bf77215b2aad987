"""Find the statements of a Python file that run when it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator

AsyncFunction = ast.AsyncFunctionDef
Function = ast.FunctionDef | AsyncFunction

_BRANCHES = (ast.If, ast.Try, ast.TryStar, ast.For, ast.AsyncFor, ast.While, ast.Match)
"""Statements that may not run everything in them, or that catch its exceptions."""


def running(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements that run with `body`, including those in `if`, `try`, `with`, `for` and `while`, in order.

    Each with whether it is certain to run, with its exceptions not caught.
    """
    stack: list[tuple[ast.stmt, bool]] = [(s, True) for s in body[::-1]]
    while stack:
        statement, sure = stack.pop()
        yield statement, sure
        if isinstance(statement, Function | ast.ClassDef):
            continue
        inner: list[ast.stmt] = []
        if isinstance(statement, ast.If) and _is_not_for_import(statement.test):
            inner = statement.orelse
        else:
            for child in ast.iter_child_nodes(statement):
                if isinstance(child, ast.stmt):
                    inner.append(child)
                elif isinstance(child, ast.ExceptHandler | ast.match_case):
                    inner += child.body
            sure &= not isinstance(statement, _BRANCHES) and not _suppresses(statement)
        stack += [(s, sure) for s in inner[::-1]]


def _suppresses(statement: ast.stmt) -> bool:
    """Whether it is `with suppress(...)`."""
    nodes = (n for item in getattr(statement, "items", ()) for n in ast.walk(item.context_expr))
    return any("suppress" in (getattr(n, "id", ""), getattr(n, "attr", "")) for n in nodes)


def _is_not_for_import(test: ast.expr) -> bool:
    """Whether a condition is false in an imported module: it is for scripts or type checkers."""
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False

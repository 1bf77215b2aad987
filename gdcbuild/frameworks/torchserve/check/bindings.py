"""Find the names that a statement binds, and the expressions it binds them to."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_COMPREHENSIONS = (ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)

_LITERALS = (ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set, *_COMPREHENSIONS)
"""Expressions whose values cannot be called."""

_MAY_NOT_RUN = (ast.Lambda, ast.match_case, ast.ExceptHandler, ast.Assert, *_COMPREHENSIONS)
"""Nodes that may not evaluate the expressions in them."""


def stored(node: ast.AST) -> Iterator[str]:
    """The names that get a value there; in `a.b = 1`, `a` does not."""
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.alias(name=_, asname=str() as name) | ast.alias(name=name):
                yield name


def assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """The names that a statement assigns to, each with the assigned expression if there is one."""
    maybe = captured(statement)
    for node in _evaluated(statement):
        if isinstance(node, ast.NamedExpr) and maybe.count(node.target.id) == 1:
            yield node.target.id, node.value
    match statement:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _unpacked(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield from _unpacked(target, value)
        case ast.For(target=target, iter=ast.List(elts=values) | ast.Tuple(elts=values) | ast.Set(elts=values)) if values:
            rounds = [list(_unpacked(target, value)) for value in values]
            for each in zip(*rounds, strict=False):  # `break` may end the loop after any of them
                yield each[-1][0], each[-1][1] if all(value and is_literal(value) for _, value in each) else None
        case ast.For(target=target) | ast.AsyncFor(target=target):
            yield from _unpacked(target, None)
        case ast.With(items=items) | ast.AsyncWith(items=items):
            for item in items:
                if item.optional_vars is not None:
                    yield from _unpacked(item.optional_vars, item.context_expr if _is_open(item.context_expr) else None)


def captured(statement: ast.stmt) -> list[str]:
    """The names that expressions or patterns in a statement may bind, as `:=` and `case x` do."""
    found: list[str] = []
    for node in parts(statement):
        match node:
            case ast.NamedExpr(target=ast.Name(id=name)) | ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
                found.append(name)
            case ast.MatchMapping(rest=str() as name):
                found.append(name)
    return found


def parts(statement: ast.stmt) -> Iterator[ast.AST]:
    """All nodes of a statement, except the statements in it."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        stack += _children(node)


def is_literal(value: ast.expr) -> bool:
    """Whether it is a literal or a negated one, which cannot be called."""
    match value:
        case ast.UnaryOp(op=ast.Not()) | ast.UnaryOp(operand=ast.Constant()):
            return True
    return isinstance(value, _LITERALS)


def _evaluated(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement that are certainly evaluated when it runs, except the statements in it."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        match node:
            case ast.BoolOp(values=[first, *_]) | ast.IfExp(test=first):
                stack.append(first)
            case ast.Compare(left=left, comparators=[first, *_]):
                stack += [left, first]
            case _ if not isinstance(node, _MAY_NOT_RUN):
                stack += _children(node)


def _children(node: ast.AST) -> list[ast.AST]:
    return [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]


def _unpacked(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    """The names in a target of an assignment, each with its part of the value if that is known."""
    match target:
        case ast.Name(id=name):
            yield name, value
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            plain = len(targets) == len(values) and not any(isinstance(each, ast.Starred) for each in targets + values)
            for index, each in enumerate(targets):
                yield from _unpacked(each, values[index] if plain else None)
        case ast.Starred(value=target):
            yield from _unpacked(target, None)


def _is_open(value: ast.expr) -> bool:
    """Whether it is a call of `open`, whose result `with` binds unchanged."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "open"

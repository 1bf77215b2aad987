"""What a Python file defines, without running it: what TorchServe would find in it by importing it."""

from __future__ import annotations

import ast
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

AsyncFunction = ast.AsyncFunctionDef
Function = ast.FunctionDef | AsyncFunction

_MAKES_CLASSES = frozenset(
    {"type", "collections.namedtuple"}
    | {f"{module}.{name}" for module in ("typing", "typing_extensions") for name in ("NamedTuple", "TypedDict")}
    | {f"enum.{name}" for name in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")}
)
"""What makes a class when it is called with two arguments or more. It is then one of the module that called it."""


_COMPILING = threading.Lock()
"""Python warns of odd code while it compiles it. That is no matter here, and to silence it is for one thread at a time."""


class NotPython(ValueError):
    """The file does not compile; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Class:
    """A class at the top of a file. `bases` are full dotted names as far as imports tell, "" where they do not.

    `methods` are name → definition; `others` what it has beside these; `required` the arguments that making one cannot do
    without, None when that is inherited and so not known.
    """

    name: str
    bases: tuple[str, ...]
    methods: dict[str, Function]
    others: frozenset[str] = frozenset()
    required: tuple[str, ...] | None = None

    @property
    def complete(self) -> bool:
        """True when it inherits nothing, so that its methods are all it has."""
        return set(self.bases) <= {"object"}

    def has(self, name: str) -> bool:
        """Whether the class itself gives its objects something by that name."""
        return not {name, "__getattr__"}.isdisjoint(self.methods.keys() | self.others)

    def extends(self, method: str) -> bool:
        """True when the method surely calls the one that it takes the place of, as `super().initialize(context)` does."""
        return any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == method
            and _of_parent(node)
            for statement, sure in _running(self.methods[method].body)
            if sure and not {"body", "cases"} & {*statement._fields}
            for node in ast.walk(statement)
        )


@dataclass(slots=True)
class Module:
    """The top of a file. `names` are all it binds, with the function or class where it is surely one.

    `classes` are those of its own classes, an alias counting as one more; `unsure` those that may be missing when it is
    imported. `vague` is true when it may bind more than can be seen: `from x import *`, or a module `__getattr__`.
    `relative` is true when it imports relative to a package.
    """

    names: dict[str, Function | ast.ClassDef | None] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    vague: bool = False
    relative: bool = False

    @property
    def only(self) -> Class | None:
        """The one class that it may define; None when there is another number."""
        return next(iter(self.classes.values())) if len(self.classes) == 1 else None

    @property
    def miscounted(self) -> bool:
        """True when it surely does not define one class."""
        return len(self.classes.keys() - self.unsure) > 1 or not (self.classes or self.vague)


def parse(source: bytes, name: str) -> Module:
    """The module that the file `name` is. Raises NotPython."""
    try:
        with _COMPILING, warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source, name)
            compile(tree, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise NotPython(f"{name}, line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotPython(f"{name}: {error}") from None
    module = Module()
    for statement, sure in _running(tree.body):
        _bind(module, statement, sure)
    return module


def accepts(function: Function, count: int) -> bool:
    """Whether a call with `count` positional arguments can succeed. Decorators may change that, so they let it pass."""
    if function.decorator_list:
        return True
    required, most = _arguments(function)
    return len(required) <= count and (most is None or count <= most) and not _keywords(function)


def _arguments(function: Function) -> tuple[list[str], int | None]:
    """The positional arguments that a call must give, and how many it may; None without bound."""
    given = [*function.args.posonlyargs, *function.args.args]
    required = [a.arg for a in given[: len(given) - len(function.args.defaults)]]
    return required, None if function.args.vararg else len(given)


def _keywords(function: Function) -> list[str]:
    return [a.arg for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d is None]


def _of_parent(call: ast.Call) -> bool:
    """Whether a method is called of `super()`, or as `Parent.method(self, ...)`."""
    assert isinstance(call.func, ast.Attribute)
    match call.func.value, call.args:
        case (ast.Call(func=ast.Name(id="super")), _) | (_, [ast.Name(id="self"), *_]):
            return True
    return False


_BRANCHES = (ast.If, ast.Try, ast.TryStar, ast.For, ast.AsyncFor, ast.While, ast.Match)
"""Statements that may not come to all that stands in them, or catch what goes wrong there."""


def _running(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """Statements that run with these, those in `if`, `try`, `with`, `for`, `while` included, in order.

    With each, whether it runs for certain, and what goes wrong in it is not caught.
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
            sure &= not isinstance(statement, _BRANCHES)
        stack += [(s, sure) for s in inner[::-1]]


def _is_not_for_import(test: ast.expr) -> bool:
    """Whether a condition is false in a module that is imported: it is a script's, or for type checkers."""
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


def _bind(module: Module, statement: ast.stmt, sure: bool) -> None:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            module.names[name] = statement if sure else None
            module.vague |= name == "__getattr__"
        case ast.ClassDef(name=name):
            module.names[name] = statement if sure else None
            module.classes[name] = _class(module, statement)
            if not sure:
                module.unsure.add(name)
        case ast.Import(names=aliases):
            for alias in aliases:
                module.imports[alias.asname or alias.name.partition(".")[0]] = alias.name if alias.asname else ""
                module.names[alias.asname or alias.name.partition(".")[0]] = None
        case ast.ImportFrom(module=source, names=aliases, level=level):
            module.relative |= level > 0 and sure
            for alias in aliases:
                module.vague |= alias.name == "*"
                module.imports[alias.asname or alias.name] = f"{source}.{alias.name}"
                module.names[alias.asname or alias.name] = None
        case ast.Assign(targets=targets, value=value):
            for name in {name for target in targets for name in _stored(target)}:
                _assign(module, name, value, sure)
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            _assign(module, name, value, sure)
        case ast.Delete(targets=targets):
            for target in targets:
                if isinstance(target, ast.Name):
                    _assign(module, target.id, None, sure)
                    if sure:
                        module.names.pop(target.id)
        case _:
            pass


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that get a value there; `a.b = 1` gives `a` none."""
    return (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _assign(module: Module, name: str, value: ast.expr | None, sure: bool) -> None:
    """A name gets a value, or None when it is deleted: a class for one more time, a class that a call makes, or none."""
    made: Class | None = None
    if isinstance(value, ast.Name):
        made = module.classes.get(value.id)
    elif isinstance(value, ast.Call) and len(value.args) > 1 and _dotted(module, value.func) in _MAKES_CLASSES:
        made = Class(name, ("",), {})
    module.names[name] = None
    if made is not None:
        module.classes[name] = made
    elif sure:
        module.classes.pop(name, None)
    if not sure:
        module.unsure.add(name)


def _class(module: Module, node: ast.ClassDef) -> Class:
    methods = {s.name: s for s in node.body if isinstance(s, Function)}
    bases = tuple(_dotted(module, base) for base in node.bases)
    others = {name for s in node.body if not isinstance(s, Function) for name in _stored(s)}
    others |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    required: tuple[str, ...] | None = None
    made = methods.get("__init__")
    if made is not None and not made.decorator_list:
        required = (*_arguments(made)[0][1:], *_keywords(made))
    return Class(node.name, bases, methods, frozenset(others), required)


def _dotted(module: Module, expression: ast.expr) -> str:
    """The full name of `a.b.C`, where an import says what `a` is."""
    parts: list[str] = []
    while isinstance(expression, ast.Attribute):
        parts.append(expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name):
        return ""
    root = module.imports.get(expression.id) or expression.id
    return ".".join([root, *reversed(parts)])

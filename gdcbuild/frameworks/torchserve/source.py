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

_KEEP_CLASSES = frozenset(
    {"dataclass", "dataclasses.dataclass", "functools.total_ordering", "enum.unique"}
    | {f"{module}.{name}" for module in ("typing", "typing_extensions") for name in ("final", "runtime_checkable")}
)
"""Decorators that surely give back the class. Of another one nothing is known: a singleton is a function."""

_COMPILING = threading.Lock()
"""Python warns of odd code while it compiles it. That is no matter here, and to silence it is for one thread at a time."""


class NotPython(ValueError):
    """The file does not compile; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Class:
    """A class at the top of a file. `bases` are full dotted names as far as imports tell, "" where they do not.

    `methods` are name → definition; `others` what else it, or one of its objects, may be given; `required` the arguments that
    making one cannot do without, None when that is inherited and so not known.
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

    def defines(self, name: str) -> bool:
        """Whether the class itself may take the place of what it inherits by that name."""
        return name in self.methods or name in self.others

    def has(self, name: str) -> bool:
        """Whether the class itself may give its objects something by that name."""
        return self.defines(name) or self.defines("__getattr__")

    def extends(self, method: str) -> bool:
        """True when the method surely calls the one that it takes the place of, as `super().initialize(context)` does."""
        for statement, sure in _running(self.methods[method].body if method in self.methods else []):
            nodes = list(ast.walk(statement))
            simple = sure and not {"body", "cases"} & {*statement._fields}
            if simple and any(_of_parent(node, method) for node in nodes):
                return True
            if any(isinstance(node, ast.Return) for node in nodes):
                return False
        return False


@dataclass(slots=True)
class Module:
    """The top of a file. `names` are all it binds, with the function or class where it is surely one.

    `classes` are those of its own classes, an alias counting as one more; `unsure` those that may be missing when it is
    imported. `vague` is true when it may bind more than can be seen: `from x import *`, or a module `__getattr__`.
    `relative` is true when it imports relative to a package. `attributes` are all that are set anywhere in it.
    """

    names: dict[str, Function | ast.ClassDef | None] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    vague: bool = False
    relative: bool = False
    attributes: set[str] = field(default_factory=set)

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
        raise NotPython(f"{name}: {str(error) or type(error).__name__}") from None
    module = Module()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            module.attributes.add(node.attr)
        elif isinstance(node, ast.Name) and node.id == "setattr":
            module.attributes.add("__getattr__")  # of any name
        elif isinstance(node, ast.Name) and node.id in ("exec", "globals"):
            module.vague = True
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


def _of_parent(node: ast.AST, method: str) -> bool:
    """Whether a method is called of `super()`, or as `Parent.method(self, ...)`."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=attr)):
            return attr == method
        case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Name(id="self"), *_]):
            return attr == method
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
            sure &= not isinstance(statement, _BRANCHES) and not _suppresses(statement)
        stack += [(s, sure) for s in inner[::-1]]


def _suppresses(statement: ast.stmt) -> bool:
    """Whether it is `with suppress(...)`."""
    nodes = (n for item in getattr(statement, "items", ()) for n in ast.walk(item.context_expr))
    return any("suppress" in (getattr(n, "id", ""), getattr(n, "attr", "")) for n in nodes)


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
            _put(module, name, sure, statement)
            module.vague |= name == "__getattr__"
        case ast.ClassDef(name=name):
            made = _class(module, statement)
            _put(module, name, sure and _keeps_class(module, statement), statement, made)
        case ast.Import(names=aliases):
            for alias in aliases:
                name = alias.asname or alias.name.partition(".")[0]
                _put(module, name, sure)
                module.imports[name] = alias.name if alias.asname else ""
        case ast.ImportFrom(module=source, names=aliases, level=level):
            module.relative |= level > 0 and sure
            for alias in aliases:
                module.vague |= alias.name == "*"
                _put(module, alias.asname or alias.name, sure)
                module.imports[alias.asname or alias.name] = f"{source}.{alias.name}"
        case ast.Assign(targets=targets, value=value):
            for name in {name for target in targets for name in _stored(target)}:
                _put(module, name, sure, made=_made(module, name, value))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            _put(module, name, sure, made=_made(module, name, value))
        case ast.For(target=target) | ast.AsyncFor(target=target):
            for name in _stored(target):
                _put(module, name, False)
        case ast.With(items=items) | ast.AsyncWith(items=items):
            for name in (name for item in items if item.optional_vars for name in _stored(item.optional_vars)):
                _put(module, name, sure)
        case ast.Delete(targets=targets):
            for target in targets:
                if isinstance(target, ast.Name):
                    _put(module, target.id, sure)
                    if sure:
                        module.names.pop(target.id)
        case _:
            pass


def _put(
    module: Module, name: str, sure: bool, definition: Function | ast.ClassDef | None = None, made: Class | None = None
) -> None:
    """A name gets a value, or is deleted. `made` is the class that it is, None when it is none of the module's."""
    module.names[name] = definition if sure else None
    if made is not None:
        module.classes[name] = made
    elif sure:
        module.classes.pop(name, None)
    if sure:
        module.unsure.discard(name)
        module.imports.pop(name, None)
    else:
        module.unsure.add(name)


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that get a value there; `a.b = 1` gives `a` none."""
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.alias(name=_, asname=str() as name) | ast.alias(name=name):
                yield name


def _made(module: Module, name: str, value: ast.expr) -> Class | None:
    """The class that a value is: one of the module, which counts once more, or one that a call makes."""
    if isinstance(value, ast.Name):
        return module.classes.get(value.id)
    if isinstance(value, ast.Call) and len(value.args) > 1 and _dotted(module, value.func) in _MAKES_CLASSES:
        return Class(name, ("",), {})
    return None


def _keeps_class(module: Module, node: ast.ClassDef) -> bool:
    """Whether the name of a class statement surely stands for the class, whatever decorates it."""
    decorators = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return all(_dotted(module, d) in _KEEP_CLASSES for d in decorators)


def _class(module: Module, node: ast.ClassDef) -> Class:
    if node.keywords or not _keeps_class(module, node):  # a metaclass may give it anything
        return Class(node.name, ("",), {})
    others = {name for s in node.body if not isinstance(s, Function) for name in _stored(s)} | module.attributes
    methods = {s.name: s for s in node.body if isinstance(s, Function) and s.name not in others}
    required: tuple[str, ...] | None = None
    made = methods.get("__init__")
    if made is not None and not made.decorator_list:
        required = (*_arguments(made)[0][1:], *_keywords(made))
    return Class(node.name, tuple(_dotted(module, base) for base in node.bases), methods, frozenset(others), required)


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

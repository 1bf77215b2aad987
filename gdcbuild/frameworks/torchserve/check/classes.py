"""Describe the class that a class statement creates, as far as known without running it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from gdcbuild.errors import Problem
from gdcbuild.frameworks.torchserve.check.bindings import assigned, is_literal, stored
from gdcbuild.frameworks.torchserve.check.statements import Function, running

_DATACLASS = frozenset({"dataclass", "dataclasses.dataclass"})
_KEEP_CLASSES = _DATACLASS | (
    {"functools.total_ordering", "enum.unique"}
    | {f"{module}.{name}" for module in ("typing", "typing_extensions") for name in ("final", "runtime_checkable")}
)
"""Decorators that always return the class itself. Any other may not: a singleton becomes a function."""

_ABSTRACT = frozenset(
    {"abstractmethod", "abc.abstractmethod", "abc.abstractproperty", "abc.abstractclassmethod", "abc.abstractstaticmethod"}
)
_PLAIN = frozenset({"object", "abc.ABC"})
"""Bases without methods."""

_CHECKS_ABSTRACT = frozenset({"abc.ABC", "ts.torch_handler.base_handler.BaseHandler"})
"""Bases with which a class that has abstract methods cannot be instantiated."""

Imports = Mapping[str, str]
"""Name in a file → the full dotted name that an import gives it."""


@dataclass(frozen=True, slots=True)
class Class:
    """A class at the top level of a file. `bases` are full dotted names where imports give them, "" where not.

    `methods` are name → definition. `others` are further attributes of the class or its objects, and `data` those of them
    that are certainly literals, if no base changes them. `required` are the arguments
    without which it cannot be instantiated, None when inherited and so unknown. `abstract` are the methods it does not
    implement, with which it cannot be instantiated.
    """

    name: str
    bases: tuple[str, ...]
    methods: dict[str, Function]
    others: frozenset[str] = frozenset()
    required: tuple[str, ...] | None = None
    abstract: tuple[str, ...] = ()
    data: Mapping[str, ast.expr] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether it inherits no methods, so its own methods are all it has."""
        return _PLAIN.issuperset(self.bases)

    def defines(self, name: str) -> bool:
        """Whether the class itself may override that name."""
        return name in self.methods or name in self.others

    def has(self, name: str) -> bool:
        """Whether the class itself may provide that name to its objects."""
        return self.defines(name) or self.defines("__getattr__")

    def extends(self, method: str) -> bool:
        """Whether the method certainly calls the one it overrides, as `super().initialize(context)` does."""
        for statement, sure in running(self.methods[method].body if method in self.methods else []):
            nodes = list(ast.walk(statement))
            simple = sure and not {"body", "cases"} & {*statement._fields}
            if simple and any(_of_parent(node, method) for node in nodes):
                return True
            if any(isinstance(node, ast.Return) for node in nodes):
                return False
        return False


def unknown(name: str) -> Class:
    """A class of which only the name is known."""
    return Class(name, ("",), {})


def defined(node: ast.ClassDef, imports: Imports, attributes: Collection[str]) -> Class:
    """The class that a statement creates; `attributes` are all attributes set anywhere in the file."""
    metaclasses = [dotted(k.value, imports) if k.arg == "metaclass" else "" for k in node.keywords]
    if set(metaclasses) - {"abc.ABCMeta"} or not is_kept(node, imports):  # another metaclass may add anything
        return unknown(node.name)
    others = {name for s in node.body if not isinstance(s, Function) for name in stored(s)} | set(attributes)
    methods = {s.name: s for s in node.body if isinstance(s, Function) and s.name not in others}
    found = Class(node.name, tuple(dotted(base, imports) for base in node.bases), methods, frozenset(others))
    abstract: list[str] = []
    if (metaclasses or _CHECKS_ABSTRACT.intersection(found.bases)) and "__abstractmethods__" not in others:
        abstract = [name for name, m in methods.items() if _ABSTRACT & {dotted(d, imports) for d in m.decorator_list}]
    data = {} if found.defines("__getattribute__") else _data(node, attributes)
    return Class(found.name, found.bases, methods, found.others, _required(found, node, imports), tuple(abstract), data)


def is_kept(node: ast.ClassDef, imports: Imports) -> bool:
    """Whether the name of a class statement is certainly bound to the class, given its decorators."""
    return all(dotted(called(d), imports) in _KEEP_CLASSES for d in node.decorator_list)


def _data(node: ast.ClassDef, attributes: Collection[str]) -> dict[str, ast.expr]:
    """The attributes that the body of a class sets once, to a literal, and that nothing in the file sets elsewhere."""
    if "__getattr__" in attributes:
        return {}
    bound = [name for s in node.body for name in ([s.name] if isinstance(s, Function) else stored(s))]
    given = ((name, value) for s in node.body for name, value in assigned(s) if value is not None and is_literal(value))
    return {name: value for name, value in given if bound.count(name) == 1 and name not in attributes}


def _required(found: Class, node: ast.ClassDef, imports: Imports) -> tuple[str, ...] | None:
    maker = found.methods.get("__new__") or found.methods.get("__init__")
    if maker is not None:
        return None if maker.decorator_list else (*arguments(maker)[0][1:], *keywords(maker))
    decorators = [d for d in node.decorator_list if dotted(called(d), imports) in _DATACLASS]
    options = {k.arg for d in decorators if isinstance(d, ast.Call) for k in d.keywords}
    if not decorators or options & {"init", None} or "__init__" in found.others or not found.complete:
        return None
    return tuple(_fields(node, imports))


def _fields(node: ast.ClassDef, imports: Imports) -> Iterator[str]:
    """The fields of a dataclass without a default."""
    given = {name for s in node.body if not isinstance(s, ast.AnnAssign) for name in stored(s)}
    for statement in node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value) if name not in given:
                kind = ast.unparse(annotation)
                if "ClassVar" not in kind and "KW_ONLY" not in kind and not _is_default(value, imports):
                    yield name


def _is_default(value: ast.expr | None, imports: Imports) -> bool:
    """Whether a field with this value is optional."""
    if isinstance(value, ast.Call) and dotted(value.func, imports) in {"field", "dataclasses.field"}:
        return any(k.arg in {"default", "default_factory", "init", None} for k in value.keywords)
    return value is not None


def accepts(function: Function, count: int) -> bool:
    """Whether a call with `count` positional arguments can succeed. A decorator may change that, so it is accepted."""
    if function.decorator_list:
        return True
    required, most = arguments(function)
    return len(required) <= count and (most is None or count <= most) and not keywords(function)


def arguments(function: Function) -> tuple[list[str], int | None]:
    """The required positional arguments, and the most a call may pass; None for no limit."""
    given = [*function.args.posonlyargs, *function.args.args]
    required = [a.arg for a in given[: len(given) - len(function.args.defaults)]]
    return required, None if function.args.vararg else len(given)


def keywords(function: Function) -> list[str]:
    """The required keyword-only arguments."""
    return [a.arg for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d is None]


def _of_parent(node: ast.AST, method: str) -> bool:
    """Whether a method is called on `super()`, or as `Parent.method(self, ...)`."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=attr)):
            return attr == method
        case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Name(id="self"), *_]):
            return attr == method
    return False


def called(expression: ast.expr) -> ast.expr:
    """The decorator itself, without the call."""
    return expression.func if isinstance(expression, ast.Call) else expression


def dotted(expression: ast.expr, imports: Imports) -> str:
    """The full name of `a.b.C`, with `a` resolved by the imports; "" for other expressions."""
    parts: list[str] = []
    while isinstance(expression, ast.Attribute):
        parts.append(expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name):
        return ""
    root = imports.get(expression.id) or expression.id
    return ".".join([root, *reversed(parts)])


def uninstantiable(found: Class, what: str, advice: str) -> Iterator[Problem]:
    """Why TorchServe could not instantiate a class. `advice` is for arguments that it requires."""
    if found.abstract:
        yield Problem(
            f"{what}: TorchServe: Can't instantiate abstract class {found.name}; not implemented: {', '.join(found.abstract)}",
            "implement them, or remove @abstractmethod",
        )
    if found.required:
        missing = ", ".join(found.required)
        yield Problem(f"{what}: TorchServe calls {found.name}() without arguments, but it requires {missing}", advice)

"""Find what a Python file defines, without running it: what TorchServe would find by importing it."""

from __future__ import annotations

import ast
import threading
import warnings
from dataclasses import dataclass, field

from gdcbuild.frameworks.torchserve.check.bindings import assigned, captured, is_literal, parts
from gdcbuild.frameworks.torchserve.check.classes import Class, defined, dotted, is_kept, unknown
from gdcbuild.frameworks.torchserve.check.statements import running

_MAKES_CLASSES = frozenset(
    {"type", "collections.namedtuple"}
    | {f"{module}.{name}" for module in ("typing", "typing_extensions") for name in ("NamedTuple", "TypedDict")}
    | {f"enum.{name}" for name in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")}
)
"""Callables that create a class when called with two or more arguments. The class belongs to the calling module."""

_MAKES_DATA = frozenset(
    {"open", "int", "float", "str", "bool", "bytes", "bytearray", "dict", "list", "tuple", "set", "frozenset", "len"}
)
"""Built-in functions whose results cannot be called."""

_MAKES_CALLABLE = ("__call__", "__new__", "__class__")
"""Names with which a class may have objects that can be called."""

_NAMESPACES = frozenset({"vars", "locals"})
"""Functions that return a module's names when called in it without arguments."""

_IMPORTS_BY_NAME = frozenset({"__import__", "importlib.import_module"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

_COMPILING = threading.Lock()
"""Compiling may emit warnings about odd code, which are irrelevant here; only one thread at a time can silence them."""


class NotPython(ValueError):
    """The file does not compile; the message says why. `line` and `column` start at 1, and are 0 when unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(slots=True)
class Module:
    """The top level of a file. `names` are all names it binds, each with its definition, import or value where that is certain.

    `classes` are the file's own classes, an alias counting as one more; `unsure` are those that may be missing after import.
    `vague`: it may bind more than can be seen, by `from x import *`, a module `__getattr__` or `globals()`.
    `late`: functions it may call while it is imported bind names by `global`.
    `relative`: it has imports relative to a package. `attributes` are all attributes set anywhere in it.
    """

    names: dict[str, ast.AST | None] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    vague: bool = False
    late: bool = False
    relative: bool = False
    attributes: set[str] = field(default_factory=set)

    @property
    def only(self) -> Class | None:
        """The one class that it may define; None for any other number."""
        return next(iter(self.classes.values())) if len(self.classes) == 1 else None

    @property
    def miscounted(self) -> bool:
        """Whether it certainly does not define exactly one class."""
        return len(self.classes.keys() - self.unsure) > 1 or not (self.classes or self.vague or self.late)

    def is_data(self, name: str) -> bool:
        """Whether a name is certainly not callable: a literal, an open file, a module, an object without `__call__`."""
        value = self.names.get(name)
        return not self.vague and (isinstance(value, ast.Import) or (isinstance(value, ast.expr) and self._is_data(value)))

    def _is_data(self, value: ast.expr) -> bool:
        match value:
            case ast.Call(func=ast.Name(id=name)) if name not in self.names:
                return name in _MAKES_DATA
            case ast.Call(func=ast.Name(id=name)):
                made, definition = self.classes.get(name), self.names[name]
                earlier = isinstance(definition, ast.ClassDef) and definition.lineno < value.lineno  # not defined again since
                return made is not None and earlier and made.complete and not any(map(made.has, _MAKES_CALLABLE))
        return is_literal(value)


def compiled(source: bytes, name: str) -> ast.Module:
    """Compile a file; return its syntax tree. Raises NotPython."""
    try:
        with _COMPILING, warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source, name)
            compile(tree, name, "exec", dont_inherit=True)
            return tree
    except SyntaxError as error:
        raise NotPython(error.msg, error.lineno or 0, max(error.offset or 0, 1)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotPython(str(error) or type(error).__name__) from None


def parse(source: bytes, name: str) -> Module:
    """Parse the file `name` as a module. Raises NotPython."""
    tree = compiled(source, name)
    module = Module()
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            module.attributes.add(node.attr)
        elif isinstance(node, ast.Name) and node.id == "setattr":
            module.attributes.add("__getattr__")  # may set any name
    statements = list(running(tree.body))
    for statement, sure in statements:
        _bind(module, statement, sure, name.removesuffix(".py"))
    late = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    if late and any(_uses_itself(module, statement) for statement, _ in statements):
        module.late = True
        for each in late:
            _put(module, each, False)
    module.vague |= any(isinstance(node, ast.expr) and _reaches_itself(module, node) for node in nodes)
    if "__module__" in module.attributes:
        module.unsure |= module.classes.keys()
    return module


def _uses_itself(module: Module, statement: ast.stmt) -> bool:
    """Whether a statement may call a function or class of the module while the module is imported."""
    named = (node.id for node in parts(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return not isinstance(statement, _DEFINITIONS) and any(isinstance(module.names.get(n), _DEFINITIONS) for n in named)


def _reaches_itself(module: Module, node: ast.expr) -> bool:
    """Whether an expression gives access to the module itself or its names, so that more may be bound."""
    match node:
        case ast.Name(id="exec" | "globals"):
            return True
        case ast.Call(func=ast.Name(id=name), args=[]) if name in _NAMESPACES:
            return True
        case ast.Call(func=function, args=[ast.Name(id="__name__"), *_]):
            return dotted(function, module.imports) in _IMPORTS_BY_NAME
        case ast.Attribute(attr="modules") | ast.Name():
            return dotted(node, module.imports) == "sys.modules"
    return False


def _bind(module: Module, statement: ast.stmt, sure: bool, own: str) -> None:
    """Record what a statement binds; `own` is the module's name."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            _put(module, name, sure, statement)
            module.vague |= name == "__getattr__"
        case ast.ClassDef(name=name):
            home = _is_at_home(statement, own)
            made = None if home is False else defined(statement, module.imports, module.attributes)
            _put(module, name, sure and home is not None and is_kept(statement, module.imports), statement, made)
        case ast.Import(names=aliases):
            for alias in aliases:
                name = alias.asname or alias.name.partition(".")[0]
                _put(module, name, sure, statement)
                module.imports[name] = alias.name if alias.asname else ""
        case ast.ImportFrom(module=source, names=aliases, level=level):
            module.relative |= level > 0 and sure
            for alias in aliases:
                module.vague |= alias.name == "*"
                _put(module, alias.asname or alias.name, sure)
                module.imports[alias.asname or alias.name] = f"{source}.{alias.name}"
        case ast.Delete(targets=targets):
            for target in targets:
                if isinstance(target, ast.Name):
                    _put(module, target.id, sure)
                    if sure:
                        module.names.pop(target.id)
        case _:
            for name in captured(statement):
                _put(module, name, False)
            for name, value in assigned(statement):
                if value is None:
                    _put(module, name, sure and not isinstance(statement, ast.For | ast.AsyncFor))
                else:
                    known = module.names.get(value.id) if isinstance(value, ast.Name) else value
                    _put(module, name, sure, known, _made(module, name, value))


def _is_at_home(node: ast.ClassDef, own: str) -> bool | None:
    """Whether a class belongs to the module `own`, which `__module__` may change; None when unknown."""
    found: bool | None = True
    for statement in node.body:
        for name, value in assigned(statement):
            if name == "__module__":
                found = value.value == own if isinstance(value, ast.Constant) else None
    return found


def _put(module: Module, name: str, sure: bool, definition: ast.AST | None = None, made: Class | None = None) -> None:
    """Record that a name gets a value, or is deleted. `made` is the module's class it is bound to, or None."""
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


def _made(module: Module, name: str, value: ast.expr) -> Class | None:
    """The class that a value is: an alias of one of the module, or one created by a call."""
    if isinstance(value, ast.Name):
        return module.classes.get(value.id)
    if isinstance(value, ast.Call) and len(value.args) > 1 and dotted(value.func, module.imports) in _MAKES_CLASSES:
        return unknown(name)
    return None

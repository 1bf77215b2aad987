"""The first code that runs in a toolchain: reads a request, calls a worker, and reports what went wrong.

Runs as a script in a Python that has no gdcbuild, so it imports nothing but the standard library. The current folder is
the action's (or the one below it that the request names); only declared inputs are there.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import linecache
import os
import platform
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any


class Mistake(Exception):
    """A mistake of the user's, with what to do; shown without a traceback."""

    def __init__(self, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.detail = detail


class UserCodeRaised(Exception):
    """User code raised; the cause is its exception, and only user code's frames matter."""


class Child:
    """What a worker uses to run user code."""

    Mistake = Mistake

    def framework(self, name: str, line: str) -> None:
        """Import a framework before any user code; `line` is an example of a line that pins it."""
        try:
            importlib.import_module(name)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name == name:
                hint = (
                    f"add it to the requirements of the toolchain, in the version of the image, as {line};"
                    " without a toolchain, exports run in the Python of gdcbuild itself"
                )
                raise Mistake(f"the toolchain has no {name}", hint) from error
            frames = reversed(traceback.extract_tb(error.__traceback__)[-5:])
            raise Mistake(
                f"the toolchain has {name}, which cannot be imported: {summary(error)}",
                f"pin versions that work together and with Python {platform.python_version()}; where it failed:",
                "\n".join(f"{f.filename}:{f.lineno}: {f.line}" for f in frames),
            ) from error

    def function(self, reference: str) -> Callable[..., Any]:
        """The function that "package.module:name" names, imported from the current folder."""
        module_name, _, name = reference.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
                expected = module_name.replace(".", "/") + ".py"
                raise Mistake(
                    f"the files of the export have no module {module_name!r}",
                    f"declare it: files: [{expected}], or correct `function`",
                ) from None
            raise UserCodeRaised from error
        except BaseException as error:
            raise UserCodeRaised from error
        found = getattr(module, name, None)
        if not callable(found):
            names = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names) or 'none'}"
            raise Mistake(f"{module_name} has no function {name!r}", hint)
        function: Callable[..., Any] = found
        return function

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call user code. Its exceptions are reported as its own, and so are arguments that do not match."""
        mismatch = unfit(function, args, kwargs)
        if mismatch:
            raise Mistake(f"cannot be called with these `args`: {mismatch}", f"it is {named(function)}")
        try:
            return function(*args, **kwargs)
        except Mistake:
            raise
        except BaseException as error:
            raise UserCodeRaised from error


def unfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Why the function does not take these arguments, "" if it does or has no signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return ""


def named(function: Callable[..., Any]) -> str:
    """The function as one would write it: name and parameters."""
    return f"{getattr(function, '__qualname__', repr(function))}{inspect.signature(function)}"


def summary(error: BaseException) -> str:
    """The error's type and the first line of its message; the traceback has all of it."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def own_frames(error: BaseException, folder: Path, ours: tuple[str, ...]) -> str:
    """The traceback of user code: frames of `ours` before its first are left out, its files are shown as declared."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(("<frozen importlib", *ours)):
        trace = trace.tb_next
    linecache.checkcache()
    text = "".join(traceback.format_exception(type(error), error, trace))
    for place in dict.fromkeys((folder.resolve(), folder)):
        text = text.replace(f"{place}{os.sep}", "")
    return text.rstrip()


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Path → (size, mtime_ns) of every file below, byte code aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            stat = path.stat()
            found[path.relative_to(folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found


def elsewhere(before: dict[str, tuple[int, int]], folder: Path) -> None:
    """Refuse files written among the declared inputs instead of in the output folder."""
    after = listing(folder)
    changed = sorted(p for p in after if before.get(p) != after[p]) + sorted(set(before) - set(after))
    if changed:
        raise Mistake(
            f"wrote outside its output folder: {', '.join(changed[:5])}{' ...' if len(changed) > 5 else ''}",
            "return the model, or write to the folder passed as `export_dir`",
        )


def run(request: dict[str, Any]) -> None:
    """Carry out the request; raise Mistake or UserCodeRaised if that fails."""
    folder, out = Path(request["folder"]), Path(request["out"])
    spec = importlib.util.spec_from_file_location("gdcbuild_worker", request["worker"])
    assert spec is not None and spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    sys.path.insert(0, str(Path.cwd()))
    before = listing(folder)
    try:
        worker.run(request["params"], out, Child())
    except Mistake:
        elsewhere(before, folder)  # if anything was written there, that is the likely reason
        raise
    elsewhere(before, folder)
    if not any(p.is_file() for p in out.rglob("*")):
        raise Mistake("wrote nothing", "write the model to the folder passed as `export_dir`, or return it")


def main(request_file: str) -> int:
    """The exit code; with 1 the request's `error` file holds {"message", "hint", "detail"}.

    With 0 a file `done` beside the request repeats it: user code, or a library, may end this process with 0 half-way.
    """
    asked = Path(request_file).read_text()
    request = json.loads(asked)
    report: dict[str, str]
    try:
        run(request)
        Path(request_file).with_name("done").write_text(asked)
        return 0
    except Mistake as error:
        report = {"message": str(error), "hint": error.hint, "detail": error.detail}
    except UserCodeRaised as error:
        cause = error.__cause__ or error
        report = {
            "message": "raised " + summary(cause),
            "hint": "",
            "detail": own_frames(cause, Path(request["folder"]), (__file__, importlib.__file__, request["worker"])),
        }
    Path(request["error"]).write_text(json.dumps(report))
    return 1


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # frameworks leave threads that would keep the process running

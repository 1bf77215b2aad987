"""The distributions installed in a Python environment: which they are, and which are refused."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from gdcbuild.core.graph import Toolchain
from gdcbuild.errors import ActionFailed, Location, Problem
from gdcbuild.files.requirements import normalized

_UNSEEN = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD", "uv_cache.json")
"""Metadata files that say how a distribution was installed, not what it is."""


def site_packages() -> list[Path]:
    """The folders of packages of our own interpreter."""
    return [p for p in map(Path, sys.path) if p.name in ("site-packages", "dist-packages") and p.is_dir()]


def packages_of(folder: Path) -> list[Path]:
    """The folders of packages of a virtual environment."""
    return [p for p in folder.glob("lib/python*/site-packages") if p.is_dir()]


def _interpreter() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} {sysconfig.get_platform()}"


def refuse_editable(folders: Iterable[Path], ignore: set[str], where: Location | None) -> None:
    """Raise ActionFailed for packages that are links to folders elsewhere: changes there do not change the digest.

    (Hashing those folders does not help: they are whole projects, with everything built and published from them.)
    """
    names = set()
    for folder in folders:
        names |= {link.stem for link in folder.glob("*.egg-link")}
        names |= {info.name.split("-")[0] for info in folder.glob("*.dist-info") if _is_editable(info)}
    found = sorted(name for name in names if name.lower() not in ignore)
    if found:
        problem = f"its toolchain has {', '.join(found)} installed as editable: the code can change without a new digest"
        hint = "install it without -e, and again after each change; or uninstall it and list its files in the inputs"
        raise ActionFailed(Problem(problem, hint, where))


def refuse_unasked(folder: Path, toolchain: Toolchain) -> None:
    """Raise ActionFailed for packages whose version pip chose, with the lines that pin them.

    pip marks requested packages with a file REQUESTED, as Python does for its own pip and setuptools.
    """
    found = (info for site in packages_of(folder) for info in site.glob("*.dist-info") if not (info / "REQUESTED").exists())
    parts = (info.name.removesuffix(".dist-info").rpartition("-") for info in found)
    lines = sorted(f"{normalized(name)}=={version}" for name, _, version in parts)
    if lines:
        what = "a package" if len(lines) == 1 else f"{len(lines)} packages"
        problem = f"{toolchain.requirements} does not pin {what} that pip installs for it"
        hint = "\n".join(["so that the toolchain is always the same, add:", *lines])
        raise ActionFailed(Problem(problem, hint, toolchain.where))


def _is_editable(info: Path) -> bool:
    try:
        return bool(json.loads((info / "direct_url.json").read_text())["dir_info"]["editable"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def distributions(folders: Iterable[Path], ignore: set[str]) -> dict[str, set[str]]:
    """NAME-VERSION.dist-info → itself, and a row for every installed file's recorded hash.

    Scripts contain the environment's path and byte code a time, so neither counts.
    """
    found: dict[str, set[str]] = {}
    for folder in folders:
        for info in folder.glob("*.dist-info"):
            if info.name.split("-")[0].lower() in ignore:
                continue
            rows = found.setdefault(info.name, {info.name})
            try:
                lines = (info / "RECORD").read_text(errors="replace").splitlines()
            except OSError:
                continue
            for line in lines:
                name, _, rest = line.partition(",")
                if rest.startswith("sha256=") and not name.startswith("..") and name.rsplit("/", 1)[-1] not in _UNSEEN:
                    rows.add(line)
    return found


def digest_of(found: Mapping[str, set[str]]) -> str:
    """Digest of interpreter, platform and all distributions: the same wherever the same wheels are installed."""
    return _hash(f"{_interpreter()}\n", set().union(*found.values()))


def contents_of(found: Mapping[str, set[str]]) -> dict[str, str]:
    """The same in parts, for people: the interpreter, and each distribution with its version and digest."""
    names = {info: info.removesuffix(".dist-info").partition("-") for info in found}
    parts = {names[info][0]: f"{names[info][2]} sha256:{_hash('', rows)[:16]}" for info, rows in sorted(found.items())}
    return {"interpreter": _interpreter(), **parts}


def _hash(head: str, rows: Iterable[str]) -> str:
    return hashlib.sha256((head + "".join(f"{row}\n" for row in sorted(rows))).encode()).hexdigest()

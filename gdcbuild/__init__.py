"""gdcbuild: builds models from one manifest and publishes only the versions that changed.

The public Python API is imported on first use; see docs/reference/python-api.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdcbuild.app.calls import Options as Options
    from gdcbuild.app.calls import Status as Status
    from gdcbuild.app.calls import Verification as Verification
    from gdcbuild.app.project import Project as Project
    from gdcbuild.app.project import apply as apply
    from gdcbuild.app.project import build as build
    from gdcbuild.app.project import load as load
    from gdcbuild.app.project import plan as plan
    from gdcbuild.app.project import status as status
    from gdcbuild.app.project import verify as verify
    from gdcbuild.app.selection import Selection as Selection
    from gdcbuild.core.plan import Change as Change
    from gdcbuild.core.plan import Plan as Plan
    from gdcbuild.core.run import Report as Report
    from gdcbuild.core.run import VersionReport as VersionReport
    from gdcbuild.errors import Error as Error
    from gdcbuild.errors import Problem as Problem

__version__ = "0.1.0"

_PLACES = {
    "gdcbuild.app.calls": ("Options", "Status", "Verification"),
    "gdcbuild.app.selection": ("Selection",),
    "gdcbuild.app.project": ("Project", "load", "plan", "build", "apply", "verify", "status"),
    "gdcbuild.core.plan": ("Change", "Plan"),
    "gdcbuild.core.run": ("Report", "VersionReport"),
    "gdcbuild.errors": ("Error", "Problem"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(place), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(name for names in _PLACES.values() for name in names)])
